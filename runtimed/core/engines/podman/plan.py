"""Plans how to write the drop-in of podman."""

from __future__ import annotations

from runtimed.core.engines.engine import ExportOptions, Found, Plan, Run, Table, Writing
from runtimed.core.engines.ownership import owned_write
from runtimed.core.engines.podman.write import write_podman
from runtimed.core.engines.syntax import render_toml

FILE = "/etc/containers/containers.conf.d/50-runtimed.conf"
_SCRATCH_FILE = "50-runtimed.conf"


def _plan(table: Table, _options: ExportOptions, found: Found) -> Plan:
    """Return the plan. Its check gives podman only the new file, and a storage in the scratch directory."""
    translation = write_podman(table)
    write = owned_write(FILE, render_toml(translation.document), found)
    options = (
        *("--root", f"{found.scratch}/root", "--runroot", f"{found.scratch}/run", "--tmpdir", f"{found.scratch}/state"),
        *("--storage-driver", "vfs", "--events-backend", "file"),
    )
    check = Run(
        ("podman", *options, "info", "--format", "{{json .Host.OCIRuntime}}"),
        {"CONTAINERS_CONF": f"{found.scratch}/{_SCRATCH_FILE}"},
    )
    return Plan(
        writes=(write,),
        remarks=translation.remarks,
        scratch={_SCRATCH_FILE: write.data},
        checks=(check,),
    )


WRITING = Writing(path=FILE, inputs=(FILE,), version=None, plan=_plan)
