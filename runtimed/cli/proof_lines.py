"""Renders the evidence of a test for people."""

from __future__ import annotations

from runtimed.cli.tables import Document, Field, list_fields, render_fields, render_line
from runtimed.cli.terminal import GREEN, PLAIN, RED, YELLOW, Terminal, Tinted

_DONE = {"create": "created", "start": "started", "wait": "ran", "delete": "deleted"}


def render_evidence(evidence: Document, terminal: Terminal = PLAIN) -> list[str]:
    """Return the lines of one test: its outcome, the steps, the observations and the reason of a failure."""
    passed = evidence["outcome"] == "passed"
    engine = f", {evidence['engine']}" if evidence["engine"] else ""
    head = f"{evidence['runtime']}: {evidence['outcome']} (generation {evidence['generation']}{engine})"
    fields: list[Field] = [(f"  {_DONE[step]}", _step(evidence, step)) for step in evidence["milliseconds"]]
    if evidence["kernel"]["release"] is not None:
        fields.append(("  kernel", _kernel(evidence["kernel"], evidence["host_kernel"])))
    fields += list_fields("  uid map", evidence["uid_map"])
    if evidence["seccomp"] is not None:
        fields.append(("  seccomp", evidence["seccomp"]))
    if evidence["failure"] is not None:
        fields.append((f"  {evidence['failure']['step']}", Tinted(evidence["failure"]["reason"], RED)))
        remaining = evidence["remaining"]
        left = [
            Tinted(f"the {each['kind']} {each['name']}{'' if each in remaining else ', removed'}", YELLOW)
            for each in evidence["leftovers"]
        ]
        # The reason has them already if they are all that is wrong.
        fields += list_fields("  left", left if evidence["failure"]["step"] != "leftovers" else ())
    if evidence["proof"] is not None:
        fields.append(("  proof", evidence["proof"]))
    return [render_line(head, GREEN if passed else RED, terminal), *render_fields(fields, terminal)]


def _step(evidence: Document, step: str) -> str:
    status = f", exit status {evidence['exit_status']}" if step == "wait" else ""
    return f"{evidence['milliseconds'][step]:g} ms{status}"


def _kernel(inside: Document, host: Document) -> str:
    text = " ".join(part for part in (inside["release"], inside["version"]) if part)
    return (
        f"{text}, as the host's" if inside["release"] == host["release"] else f"{text}; the host has {host['release']}"
    )
