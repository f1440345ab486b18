"""Plans how to write the drop-in of CRI-O."""

from __future__ import annotations

from runtimed.core.engines.crio.write import write_crio
from runtimed.core.engines.engine import ExportOptions, Found, Plan, Run, Table, Writing
from runtimed.core.engines.ownership import owned_write
from runtimed.core.engines.syntax import render_toml

FILE = "/etc/crio/crio.conf.d/50-runtimed.conf"
_SCRATCH_FILE = "50-runtimed.conf"


def _plan(table: Table, _options: ExportOptions, found: Found) -> Plan:
    """Return the plan. Its check gives CRI-O only the new file, and CRI-O checks that as at a start."""
    translation = write_crio(table)
    write = owned_write(FILE, render_toml(translation.document), found)
    # A directory that does not exist has no drop-ins for it.
    options = ("--config", f"{found.scratch}/{_SCRATCH_FILE}", "--config-dir", f"{found.scratch}/none")
    return Plan(
        writes=(write,),
        remarks=translation.remarks,
        scratch={_SCRATCH_FILE: write.data},
        checks=(Run(("crio", *options, "config")),),
    )


WRITING = Writing(path=FILE, inputs=(FILE,), version=None, plan=_plan)
