"""A Hub of one machine: the few endpoints that snapshot_download uses, over folders of files, in a thread.

Repositories: {id: folder}. `gated` ids answer 403; a connection is closed in the midst
of a file named in `cut`. Requests are recorded, so tests can say what was downloaded.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "a" * 40
BRANCHES = {"main": COMMIT, "v1": COMMIT, COMMIT: COMMIT}


class HubServer:
    def __init__(
        self,
        repositories: dict[str, Path],
        gated: frozenset[str] = frozenset(),
        cut: frozenset[str] = frozenset(),
    ) -> None:
        self.repositories, self.gated, self.cut = repositories, gated, cut
        self.requests: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.split("?")[0]
        self.requests.append(f"{request.command} {path}")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            self._info(request, match[1], match[2] or "main")
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            self._tree(request, match[1], match[2])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(request, match[1], match[2], match[3])
        else:
            send(request, 404, {})

    def _refused(self, request: BaseHTTPRequestHandler, repository: str, revision: str) -> bool:
        if repository in self.gated:
            send(request, 403, {"X-Error-Code": "GatedRepo"})
        elif repository not in self.repositories:
            send(request, 404, {"X-Error-Code": "RepoNotFound"})
        elif revision not in BRANCHES:
            send(request, 404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return False
        return True

    def _info(self, request: BaseHTTPRequestHandler, repository: str, revision: str) -> None:
        if not self._refused(request, repository, revision):
            names = sorted(path.name for path in self.repositories[repository].iterdir())
            siblings = [{"rfilename": name} for name in names]
            body = {"id": repository, "sha": COMMIT, "private": False, "tags": [], "siblings": siblings}
            send(request, 200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def _tree(self, request: BaseHTTPRequestHandler, repository: str, revision: str) -> None:
        if not self._refused(request, repository, revision):
            files = sorted(self.repositories[repository].iterdir())
            entries = [
                {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": digest(p.read_bytes())} for p in files
            ]
            send(request, 200, {"Content-Type": "application/json"}, json.dumps(entries).encode())

    def _file(self, request: BaseHTTPRequestHandler, repository: str, revision: str, name: str) -> None:
        if self._refused(request, repository, revision):
            return
        path = self.repositories[repository] / name
        if not path.is_file():
            send(request, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        content = path.read_bytes()
        kept = len(content) // 2 if name in self.cut else None
        send(request, 200, {"ETag": f'"{digest(content)}"', "X-Repo-Commit": COMMIT}, content, kept)

    def downloaded(self) -> set[str]:
        """Names of the files whose content was asked for."""
        return {line.rsplit("/", 1)[-1] for line in self.requests if line.startswith("GET") and "/resolve/" in line}


def digest(content: bytes) -> str:
    """As git names a blob; the Hub's ETag of a small file is the same."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def send(
    request: BaseHTTPRequestHandler,
    status: int,
    headers: dict[str, str],
    body: bytes = b"",
    kept: int | None = None,
) -> None:
    """`kept`: so many bytes of the body are sent, then the connection ends."""
    request.send_response(status)
    for key, value in headers.items():
        request.send_header(key, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body[:kept])
    request.close_connection = request.close_connection or kept is not None
