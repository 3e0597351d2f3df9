"""A forge on loopback: git's own HTTP backend behind basic authentication, and servers that misbehave."""

import base64
import os
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

Answer = Callable[[BaseHTTPRequestHandler], None]


class Forge:
    """Serves with `answer`; remembers the path and the Authorization header of each request."""

    def __init__(self, answer: Answer) -> None:
        forge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                forge.requests.append((self.path, self.headers.get("Authorization")))
                answer(self)

            do_POST = do_GET  # noqa: N815  the library's name

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.requests: list[tuple[str, str | None]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def url(self, path: str) -> str:
        return f"http://{self.host}/{path}"

    @property
    def credentials_seen(self) -> set[str]:
        return {base64.b64decode(given.split()[1]).decode() for _, given in self.requests if given}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def git_backend(root: Path, user_and_token: str, on_access: Callable[[], None] = lambda: None) -> Answer:
    """Git's own backend for the repositories below root, for whoever has the token."""
    wanted = "Basic " + base64.b64encode(user_and_token.encode()).decode()

    def answer(request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if request.headers.get("Authorization") != wanted:
            send(request, 401, headers={"WWW-Authenticate": 'Basic realm="forge"'})
            return
        on_access()
        path, _, query = request.path.partition("?")
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            capture_output=True,
            check=True,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
                "REQUEST_METHOD": request.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": request.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
                "REMOTE_USER": "somebody",
                "REMOTE_ADDR": "127.0.0.1",
            },
        ).stdout
        head, _, content = done.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        send(request, int(headers.pop("Status", "200").split()[0]), content, headers)

    return answer


def always(status: int, headers: dict[str, str] | None = None, content: bytes = b"") -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        send(request, status, content, headers)

    return answer


def send(
    request: BaseHTTPRequestHandler, status: int, content: bytes = b"", headers: dict[str, str] | None = None
) -> None:
    request.send_response(status)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)
