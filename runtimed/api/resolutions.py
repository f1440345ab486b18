"""Answers GET /v1/resolve: each answer is rendered once for a generation, and given while its files are executable."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Protocol

from runtimed.api.counters import Counters
from runtimed.api.messages import Answer, Request, Response, Target
from runtimed.api.problems import bad_name, unavailable
from runtimed.core.errors import BinaryUnavailable, InvalidRuntimeName, UnknownRuntime
from runtimed.core.table.generation import Generation
from runtimed.core.table.resolve import resolve

LABEL = "/v1/resolve"
# How many targets are remembered; a name may be spelt in many ways, percent-encoded ones.
_REMEMBERED = 1024


class Lookup(Protocol):
    """The verdict on the files that an answer names, as :class:`runtimed.inspection.lookups.Lookup` keeps it.

    Readings of time.monotonic(): before ``usable_s`` the answer may be given without a look, and from ``renew_s`` on
    it wants `renew`. Both are infinite for an answer that names no file.
    """

    @property
    def usable_s(self) -> float: ...  # noqa: D102
    @property
    def renew_s(self) -> float: ...  # noqa: D102

    def renew(self) -> None:
        """Begin a look."""

    def error(self, now_s: float) -> BinaryUnavailable | None:
        """Return why the files cannot be executed, where that is known at ``now_s`` without a look."""

    def wait(self) -> Awaitable[BinaryUnavailable | None]:
        """Return, after a look, why the files cannot be executed, None where they can."""


# A finished answer, and the lookup that says whether it may be given.
Finished = tuple[Response, Lookup]


class Resolutions:
    """Answers what names mean.

    ``current`` returns the current generation, ``lookup`` the lookup of the files that an answer names; ``pinned``
    answers for a retained generation; ``counters`` counts what `again` answers.
    """

    def __init__(
        self,
        current: Callable[[], Generation],
        lookup: Callable[[tuple[str, ...]], Lookup],
        pinned: Callable[[Request], Answer],
        counters: Counters,
    ) -> None:
        self._current = current
        self._lookup = lookup
        self._pinned = pinned
        self._answered = counters.requests_of(LABEL, 200)
        # What was finished in one generation: by runtime, and by the target that asked for it.
        self._of: Generation | None = None
        self._by_name: dict[str, Finished] = {}
        self._by_target: dict[bytes, Finished] = {}

    def again(self, target: Target, begun_s: float) -> Response | None:
        """Return what a GET of ``target`` was answered before, if it would be answered the same now; else None.

        ``begun_s`` is the reading of time.monotonic() when it came. The answer is a function of the target and the
        generation alone, once its files can be executed; None has the request take the whole way, which also says
        what is wrong.
        """
        finished = self._by_target.get(target.raw)
        if finished is None or self._current() is not self._of:
            return None
        response, lookup = finished
        if begun_s >= lookup.renew_s:
            if begun_s >= lookup.usable_s:
                return None
            lookup.renew()
        self._answered.observe(monotonic() - begun_s)
        return response

    def answer(self, request: Request) -> Answer:
        """Return the resolution that ``request`` asks for, of the current generation or of a retained one."""
        if "generation" in request.query or "digest" in request.query:
            return self._pinned(request)
        generation = self._current()
        name = request.query.get("runtime", "")
        try:
            response, lookup = self._finished(generation, name, request.target)
        except (UnknownRuntime, InvalidRuntimeName) as error:
            return bad_name(error, generation.runtimes, 400)
        now_s = monotonic()
        if now_s < lookup.usable_s:
            return response
        name = name or generation.config.default_runtime
        if (known := lookup.error(now_s)) is not None:
            return unavailable(name, known)
        return _after_look(lookup, name, response)

    def _finished(self, generation: Generation, name: str, target: bytes) -> Finished:
        if generation is not self._of:
            self._of, self._by_name, self._by_target = generation, {}, {}
        finished = self._by_name.get(name)
        if finished is None:
            found = resolve(generation, name)
            finished = Response(200, found.answer.at(found.generation) + b"\n"), self._lookup(found.files)
            # Implicit names are without number, so they are not kept.
            if name and name not in generation.runtimes:
                return finished
            self._by_name[name] = finished
        if len(self._by_target) >= _REMEMBERED:
            self._by_target.clear()
        self._by_target[target] = finished
        return finished


async def _after_look(lookup: Lookup, name: str, response: Response) -> Response:
    error = await lookup.wait()
    return response if error is None else unavailable(name, error)
