"""A nginx that answers 200 to everything, on a Unix socket, as an ordinary user."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from harness.daemon import ordinary_user, short_directory, wait_until

NOBODY = 65534
# As little as can be: one process, nothing written outside of the directory, limits where ours are.
CONFIG = """
daemon off;
master_process off;
pid {root}/pid;
error_log {root}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {root}/body;
  proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi;
  scgi_temp_path {root}/scgi;
  large_client_header_buffers 4 16k;
  keepalive_requests 100000;
  server {{
    listen unix:{root}/s;
    location / {{ return 200 "ok"; }}
  }}
}}
"""


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
        sock.connect(str(path))
        return True
    return False


@contextlib.contextmanager
def running_nginx() -> Iterator[str]:
    """Yield the path of its socket."""
    binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert binary is not None, "install nginx-light"
    with short_directory() as root:
        (root / "conf").write_text(CONFIG.format(root=root))
        if os.geteuid() == 0:
            os.chown(root, NOBODY, NOBODY)
        command = [*ordinary_user(), binary, "-e", f"{root}/error.log", "-p", str(root), "-c", f"{root}/conf"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        try:
            wait_until(lambda: answers(root / "s") or process.poll() is not None, "nginx")
            yield str(root / "s")
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=120)
            if process.returncode:
                print(errors.decode())  # noqa: T201
