"""Opens the threads for blocking calls on behalf of requests, and bounds the time of the calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from runtimed.api.sockets import Peer
from runtimed.host.peers import read_command
from runtimed.host.worker import Worker

# Time after which a request that waits for a file system gets an error.
CALL_TIMEOUT_S = 10.0
# Time for which a reload waits for the command line of the process that requests it.
COMMAND_TIMEOUT_S = 0.5


def open_worker(name: str, stack: AsyncExitStack) -> Worker:
    """Return a new thread. There is one for each kind of blocking call: a hanging file system delays only its kind."""
    worker = Worker(name)
    stack.callback(worker.close)
    return worker


async def call_for(worker: Worker, peer: Peer, function: Callable[..., Any], *args: object) -> Any:
    """Return the result of ``function``, called for the user of ``peer``. Raises: TimeoutError, TooManyWaiting."""
    async with asyncio.timeout(CALL_TIMEOUT_S):
        return await worker.run_for(peer.uid, function, *args)


async def read_command_of(worker: Worker, peer: Peer) -> str | None:
    """Return the command line of the process at the other end, None if it cannot be read in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            return await worker.run(read_command, peer.pid)
    return None
