"""Asks engines: by their programs, over HTTP on a Unix socket, and over containerd's gRPC."""

from __future__ import annotations

import http.client
import os
import socket
import stat
import time
from collections.abc import Callable
from urllib.parse import quote

from runtimed.core.containerd.cri_status import STATUS, VERBOSE_REQUEST, decode_status_config
from runtimed.core.engines.engine import CriStatus, Get, NoAnswer, Question, Run
from runtimed.core.message_text import printable

_TIMEOUT_S = 10.0
_MAX_BYTES = 64 * 1024 * 1024
_CHUNK = 64 * 1024
_ERROR_MAX = 200
# containerd tells its service manager that it is ready, and answers, a moment before its CRI plugin is.
_NOT_READY = "is not initialized yet"
_RETRY_S = 0.1
_GRPC_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_BYTES),
    # A proxy in the environment is not for Unix sockets.
    ("grpc.enable_http_proxy", 0),
)


def ask(question: Question, run: Callable[[Run], bytes]) -> bytes:
    """Return the answer to ``question``; ``run`` returns the output of a program.

    Raises:
        NoAnswer: there is no answer within 10 s, or it is an error.
    """
    if isinstance(question, Run):
        return run(question)
    check_owner(question.socket)
    return _get(question) if isinstance(question, Get) else _cri_status(question)


def check_owner(path: str) -> None:
    """Check that root or this user owns the socket ``path``: a server of another user could give false answers.

    Raises:
        NoAnswer: it is not, or it does not exist.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise NoAnswer(f"{path}: {(error.strerror or str(error)).lower()}") from error
    if not stat.S_ISSOCK(status.st_mode):
        raise NoAnswer(f"{path} is not a socket")
    if status.st_uid not in (0, os.geteuid()):
        raise NoAnswer(f"{path} belongs to user {status.st_uid}, who is not root")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _get(question: Get) -> bytes:
    deadline_s = time.monotonic() + _TIMEOUT_S
    connection = _UnixConnection(question.socket)
    try:
        connection.request("GET", question.path)
        response = connection.getresponse()
        body = _read_body(response, deadline_s)
    except TimeoutError as error:
        raise NoAnswer(f"{question.socket} does not answer within {_TIMEOUT_S:g} s") from error
    except OSError as error:
        raise NoAnswer(f"{question.socket}: {(error.strerror or str(error)).lower()}") from error
    except http.client.HTTPException as error:
        raise NoAnswer(f"{question.socket} does not answer as HTTP: {printable(repr(error)[:_ERROR_MAX])}") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        text = printable(body[:_ERROR_MAX].decode(errors="backslashreplace").strip())
        raise NoAnswer(f"{question.socket} answers GET {question.path} with status {response.status}: {text}")
    return body


def _read_body(response: http.client.HTTPResponse, deadline_s: float) -> bytes:
    data = bytearray()
    # read1: a slow peer must not extend the time with every byte that it sends.
    while chunk := response.read1(_CHUNK):
        data += chunk
        if len(data) > _MAX_BYTES:
            raise http.client.HTTPException(f"more than {_MAX_BYTES:,} bytes")
        if time.monotonic() > deadline_s:
            raise TimeoutError
    if response.length:  # read1 takes an early end for the end
        raise http.client.IncompleteRead(b"", response.length)
    return bytes(data)


def _cri_status(question: CriStatus) -> bytes:
    try:
        # It costs 25 MB and 0.1 s, and only this question needs it.
        import grpc  # noqa: PLC0415
    except ImportError as error:
        raise NoAnswer("containerd can only be asked with grpcio: pip install 'runtimed[containerd]'") from error
    try:
        with grpc.insecure_channel(f"unix://{quote(question.socket)}", options=_GRPC_OPTIONS) as channel:
            status = channel.unary_unary(STATUS)
            deadline_s = time.monotonic() + _TIMEOUT_S
            while True:
                left_s = deadline_s - time.monotonic()
                try:
                    return decode_status_config(status(VERBOSE_REQUEST, timeout=left_s))
                except grpc.RpcError as error:
                    if _NOT_READY not in (error.details() or "") or left_s < 2 * _RETRY_S:
                        raise
                time.sleep(_RETRY_S)
    except grpc.RpcError as error:
        text = printable(f"{error.code().name.lower()}: {error.details()}")
        raise NoAnswer(f"{question.socket}: {text}") from error
    except ValueError as error:
        raise NoAnswer(f"{question.socket}: {error}") from error
