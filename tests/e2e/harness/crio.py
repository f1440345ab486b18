"""A double of CRI-O, whose binary is in no Debian: a program that reads, checks and prints its configuration.

It follows ``pkg/config/config.go`` and ``internal/criocli`` of CRI-O 1.36, as far as the tables of runtimes go: the
files are read by name, an entry replaces all keys of an earlier one, an invalid handler is left out unless it is the
default, and SIGHUP has it print the configuration that it will use after a restart. Run as a program, it is CRI-O.
"""

from __future__ import annotations

import argparse
import http.server
import os
import re
import shutil
import signal
import socketserver
import sys
import tomllib
from pathlib import Path
from typing import Any

from harness.crio_dumps import encoded_configuration, printed_configuration

_TEXTS = ("runtime_path", "runtime_type", "runtime_root", "runtime_config_path", "monitor_path", "monitor_cgroup")
_TYPES = {**dict.fromkeys(_TEXTS, str), "monitor_env": list, "allowed_annotations": list, "no_sync_log": bool}
_SHIM = re.compile(r"containerd-shim-[a-zA-Z0-9+-]+")
_SOCKET = "/var/run/crio/crio.sock"


class Invalid(Exception):
    """CRI-O would end with this message."""


class Configuration:
    """The runtimes of the main file and of the drop-ins."""

    def __init__(self, main: Path, dropins: Path) -> None:
        self.default = ""
        self.handlers: dict[str, dict[str, Any]] = {"crun": {"runtime_type": "oci", "runtime_root": "/run/crun"}}
        for path in (main, *sorted(each for each in dropins.rglob("*") if each.is_file())):
            if path.exists():
                self._read(path)
        if self.default and self.default not in self.handlers:
            text = f'default_runtime set to "{self.default}", but no runtime entry table [crio.runtime.runtimes.'
            raise Invalid(f"{text}{self.default}] was found")
        self.default = self.default or "crun"

    def _read(self, path: Path) -> None:
        try:
            runtime = tomllib.loads(path.read_text()).get("crio", {}).get("runtime", {})
        except ValueError as error:
            raise Invalid(f"unable to decode configuration {path}: {error}") from error
        for handler in runtime.get("runtimes", {}).values():
            for key, value in handler.items():
                if not isinstance(value, _TYPES.get(key, object)):
                    raise Invalid(f"unable to decode configuration {path}: incompatible types for {key}")
        self.handlers.update(runtime.get("runtimes", {}))
        self.default = runtime.get("default_runtime", self.default)

    def execute(self) -> None:
        """Leave out the handlers that cannot be used, as at a start and at SIGHUP."""
        for name, handler in list(self.handlers.items()):
            reason = _fault(name, handler)
            if reason is not None and name == self.default:
                raise Invalid(reason)
            if reason is not None:
                del self.handlers[name]


def _fault(name: str, handler: dict[str, Any]) -> str | None:
    """Return why CRI-O cannot use a handler, and put the path that it finds into it."""
    kind, path = handler.get("runtime_type", ""), handler.get("runtime_path", "")
    if kind not in ("", "oci", "vm", "pod"):
        return f'invalid `runtime_type` "{kind}" for runtime "{name}"'
    handler["runtime_path"] = path or shutil.which(name) or ""
    if not handler["runtime_path"] or not os.path.exists(handler["runtime_path"]):
        return f"invalid runtime_path for runtime '{name}'"
    if kind == "vm" and _SHIM.fullmatch(os.path.basename(handler["runtime_path"])) is None:
        return f"invalid runtime_path for runtime '{name}': containerd binary naming pattern is not followed"
    config_path = handler.get("runtime_config_path", "")
    if config_path and kind != "vm":
        return "runtime_config_path can only be used with the 'vm' runtime type"
    if config_path and not os.path.exists(config_path):
        return f"invalid runtime_config_path for runtime '{name}'"
    return None


class _Server(socketserver.UnixStreamServer):
    def __init__(self, main: Path, dropins: Path) -> None:
        self._files = (main, dropins)
        self.load()
        os.makedirs(os.path.dirname(_SOCKET), exist_ok=True)
        super().__init__(_SOCKET, _Handler)

    def load(self) -> None:
        """Read the files, as at a start and at SIGHUP."""
        configuration = Configuration(*self._files)
        configuration.execute()
        self.text = encoded_configuration(configuration.default, configuration.handlers)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        found = self.path == "/config"
        body = self.server.text.encode() if found else b"404 page not found\n"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/toml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def main() -> int:
    """Be CRI-O."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--config", type=Path, default=Path("/etc/crio/crio.conf"))
    parser.add_argument("--config-dir", type=Path, default=Path("/etc/crio/crio.conf.d"))
    parser.add_argument("command", nargs="?", choices=["config"])
    args = parser.parse_args()
    try:
        if args.command == "config":
            configuration = Configuration(args.config, args.config_dir)
            sys.stdout.write(printed_configuration(configuration.default, configuration.handlers))
            return 0
        server = _Server(args.config, args.config_dir)
    except Invalid as error:
        sys.stderr.write(f'level=fatal msg="validating config: {error}"\n')
        return 1
    signal.signal(signal.SIGHUP, lambda *_: server.load())
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
