"""Asks containerd's CRI plugin for its runtimes, and describes a runtime so that files, dumps and the status compare.

The status is the JSON of the plugin's configuration (``pkg/cri/config/config.go``, since 2.0
``internal/cri/config/config.go``): its keys are those of the files in camel case, except for a few.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from runtimed.core.engines.containerd.layout import BUILT_IN, is_default, section_of, table_at
from runtimed.core.engines.engine import Asking, CriStatus, Document, Question, View
from runtimed.core.engines.syntax import dotted

# containerd's default.
SOCKET = "/run/containerd/containerd.sock"
_STATUS = "status"
# The keys of a runtime from containerd 1.6 to 2.4, without those that have an effect on its first shim only. containerd
# ignores all other keys.
_KEYS = frozenset(
    {
        *("runtime_type", "runtime_path", "options"),
        *("pod_annotations", "container_annotations", "base_runtime_spec"),
        *("privileged_without_host_devices", "privileged_without_host_devices_all_devices_allowed"),
        *("cgroup_writable", "cni_conf_dir", "cni_max_conf_num", "snapshotter", "sandboxer", "io_type"),
        "disable_pause_image_pull",
    }
)


def effective(entry: Mapping[str, object]) -> dict[str, object]:
    """Return the keys of a runtime's entry that have an effect, without default values."""
    # containerd 1.7 had another name for it, which containerd 2 takes as well.
    given = {"sandboxer": entry.get("sandbox_mode"), **entry}
    return {key: _plain(value) for key, value in given.items() if key in _KEYS and not is_default(key, value)}


def describe(entry: Mapping[str, object]) -> str:
    """Return the keys of a runtime's entry that have an effect as one line, which is the same for the same effect."""
    keys = effective(entry)
    options = _words(table_at(keys, "options"))
    rest = _words({key: keys[key] for key in keys if key not in ("runtime_type", "options")})
    return " ".join([str(keys.get("runtime_type", "")), *([f"({' '.join(options)})"] if options else []), *rest])


def _questions(_: Document) -> Mapping[str, Question]:
    """Return the request for the status of the CRI plugin."""
    return {_STATUS: CriStatus(SOCKET)}


def _expected(document: Document) -> View:
    """Return the view that follows from ``document``, a file with runtimes."""
    section = section_of(document)
    default = section.get("default_runtime_name", BUILT_IN)
    return View(str(default), _lines(table_at(section, "runtimes")))


def _answered(answers: Mapping[str, bytes]) -> View:
    """Return the view that follows from the CRI plugin's status.

    Raises:
        ValueError: the status is no configuration of a CRI plugin.
    """
    status = json.loads(answers[_STATUS])
    section = table_at(status, "containerd")
    runtimes, default = section.get("runtimes"), section.get("defaultRuntimeName")
    if not isinstance(runtimes, dict) or not isinstance(default, str):
        message = "the status of containerd's CRI plugin has no containerd.runtimes and no defaultRuntimeName"
        raise ValueError(message)  # noqa: TRY004 - `Asking.answered` raises it for all such answers
    entries = {name: {_snake_case(key): entry[key] for key in table_at(entry)} for name, entry in runtimes.items()}
    return View(default, _lines(entries))


def _lines(runtimes: Mapping[str, object]) -> dict[str, str]:
    return {name: describe(table_at(entry)) for name, entry in runtimes.items()}


def _words(values: Mapping[str, object]) -> list[str]:
    return [f"{dotted(key)}={json.dumps(values[key], sort_keys=True, default=str)}" for key in sorted(values)]


def _snake_case(key: str) -> str:
    """Return the key of a file for a key of the status: ``pod_annotations`` for ``PodAnnotations``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()


def _plain(value: object) -> object:
    """Return ``value`` without the differences that TOML and JSON make: Go writes 1.0 as 1; defaults may be missing."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if not is_default(key, item)}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


ASKING = Asking(
    questions=_questions,
    expected=_expected,
    answered=_answered,
    process="containerd",
    # It reads its files once.
    takes_effect="restart",
)
