"""A model hub on this machine's loopback that serves files as the hub's own protocol does."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0" * 39 + "1"


class FakeHub:
    """`files` maps (repository, file name) to bytes; `asked` lists what was fetched."""

    def __init__(self, files: dict[tuple[str, str], bytes]) -> None:
        self.files = files
        self.asked: list[tuple[str, str, str]] = []  # repository, revision, file
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub._answer(self, with_body=False)

            def do_GET(self) -> None:
                hub._answer(self, with_body=True)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler, *, with_body: bool) -> None:
        repo, _, rest = request.path.strip("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        if not rest or not any(repo == name for name, _ in self.files):
            return self._refuse(request, "RepoNotFound")
        if revision not in ("main", "v1", COMMIT):
            return self._refuse(request, "RevisionNotFound")
        body = self.files.get((repo, file))
        if body is None:
            return self._refuse(request, "EntryNotFound")
        if with_body:
            self.asked.append((repo, revision, file))
        begin = int((request.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        request.send_response(206 if begin else 200)
        request.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        request.send_header("X-Repo-Commit", COMMIT)
        request.send_header("Content-Length", str(len(body) - begin))
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        request.end_headers()
        if with_body:
            request.wfile.write(body[begin:])

    def _refuse(self, request: BaseHTTPRequestHandler, code: str) -> None:
        request.send_response(404)
        request.send_header("X-Error-Code", code)
        request.send_header("Content-Length", "0")
        request.end_headers()
