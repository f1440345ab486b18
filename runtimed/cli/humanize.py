"""How values, figures and times are said to people."""

from __future__ import annotations


def shown(value: object) -> str:
    """Return a value as it is where it is text, and as JSON where it is not."""
    return value if isinstance(value, str) else quoted(value)


def quoted(value: object) -> str:
    """Return a value as JSON, text in quotation marks: where it ends is seen."""
    import json  # noqa: PLC0415 - loaded by the client by now

    return json.dumps(value, ensure_ascii=False)


def counted(number: int, what: str) -> str:
    """Return ``3 things`` or ``1 thing``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def moment(epoch_s: float, now_s: float) -> str:
    """Return a time in seconds since the epoch as local time, and how long ago that was at ``now_s``."""
    import time  # noqa: PLC0415 - the only function that needs it

    local = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch_s))
    return f"{local} ({duration(max(0.0, now_s - epoch_s))} ago)"


def duration(seconds: float) -> str:
    """Return a time span in its two largest units."""
    whole = int(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((index for index, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number) or "0 s"
