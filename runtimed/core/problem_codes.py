"""Defines every problem code of the API once: its title, status, remedy, example, and the client's exception for it.

To add a code, add a row here and respond with ``problem(code, detail)`` (`runtimed.api.messages`). The API description,
the client and runtimectl follow. The client imports this module, so it imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's constant, without the milliseconds that importing typing costs
if TYPE_CHECKING:
    from collections.abc import Mapping

# Among the operations of a code: every request.
EVERY = "*"
DEFAULT_HINT = "runtimectl status shows the state of the daemon"


class ProblemCode:
    """One kind of problem.

    ``when`` is its condition. ``detail`` is an example, and the default where the text never varies; every detail ends
    with ``remedy``. ``operations`` are the operations of `runtimed.api.operations` that may respond with the code;
    ``statuses`` are statuses other than the usual ``status``, by operation. ``exception`` names the class in
    `runtimed.client.errors` and, for a code with further members (``members`` are an example), the shape in
    `runtimed.core.shapes`. ``hint`` tells a user of runtimectl how to go on.
    """

    def __init__(
        self,
        title: str,
        status: int,
        when: str,
        detail: str,
        *,
        remedy: str = "",
        operations: tuple[str, ...] = (EVERY,),
        statuses: Mapping[str, int] | None = None,
        exception: str = "BadRequest",
        members: Mapping[str, object] | None = None,
        hint: str = DEFAULT_HINT,
    ) -> None:
        self.title = title
        self.status = status
        self.when = when
        self.detail = detail
        self.remedy = remedy
        self.operations = operations
        self.statuses = statuses or {}
        self.exception = exception
        self.members = members or {}
        self.hint = hint


_READING = ("resolve", "describeGeneration", "compareGenerations")
_DISK = (*_READING, "listRuntimes", "describeRuntime", "listContainers", "listHistory", "metrics", "recordProof")
_CHANGING = ("reload", "collectWrappers", "recordVerification", "recordProof")
_NAMING = ("resolve", "describeRuntime", "recordProof")
_KNOWN = {"known": ["crun", "gvisor", "io.containerd.runc.v2", "kata", "runc"], "known_total": 5}
_LIST_NAMES = "runtimectl list shows the known names"
_LIST_GENERATIONS = "runtimectl generations lists the retained generations"

PROBLEM_CODES = {
    # Every request may get these. Most of them end the connection.
    "bad-query": ProblemCode(
        "Bad query",
        400,
        "a key of the query is unknown, or its value has the wrong form",
        "unknown query keys: runtme; /v1/resolve takes: digest, generation, runtime",
    ),
    "malformed-request": ProblemCode(
        "Malformed request",
        400,
        "the request is not HTTP/1.1, or does not have exactly one Host header",
        "this is not HTTP/1.1: Invalid method encountered",
    ),
    "malformed-target": ProblemCode(
        "Malformed target",
        400,
        "the path or the query cannot be decoded, or a key of the query is repeated",
        "a % is not followed by two hexadecimal digits",
    ),
    "method-not-allowed": ProblemCode(
        "Method not allowed",
        405,
        "the path does not take this method; the header Allow names those that it takes",
        "/v1/reload takes POST, not GET",
    ),
    "request-timeout": ProblemCode(
        "Request time-out",
        408,
        "the head of the request is not complete in time",
        "the headers did not end within 10 seconds",
    ),
    "body-not-accepted": ProblemCode(
        "No body accepted",
        413,
        "the request announces a body",
        "no request takes a body; pass parameters in the path and the query",
    ),
    "target-too-long": ProblemCode(
        "Target too long",
        414,
        "path and query together are too long",
        "a path with its query may have 8192 bytes",
    ),
    "expectation-failed": ProblemCode(
        "Expectation failed",
        417,
        "the header Expect has a value other than 100-continue",
        "the header Expect takes no value but 100-continue",
    ),
    "headers-too-large": ProblemCode(
        "Headers too large",
        431,
        "the request has too many headers, or their total size is too large",
        "a request may have 64 headers with 16384 bytes in all",
    ),
    "internal-error": ProblemCode(
        "Internal error",
        500,
        "an error in runtimed",
        "this is an error in runtimed, and its log has the details; the same request may succeed later",
        exception="InternalError",
    ),
    "too-many-connections": ProblemCode(
        "Too many connections",
        503,
        "the limit of connections, in all or for one user, is reached",
        "user 1000 has 1024 connections, which is the limit; close some of them",
        exception="TooManyClients",
    ),
    "version-not-supported": ProblemCode(
        "HTTP version not supported",
        505,
        "the request has another version of HTTP",
        "use HTTP/1.1 or HTTP/1.0",
    ),
    "no-such-path": ProblemCode(
        "No such path",
        404,
        "the API has no such path",
        "/v2/resolve is not served here; there are /v1/resolve, /v1/runtimes, /v1/runtimes/{name}, …",
        operations=(),
    ),
    # Operations
    "unknown-runtime": ProblemCode(
        "Unknown runtime",
        400,
        "the name is not configured, and is not the name of a shim",
        "unknown or invalid runtime name: gvisr; did you mean gvisor?",
        operations=_NAMING,
        statuses={"describeRuntime": 404, "recordProof": 404},
        exception="UnknownRuntime",
        members={"runtime": "gvisr", "nearest": "gvisor", **_KNOWN},
        hint=_LIST_NAMES,
    ),
    "invalid-runtime-name": ProblemCode(
        "Invalid runtime name",
        400,
        "the name is not configured, and must not be passed to containerd as the name of a shim",
        "unknown or invalid runtime name: ../gvisor",
        remedy="a name that is not configured must be a shim name such as io.containerd.kata.v2",
        operations=_NAMING,
        statuses={"describeRuntime": 404, "recordProof": 404},
        exception="InvalidRuntimeName",
        members={"runtime": "../gvisor", **_KNOWN},
        hint=_LIST_NAMES,
    ),
    "runtime-unavailable": ProblemCode(
        "The runtime cannot be executed",
        503,
        "the runtime is configured, and a file that the resolution names cannot be executed: its binary, its wrapper "
        "or its shim is missing, is not executable, has a format that this kernel does not execute, or is on a file "
        "system that does not respond within a second. Stock and implicit runtimes name no file of this node",
        "runtime gvisor: runsc: executable file not found in PATH (error while looking up the specified runtime path)",
        remedy="install it, or correct the entry in the configuration (a damaged wrapper is written again within "
        "seconds); runtimectl explain shows each file",
        operations=("resolve",),
        exception="RuntimeUnavailable",
        members={"runtime": "gvisor", "path": "runsc"},
        hint="runtimectl list shows which runtimes can be used",
    ),
    "unknown-engine": ProblemCode(
        "Unknown engine",
        404,
        "runtimed knows no engine of this name",
        "unknown engine: dockr; known are docker, containerd",
        operations=("recordVerification",),
        hint="runtimectl help sync lists the engines",
    ),
    "proof-outdated": ProblemCode(
        "The test is outdated",
        409,
        "the runtime has another resolution or other binaries than those of the test",
        "a binary of gvisor changed since the test",
        remedy="test the runtime again: runtimectl test",
        operations=("recordProof",),
        exception="ProofOutdated",
        hint="runtimectl test tests the runtime as it is now",
    ),
    "no-such-generation": ProblemCode(
        "No such generation",
        404,
        "the generation was never published",
        "generation 99 was never published here; the newest is 2",
        remedy="/v1/generations lists the retained generations",
        operations=_READING,
        exception="NoSuchGeneration",
        hint=_LIST_GENERATIONS,
    ),
    "generation-gone": ProblemCode(
        "Generation no longer retained",
        410,
        "the generation was published, and is no longer retained",
        "generation 1 is no longer retained; the oldest that is, is 27",
        remedy="/v1/generations lists the retained generations; the setting runtimed.retain is their number",
        operations=_READING,
        exception="GenerationGone",
        hint=_LIST_GENERATIONS,
    ),
    "digest-mismatch": ProblemCode(
        "Digest mismatch",
        409,
        "the resolution in that generation has another digest than the given one",
        f"gvisor in generation 2 has the digest sha256:{'5e' * 32}, not sha256:{'00' * 32}",
        remedy="omit the digest, or use the current resolution",
        operations=("resolve",),
        exception="DigestMismatch",
        members={"digest": f"sha256:{'5e' * 32}"},
        hint="without --digest, runtimectl resolve shows the answer that was given",
    ),
    "damaged-manifest": ProblemCode(
        "The generation cannot be read",
        500,
        "the generation's files on disk differ from those that were written",
        "manifest of generation 1: its checksum does not match",
        operations=_READING,
        exception="DamagedManifest",
    ),
    "store-failed": ProblemCode(
        "The data root cannot be read or written",
        500,
        "the data root cannot be read, or a proof cannot be written to it",
        "reading /var/lib/runtimed/generations/00000001: Input/output error",
        operations=(*_READING, "collectWrappers", "recordProof"),
        statuses={"recordProof": 507},
        exception="StoreFailed",
    ),
    "disk-timeout": ProblemCode(
        "The file system does not respond",
        503,
        "a file system does not respond within ten seconds",
        "a file system did not respond within 10 seconds; check that all file systems are there, then try again",
        operations=_DISK,
        exception="DiskTimeout",
        hint="findmnt lists the file systems; check whether a network file system is unreachable",
    ),
    "too-many-waiting": ProblemCode(
        "Too many waiting requests",
        503,
        "the limit of requests of one user that wait for a file system is reached",
        "256 requests of user 1000 wait for the disk, which is the limit",
        remedy="wait for some of them, then try again",
        operations=_DISK,
        exception="TooManyClients",
    ),
    "forbidden": ProblemCode(
        "Permission denied",
        403,
        "the client is neither root nor the user that the daemon runs as",
        "permission denied: only root may do this",
        remedy="repeat the request as root, or as the user that the daemon runs as",
        operations=_CHANGING,
        exception="Forbidden",
        hint="run it as root (sudo)",
    ),
    "too-many-subscribers": ProblemCode(
        "Too many subscribers",
        503,
        "the limit of clients that listen to events, in all or for one user, is reached",
        "256 clients listen to events, and the limit, in all or for one user, is reached",
        remedy="end some of them",
        operations=("listen",),
        exception="TooManyClients",
    ),
    "unhealthy": ProblemCode(
        "The daemon is unhealthy",
        503,
        "the process has a fault that a restart may cure",
        "watcher: a watcher thread died; restarting it",
        operations=("health",),
        exception="Unhealthy",
        members={"ailments": {"watcher": "a watcher thread died; restarting it"}},
    ),
}
