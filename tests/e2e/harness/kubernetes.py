"""A small API server with RuntimeClass objects, and kubectl, which talks to it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from harness.daemon import PATIENCE_S
from harness.runtime_class import RUNTIME_CLASS
from jsonschema import Draft202012Validator

_GROUP = "node.k8s.io"
_COLLECTION = f"/apis/{_GROUP}/v1/runtimeclasses"
_VERSION = {"groupVersion": f"{_GROUP}/v1", "version": "v1"}
_VERBS = ["create", "delete", "get", "list", "patch"]
_RESOURCE = {"name": "runtimeclasses", "kind": "RuntimeClass", "namespaced": False, "verbs": _VERBS}
# The requests by which kubectl learns what a server has.
_DISCOVERY: dict[str, dict[str, Any]] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [{"name": _GROUP, "versions": [_VERSION], "preferredVersion": _VERSION}],
    },
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
    f"/apis/{_GROUP}/v1": {"kind": "APIResourceList", "groupVersion": f"{_GROUP}/v1", "resources": [_RESOURCE]},
}
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class FakeCluster:
    """The objects of an API server on the loopback, and kubectl for it.

    The server refuses objects that are no RuntimeClass by the schema, and a change of a handler.
    """

    def __init__(self, directory: Path) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.writes: list[str] = []
        self._directory = directory
        self.port = 0

    def kubectl(self, *words: str, stdin: str = "", status: int = 0) -> str:
        """Run kubectl and return its output; it reads no configuration and keeps its cache with the test."""
        server = (f"--server=http://127.0.0.1:{self.port}", f"--cache-dir={self._directory}/cache")
        environ = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self._directory), "KUBECONFIG": "/dev/null"}
        done = subprocess.run(
            ["kubectl", *server, *words],
            input=stdin,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def apply(self, document: str, *options: str, status: int = 0) -> list[str]:
        """Run ``kubectl apply`` and return its lines; the server checks the objects, as it has no OpenAPI."""
        return self.kubectl(
            "apply", "--validate=false", *options, "-f", "-", stdin=document, status=status
        ).splitlines()

    def applied(self) -> list[dict[str, Any]]:
        """Return the objects without the annotation in which kubectl keeps what it has applied."""
        found = json.loads(json.dumps(list(self.objects.values())))
        for each in found:
            annotations = each["metadata"].pop("annotations")
            assert json.loads(annotations.pop(_LAST_APPLIED))["metadata"]["name"] == each["metadata"]["name"]
            if annotations:
                each["metadata"]["annotations"] = annotations
        return list(found)

    def answer(self, method: str, target: str, body: Any) -> tuple[int, dict[str, Any]]:
        """Return status and body of a response."""
        url = urlsplit(target)
        if method == "GET" and url.path in _DISCOVERY:
            return 200, _DISCOVERY[url.path]
        collection, _, name = f"{url.path.removesuffix('/')}/".partition(f"{_COLLECTION}/")
        name = name.removesuffix("/")
        if collection:
            return _refusal(404, "NotFound", url.path)
        if method == "GET" and not name:
            return 200, self._list(parse_qs(url.query).get("labelSelector", [""])[0])
        return self._answer_for(method, name or body["metadata"]["name"], body)

    def _answer_for(self, method: str, name: str, body: Any) -> tuple[int, dict[str, Any]]:
        if method != "GET":
            self.writes.append(f"{method} {name}")
        if (method == "POST") == (name in self.objects):
            return _refusal(409, "AlreadyExists", name) if method == "POST" else _refusal(404, "NotFound", name)
        old = self.objects.get(name, {})
        if method == "DELETE":
            del self.objects[name]
        elif method != "GET":
            new = _merged(old, body)
            if faults := _faults(old, new):
                return _refusal(422, "Invalid", "; ".join(faults))
            self.objects[name] = new
        return 200, _served(self.objects.get(name, old))

    def _list(self, selector: str) -> dict[str, Any]:
        key, _, value = selector.partition("=")
        items = [
            each for each in self.objects.values() if not key or each["metadata"].get("labels", {}).get(key) == value
        ]
        kind = {"apiVersion": f"{_GROUP}/v1", "kind": "RuntimeClassList", "metadata": {}}
        return {**kind, "items": [_served(each) for each in items]}


def _served(stored: dict[str, Any]) -> dict[str, Any]:
    """Return an object with the id by which kubectl knows the objects that it has just applied."""
    return {**stored, "metadata": {**stored["metadata"], "uid": f"uid-{stored['metadata']['name']}"}}


def _faults(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    faults = [error.message for error in Draft202012Validator(RUNTIME_CLASS).iter_errors(new)]
    if old and old["handler"] != new["handler"]:
        faults.append("handler: field is immutable")
    return faults


def _refusal(code: int, reason: str, message: str) -> tuple[int, dict[str, Any]]:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return code, {**status, "reason": reason, "message": message, "code": code}


def _merged(old: Any, patch: Any) -> Any:
    """Return ``old`` with a merge patch (RFC 7396), which a strategic one of these objects is."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


@contextlib.contextmanager
def fake_cluster(directory: Path) -> Iterator[FakeCluster]:
    """Yield a cluster without objects."""
    cluster = FakeCluster(directory)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, value = cluster.answer(self.command, self.path, json.loads(body) if body else None)
            data = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    cluster.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield cluster
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
