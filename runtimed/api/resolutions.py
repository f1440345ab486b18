"""Responds to GET /v1/resolve: renders each resolution once, and sends it while its files can be executed."""

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

# Targets kept; percent-encoding gives a name many spellings.
_TARGETS_MOST = 1024


class Lookup(Protocol):
    """The verdict on the files that a resolution names, as :class:`runtimed.inspection.lookups.Lookup` keeps it.

    ``usable_s`` and ``renew_s`` are readings of time.monotonic(): before ``usable_s`` the response may be sent without
    looking at the files, and from ``renew_s`` on `renew` should be called. Both are infinite if there are no files.
    """

    @property
    def usable_s(self) -> float: ...  # noqa: D102
    @property
    def renew_s(self) -> float: ...  # noqa: D102

    def renew(self) -> None:
        """Start to look at the files."""

    def error(self, now_s: float) -> BinaryUnavailable | None:
        """Return why the files cannot be executed, if that is known at ``now_s`` without looking at them."""

    def wait(self) -> Awaitable[BinaryUnavailable | None]:
        """Look at the files; return why they cannot be executed, None if they can."""


# A rendered response, and the lookup that says whether it may be sent.
Rendered = tuple[Response, Lookup]


class Resolutions:
    """Resolves names.

    ``current`` returns the current generation, ``lookup`` the lookup of the files that a resolution names; ``pinned``
    responds from a retained generation; ``counters`` count the responses of `again`.
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
        self._counted = counters.requests_of("/v1/resolve", 200)
        # The rendered responses of the generation with this number, which is freed when it is replaced. In processor
        # time of the daemon, the one by runtime saves 5 % of a request on a connection for itself, and one response
        # serves all spellings of a name; the one by target, which `again` uses, saves 23 % of a repeated request.
        self._number = 0
        self._by_name: dict[str, Rendered] = {}
        self._by_target: dict[bytes, Rendered] = {}

    def again(self, target: Target, begun_s: float) -> Response | None:
        """Return the earlier response to a GET of ``target`` if it is still valid, else None.

        ``begun_s`` is the reading of time.monotonic() when the request was received. The response depends only on the
        target and the generation, as long as its files can be executed. After None the caller dispatches the request.
        """
        rendered = self._by_target.get(target.raw)
        if rendered is None or self._current().number != self._number:
            return None
        response, lookup = rendered
        if begun_s >= lookup.renew_s:
            if begun_s >= lookup.usable_s:
                return None
            lookup.renew()
        self._counted.observe(monotonic() - begun_s)
        return response

    def answer(self, request: Request) -> Answer:
        """Respond with the resolution in the current generation, or in the retained one that ``request`` names."""
        if "generation" in request.query or "digest" in request.query:
            return self._pinned(request)
        generation = self._current()
        name = request.query.get("runtime", "")
        try:
            response, lookup = self._rendered(generation, name, request.target)
        except (UnknownRuntime, InvalidRuntimeName) as error:
            return bad_name(error, generation.runtimes, 400)
        now_s = monotonic()
        if now_s < lookup.usable_s:
            return response
        name = name or generation.config.default_runtime
        if (known := lookup.error(now_s)) is not None:
            return unavailable(name, known)
        return _after_look(lookup, name, response)

    def _rendered(self, generation: Generation, name: str, target: bytes) -> Rendered:
        if generation.number != self._number:
            self._number, self._by_name, self._by_target = generation.number, {}, {}
        rendered = self._by_name.get(name)
        if rendered is None:
            found = resolve(generation, name)
            rendered = Response(200, found.answer.at(found.generation) + b"\n"), self._lookup(found.files)
            # There is no limit to the number of implicit names, so they are not kept.
            if name and name not in generation.runtimes:
                return rendered
            self._by_name[name] = rendered
        if len(self._by_target) >= _TARGETS_MOST:
            self._by_target.clear()
        self._by_target[target] = rendered
        return rendered


async def _after_look(lookup: Lookup, name: str, response: Response) -> Response:
    error = await lookup.wait()
    return response if error is None else unavailable(name, error)
