"""A node whose daemon looks at containers and pins all the time, and drops generations after a second.

The pin of a container that is absent for ten seconds is removed: longer than a container takes to start on a busy
machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from e2e.harness.command_line import CommandLine
from e2e.harness.containerd import running_containerd
from e2e.harness.engine_root import EngineRoot, new_engine_root
from e2e.harness.engines import build_rootfs
from e2e.harness.node import ContainerdNode, in_memory
from harness.daemon import new_daemon, short_directory

_PROGRAM = """
import functools, sys
from runtimed import __main__
from runtimed.daemon import container_watch
from runtimed.host.store import retained
from runtimed.inspection import pinned_containers, wrapper_collector
retained._KEEP_S = retained._REPLACED_KEEP_S = 1.0
pinned_containers.ABSENT_S = 10.0
containers, collector = pinned_containers.PinnedContainers, wrapper_collector.Collector
containers.look = functools.partialmethod(containers.look, adopt_age_s=0.0)
for owner in (container_watch.ContainerWatch, collector):
    owner.watch = functools.partialmethod(owner.watch, every_s=0.5)
sys.exit(__main__.main())
"""


@dataclass(frozen=True, slots=True)
class HastyNode:
    """A node, containers that are started on it by the command line, and the namespace of them and of containerd."""

    node: ContainerdNode
    line: CommandLine
    root: EngineRoot


@contextlib.contextmanager
def new_hasty_node(grace: str) -> Iterator[HastyNode]:
    """Yield a node whose containerd is running and whose daemon is not yet; at the end nothing of it is left.

    The data root and the exec root are in memory.
    """
    with new_daemon() as daemon, in_memory(daemon.data), in_memory(daemon.root / "run"), short_directory() as directory:
        daemon.program = ["-c", _PROGRAM]
        with new_engine_root() as root, running_containerd(root.enter) as containerd:
            try:
                line = CommandLine(root, directory, build_rootfs(directory / "rootfs"))
                node = ContainerdNode(daemon, containerd, grace)
                # The program drops generations by their age.
                daemon.generations_most = None
                yield HastyNode(node, line, root)
            finally:
                daemon.kill()
