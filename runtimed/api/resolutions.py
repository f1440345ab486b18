"""GET /v1/resolve: answers rendered once for each generation, and given again without being asked for anew."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from runtimed.api.messages import Answer, Request, Response, Target
from runtimed.api.problems import bad_name, unavailable
from runtimed.api.tally import Tally
from runtimed.core.errors import BinaryUnavailable, InvalidRuntimeName, UnknownRuntime
from runtimed.core.generation import Generation
from runtimed.core.resolve import resolve

LABEL = "/v1/resolve"
# How many targets are remembered; a name may be spelt in many ways, percent-encoded ones.
_REMEMBERED = 1024

# A finished answer, and the path that must be there before it may be given (None: nothing to look up).
Finished = tuple[Response, str | None]


class Resolutions:
    """Answers what names mean.

    ``current`` returns the current generation, ``look_up`` the binary that a path leads to, or raises
    BinaryUnavailable; ``pinned`` answers for a retained generation; ``tally`` counts what `again` answers.
    """

    def __init__(
        self,
        current: Callable[[], Generation],
        look_up: Callable[[str], str],
        pinned: Callable[[Request], Answer],
        tally: Tally,
    ) -> None:
        self._current = current
        self._look_up = look_up
        self._pinned = pinned
        self._answered = tally.requests_of(LABEL, 200)
        # What was finished in one generation: by runtime, and by the target that asked for it.
        self._of: Generation | None = None
        self._by_name: dict[str, Finished] = {}
        self._by_target: dict[bytes, Finished] = {}

    def again(self, target: Target, begun_s: float) -> Response | None:
        """Return what a GET of ``target`` was answered before, if it would be answered the same now; else None.

        ``begun_s`` is the reading of time.monotonic() when it came. The answer is a function of the target and the
        generation alone, once the binary of a wrapped runtime is there; None has the request take the whole way, which
        also says what is wrong.
        """
        finished = self._by_target.get(target.raw)
        if finished is None or self._current() is not self._of:
            return None
        response, preflight = finished
        if preflight is not None:
            try:
                self._look_up(preflight)
            except BinaryUnavailable:
                return None
        self._answered.observe(monotonic() - begun_s)
        return response

    def answer(self, request: Request) -> Answer:
        """Return the resolution that ``request`` asks for, of the current generation or of a retained one."""
        if "generation" in request.query or "digest" in request.query:
            return self._pinned(request)
        generation = self._current()
        name = request.query.get("runtime", "")
        try:
            response, preflight = self._finished(generation, name, request.target)
        except (UnknownRuntime, InvalidRuntimeName) as error:
            return bad_name(error, generation.runtimes, 400)
        if preflight is not None:
            try:
                self._look_up(preflight)
            except BinaryUnavailable as error:
                return unavailable(name or generation.config.default_runtime, error)
        return response

    def _finished(self, generation: Generation, name: str, target: bytes) -> Finished:
        if generation is not self._of:
            self._of, self._by_name, self._by_target = generation, {}, {}
        finished = self._by_name.get(name)
        if finished is None:
            found = resolve(generation, name)
            finished = Response(200, found.answer.at(found.generation) + b"\n"), found.preflight
            # Implicit names are without number, so they are not kept.
            if name and name not in generation.runtimes:
                return finished
            self._by_name[name] = finished
        if len(self._by_target) >= _REMEMBERED:
            self._by_target.clear()
        self._by_target[target] = finished
        return finished
