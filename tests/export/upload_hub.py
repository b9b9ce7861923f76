"""A model hub on this machine's loopback that takes uploads as the hub's own protocol does."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_tests"


class UploadHub:
    """Takes repositories of the owner "me" from whoever has `TOKEN`; large files go through LFS.

    `repos` holds whether each is private, `files` what was committed, by (repository, path), and
    `messages` the commits' first lines.
    """

    def __init__(self) -> None:
        self.repos: dict[str, bool] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.messages: list[str] = []
        self.by_lfs: list[str] = []
        self._objects: dict[str, bytes] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                hub._answer(self, _body(self))

            def do_PUT(self) -> None:
                hub._store(self, _body(self))

            def do_GET(self) -> None:
                hub._answer(self, b"")

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

    def _answer(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        path = request.path.split("?")[0].strip("/")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _reply(request, 401, {"error": "Invalid credentials"})
        if path == "api/validate-yaml":  # the card's first lines
            return _reply(request, 200, {"errors": [], "warnings": []})
        if path == "api/repos/create":
            return self._create(request, json.loads(body))
        repo = "/".join(path.removesuffix("/").split("/")[2:4]).removesuffix(".git")
        if path.endswith("info/lfs/objects/batch"):
            return self._batch(request, json.loads(body))
        if repo not in self.repos:
            return _reply(request, 404, {"error": "Repository not found"})
        if "/preupload/" in path:
            wanted = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": _mode(f["path"])} for f in wanted]
            return _reply(request, 200, {"files": [{**m, "shouldIgnore": False} for m in modes]})
        if "/commit/" in path:
            return self._commit(request, repo, body)
        return _reply(request, 404, {"error": f"no {path} here"})

    def _create(self, request: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        repo = f"{asked.get('organization')}/{asked['name']}"
        if not repo.startswith("me/"):
            return _reply(request, 403, {"error": "not yours"})
        if repo in self.repos:
            return _reply(request, 409, {"error": "exists", "url": f"{self.url}/{repo}"})
        self.repos[repo] = asked.get("visibility") == "private" or bool(asked.get("private"))
        return _reply(request, 200, {"url": f"{self.url}/{repo}"})

    def _batch(self, request: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        objects = [
            {**o, "actions": {"upload": {"href": f"{self.url}/put/{o['oid']}"}}}
            for o in asked["objects"]
        ]
        _reply(request, 200, {"transfer": "basic", "objects": objects})

    def _store(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        digest = request.path.split("/")[-1]
        if hashlib.sha256(body).hexdigest() != digest:
            return _reply(request, 400, {"error": "not these bytes"})
        self._objects[digest] = body
        return _reply(request, 200, {})

    def _commit(self, request: BaseHTTPRequestHandler, repo: str, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.messages.append(value["summary"])
            elif line["key"] == "file":
                self.files[repo, value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[repo, value["path"]] = self._objects[value["oid"]]
                self.by_lfs.append(value["path"])
        oid = hashlib.sha1(body).hexdigest()
        url = f"{self.url}/{repo}/commit/{oid}"
        _reply(request, 200, {"commitUrl": url, "commitOid": oid, "pullRequestUrl": None})


def _mode(path: str) -> str:
    return "lfs" if path.endswith((".safetensors", ".pt", ".ckpt")) else "regular"


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Transfer-Encoding") == "chunked":
        found = b""
        while size := int(request.rfile.readline(), 16):
            found += request.rfile.read(size)
            request.rfile.readline()
        request.rfile.readline()
        return found
    return request.rfile.read(int(request.headers.get("Content-Length") or 0))


def _reply(request: BaseHTTPRequestHandler, status: int, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
