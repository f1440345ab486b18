"""Renders the proof of a runtime, which the status, the list, explain and the events show."""

from __future__ import annotations

from collections.abc import Iterator

from runtimed.cli.humanize import local_time, with_detail
from runtimed.cli.tables import Document, Field
from runtimed.cli.terminal import GREEN, RED, YELLOW, Tinted

_COLOURS = {"proved": GREEN, "outdated": YELLOW}


def proof_state(proof: Document) -> Tinted:
    """Return the state of a proof in words: red for a failed test, no colour without a test."""
    colour = _COLOURS.get(proof["state"], None if proof["outcome"] is None else RED)
    return Tinted(state_text(proof["state"]), colour)


def state_text(state: str) -> str:
    """Return a state of proofs in words."""
    return state.replace("-", " ")


def render_proof(proof: Document) -> Tinted:
    """Return the state of a proof with its reason and its test."""
    state = proof_state(proof)
    if proof["outcome"] is None:
        return Tinted(f"{state.value}: it was never tested", state.colour)
    test = f"test {proof['outcome']} {local_time(proof['time'])}, generation {proof['generation']}, {proof['engine']}"
    return Tinted(with_detail(f"{state.value} ({test})", proof["detail"]), state.colour)


def status_fields(proofs: Document, default: str) -> Iterator[Field]:
    """Yield the fields about the proofs of all runtimes, none where no runtime was tested and no proof is required."""
    states = proofs["states"]
    tested = states["proved"] or states["outdated"] or proofs["default"]["outcome"]
    if not (proofs["required"] or tested or proofs["remark"]):
        return
    counts = ", ".join(f"{count} {state_text(state)}" for state, count in states.items() if count)
    yield "proofs", f"{counts}; {'required for' if proofs['required'] else 'not required for'} the default runtime"
    render = render_proof(proofs["default"])
    yield f"  {default}", Tinted(render.value, render.colour if proofs["required"] else None)
    if proofs["remark"]:
        yield "  note", Tinted(proofs["remark"], YELLOW)
