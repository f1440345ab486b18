"""Responds to the request that records the test of a runtime."""

from __future__ import annotations

import time
from typing import get_args

from runtimed.api.functions import DaemonFunctions
from runtimed.api.messages import Answer, Request, Response, problem
from runtimed.api.problems import bad_name, json_response
from runtimed.core.errors import InvalidRuntimeName, ProofOutdated, StoreFailed, UnknownRuntime
from runtimed.core.proof.record import Proof
from runtimed.core.table.generation import Runtime
from runtimed.core.table.resolve import find_runtime

_REQUIRED = ("outcome", "engine", "digest", "identity")
PROOF_KEYS = frozenset({*_REQUIRED, "detail"})
_DETAIL_MAX = 1000
_INSUFFICIENT_STORAGE = 507


def record_proof(daemon: DaemonFunctions, request: Request) -> Answer:
    """Respond with the proof that ``request`` records; its peer may change something."""
    from runtimed.core import shapes  # noqa: PLC0415 - few daemons need them, and only for this request

    query, generation, name = request.query, daemon.current(), request.segments[-1]
    outcomes: tuple[shapes.ProofOutcome, ...] = get_args(shapes.ProofOutcome)
    engines: tuple[shapes.ProofEngine, ...] = get_args(shapes.ProofEngine)
    outcome = next((each for each in outcomes if each == query.get("outcome")), None)
    engine = next((each for each in engines if each == query.get("engine")), None)
    if outcome is None:
        return problem("bad-query", f"outcome is {query.get('outcome')!r}; expected one of {', '.join(outcomes)}")
    if engine is None:
        return problem("bad-query", f"engine is {query.get('engine')!r}; expected one of {', '.join(engines)}")
    if missing := [key for key in _REQUIRED if not query.get(key)]:
        return problem("bad-query", f"the query lacks {' and '.join(missing)}; GET /v1/runtimes/NAME returns both")
    detail = query.get("detail", "")
    if len(detail) > _DETAIL_MAX:
        return problem("bad-query", f"detail has {len(detail)} characters; it may have {_DETAIL_MAX}")
    try:
        runtime = find_runtime(generation, name)
    except (UnknownRuntime, InvalidRuntimeName) as error:
        return bad_name(error, generation.runtimes, 404)
    digest, identity, now_s = query["digest"], query["identity"], round(time.time(), 3)
    proof = Proof(name, outcome, engine, digest, identity, generation.number, now_s, detail)
    return _record(daemon, request, runtime, proof)


async def _record(daemon: DaemonFunctions, request: Request, runtime: Runtime, proof: Proof) -> Response:
    try:
        recorded = await daemon.record_proof(request.peer, runtime, proof)
    except ProofOutdated as error:
        return problem(error.code, str(error))
    except StoreFailed as error:
        return problem(error.code, str(error), status=_INSUFFICIENT_STORAGE)
    return json_response(200, {"runtime": proof.runtime, **recorded})
