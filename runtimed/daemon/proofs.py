"""Opens the proofs, and rejects a configuration whose default runtime lacks a proof that it requires."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from runtimed.core.configuration.inputs import Documents
from runtimed.core.errors import ConfigurationRejected
from runtimed.core.history.manifest import Manifest
from runtimed.core.plan import BootContext, Plan
from runtimed.core.table.generation import Generation, Runtime
from runtimed.host.store import Store
from runtimed.host.worker import Worker
from runtimed.inspection.binaries import NodeInspector
from runtimed.inspection.proofs import Proofs

log = structlog.get_logger()


class ProofPlanner:
    """Plans as ``plan`` does, and compares the default runtime with ``proofs`` where the configuration requires it.

    ``last`` is the generation on disk, which is served if the start is rejected.
    """

    def __init__(self, plan: Callable[..., Plan], proofs: Proofs, last: Manifest | None) -> None:
        self.proofs = proofs
        self._plan = plan
        self._last = last

    def __call__(
        self, documents: Documents, context: BootContext, number: int, previous: Generation | None, *more: object
    ) -> Plan:
        """Return the plan, for the arguments of ``plan``. Blocks for a bounded time. Raises: ConfigurationRejected."""
        planned = self._plan(documents, context, number, previous, *more)
        config = planned.generation.config
        if config.runtimed.require_proof:
            is_in_use = partial(self._is_in_use, context, previous)
            problem = self.proofs.check_default(planned.generation, is_in_use)
            if problem is not None:
                raise ConfigurationRejected((problem,), remarks=config.remarks)
        return planned

    def _is_in_use(self, context: BootContext, previous: Generation | None, runtime: Runtime) -> bool:
        """Return whether ``runtime`` has the same resolution in the generation that clients get."""
        name, digest = runtime.name, None
        if previous is not None:
            digest = previous.runtimes[name].answer.digest if name in previous.runtimes else None
        elif self._last is not None and self._last.configuration == context.config_path:
            digest = self._last.answers[name]["digest"] if name in self._last.answers else None
        else:
            return False
        # A name that is not configured resolves to itself in every generation.
        return runtime.source == "implicit" if digest is None else digest == runtime.answer.digest


async def open_planner(
    plan: Callable[..., Plan], store: Store, last: Manifest | None, inspector: NodeInspector, disk: Worker
) -> ProofPlanner:
    """Return the planner with the proofs of ``store``: none if they cannot be read, because tests can be repeated."""
    kept, remark = await disk.run(store.proofs.read)
    if remark is not None:
        log.warning("proofs.not_used", reason=remark)
    return ProofPlanner(plan, Proofs(kept, inspector.look_at, store.proofs.write, remark), last)
