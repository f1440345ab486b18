"""Every kind of problem that the API answers with: its title, when it comes, and what it may say.

For the description of the API, which is why nothing that answers imports this; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from runtimed.core import shapes


@dataclass(frozen=True, slots=True)
class Code:
    """A kind of problem: ``when`` it comes, and an example's ``detail`` and members that ``shape`` has besides."""

    title: str
    when: str
    detail: str
    shape: object = shapes.Problem
    more: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


_INVALID: shapes.NameMembers = {
    "runtime": "../gvisor",
    "known": ["crun", "gvisor", "io.containerd.runc.v2", "kata", "runc"],
    "known_total": 5,
}
_UNKNOWN: shapes.UnknownNameMembers = {**_INVALID, "runtime": "gvisr", "nearest": "gvisor"}
_UNAVAILABLE: shapes.UnavailableMembers = {"runtime": "gvisor", "path": "runsc"}
_MISMATCH: shapes.MismatchMembers = {"digest": f"sha256:{'5e' * 32}"}
_UNHEALTHY: shapes.UnhealthyMembers = {
    "ailments": {"watcher": "a thread of it has died; it is started again within seconds"}
}

CODES: Mapping[str, Code] = MappingProxyType(
    {
        # Of the connection
        "malformed-request": Code(
            "Malformed request",
            "what was sent is not HTTP/1.1, or has not exactly one Host header",
            "this is not HTTP/1.1: Invalid method encountered",
        ),
        "malformed-target": Code(
            "Malformed target",
            "the path or the query cannot be read, or a query key stands twice",
            "a % is not followed by two hexadecimal digits",
        ),
        "request-timeout": Code(
            "Request time-out",
            "a request has begun and does not get on",
            "the headers did not end within 10 seconds",
        ),
        "body-not-accepted": Code(
            "No body accepted",
            "the request announces a body",
            "no request takes a body here; put what you have to say into the path and the query",
        ),
        "target-too-long": Code(
            "Target too long",
            "path and query together are too long",
            "a path with its query may have 8192 bytes",
        ),
        "expectation-failed": Code(
            "Expectation failed",
            "the header Expect has a value other than 100-continue",
            "no expectation but 100-continue is known",
        ),
        "headers-too-large": Code(
            "Headers too large",
            "there are too many headers, or they are too long",
            "a request may have 64 headers with 16384 bytes in all",
        ),
        "version-not-supported": Code(
            "HTTP version not supported",
            "the request is of another version of HTTP",
            "use HTTP/1.1 or HTTP/1.0",
        ),
        "too-many-connections": Code(
            "Too many connections",
            "there are as many connections as may be, in all or of one user",
            "user 1000 has 1024 connections, which is the limit; close some of them",
        ),
        "internal-error": Code(
            "Internal error",
            "there is an error in runtimed",
            "this is an error in runtimed, its log says more; the same request may succeed later",
        ),
        # Of all routes
        "no-such-path": Code(
            "No such path",
            "nothing is served at this path",
            "/v2/resolve is not served here; there are /v1/resolve, /v1/runtimes, /v1/runtimes/{name}, …",
        ),
        "method-not-allowed": Code(
            "Method not allowed",
            "the path takes other methods only, which the header Allow names",
            "/v1/reload takes POST, not GET",
        ),
        "bad-query": Code(
            "Bad query",
            "a key of the query is unknown, or its value is not of its kind",
            "unknown query keys: runtme; /v1/resolve takes: digest, generation, runtime",
        ),
        "disk-timeout": Code(
            "The disk does not answer",
            "a file system does not answer within ten seconds",
            "a file system that had to be looked at does not answer; see whether all of them are there, and retry",
        ),
        "too-many-waiting": Code(
            "Too many requests wait",
            "so many requests of this user wait for the disk that one more may not",
            "256 requests of user 1000 wait for the disk, which is the limit; wait for some of them, then try again",
        ),
        "forbidden": Code(
            "Not yours to change",
            "whoever asks is neither root nor the user that the daemon runs as",
            "user 1000 may ask and change nothing; ask root, or the user the daemon runs as",
        ),
        # Of some
        "unknown-runtime": Code(
            "Unknown runtime",
            "nothing is configured under the name, and it is not that of a shim",
            "unknown or invalid runtime name: gvisr; did you mean gvisor?",
            shapes.UnknownRuntime,
            _UNKNOWN,
        ),
        "invalid-runtime-name": Code(
            "Invalid runtime name",
            "the name is not configured, and must not be passed to containerd as that of a shim",
            "unknown or invalid runtime name: ../gvisor; a name that is not configured must be a shim name such as "
            "io.containerd.kata.v2",
            shapes.InvalidRuntimeName,
            _INVALID,
        ),
        "runtime-unavailable": Code(
            "The runtime cannot be executed",
            "the runtime is configured, and a file that its answer names cannot be executed: its binary, its wrapper "
            "or its shim is missing, is not executable, is nothing that this kernel executes, or lies on a file system "
            "that does not answer within a second. Stock and implicit runtimes name no file of this node",
            "error while looking up the specified runtime path: runsc: executable file not found in PATH; install it, "
            "or correct the entry in the configuration (a damaged wrapper is written again within seconds); runtimectl "
            "explain shows each file",
            shapes.RuntimeUnavailable,
            _UNAVAILABLE,
        ),
        "no-such-generation": Code(
            "No such generation",
            "the generation was never published",
            "generation 99 was never published here; the newest is 2; /v1/generations lists those there are",
        ),
        "generation-gone": Code(
            "No longer retained",
            "the generation was published, and is not retained any more",
            "generation 1 is no longer retained; the oldest that is, is 27; /v1/generations lists those there are, and "
            "runtimed.retain says how many are kept",
        ),
        "digest-mismatch": Code(
            "Another answer",
            "the answer in that generation is not the one whose digest was given",
            f"gvisor in generation 2 has the digest {_MISMATCH['digest']}, not sha256:{'00' * 32}; ask without a "
            "digest, or start anew from the current answer",
            shapes.DigestMismatch,
            _MISMATCH,
        ),
        "damaged-manifest": Code(
            "The generation cannot be read",
            "what lies on disk of the generation is not what was written",
            "manifest of generation 1: its checksum does not fit its content",
        ),
        "store-failed": Code(
            "The data root cannot be read",
            "the data root cannot be read",
            "reading /var/lib/runtimed/generations/00000001: Input/output error",
        ),
        "too-many-subscribers": Code(
            "Too many subscribers",
            "as many clients listen as may, in all or of one user",
            "256 clients listen to events, and one user may be only so many; end some of them",
        ),
        "unhealthy": Code(
            "The daemon is unwell",
            "the process itself is unwell, which a restart may cure",
            "watcher: a thread of it has died; it is started again within seconds",
            shapes.Unhealthy,
            _UNHEALTHY,
        ),
    }
)
