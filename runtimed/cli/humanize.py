"""Formats values, counts, times and places for people."""

from __future__ import annotations

import json
import time


def shown(value: object) -> str:
    """Return text as it is, and any other value as JSON."""
    return value if isinstance(value, str) else quoted(value)


def quoted(value: object) -> str:
    """Return ``value`` as JSON, so that text has quotation marks."""
    return json.dumps(value, ensure_ascii=False)


def counted(number: int, noun: str) -> str:
    """Return ``3 things`` or ``1 thing``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def with_detail(text: str, detail: str | None) -> str:
    """Return ``text: detail``, or ``text`` alone where there is no detail."""
    return f"{text}: {detail}" if detail else text


def place(*parts: object) -> str:
    """Return the parts of a place that are known, joined: ``file:line:column``."""
    return ":".join(str(part) for part in parts if part is not None)


def moment(epoch_s: float, now_s: float) -> str:
    """Return a time in seconds since the epoch as local time, and its age at ``now_s``."""
    return f"{local_time(epoch_s)} ({duration(max(0.0, now_s - epoch_s))} ago)"


def local_time(epoch_s: float) -> str:
    """Return a time in seconds since the epoch as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch_s))


def since(epoch_s: float, now_s: float) -> str:
    """Return a time in seconds since the epoch as local time, without its date if that is the date at ``now_s``."""
    then, today = local_time(epoch_s), local_time(now_s).split()[0]
    return then.removeprefix(f"{today} ")


def trigger(reason: str) -> str:
    """Return the reason of a reload in words."""
    return {"api": "API request", "file-change": "file change", "signal": "SIGHUP"}.get(reason, reason)


def duration(seconds: float) -> str:
    """Return a time span in its two largest units."""
    whole = int(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((index for index, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number) or "0 s"
