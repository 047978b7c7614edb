"""A local stand-in for the hub: answers what huggingface_hub asks, keeps a record, and fails on request."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
import time
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

_LARGE = (".safetensors", ".pth", ".pt", ".ckpt")
_INFO = re.compile(r"/api/models/(?P<repository>[^/]+/[^/]+)/revision/(?P<revision>[^/]+)")
_RESOLVE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")


@dataclass
class Repository:
    """Commits with their files, and the names of some commits."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def commit(self, files: dict[str, bytes], name: str = "main") -> str:
        """Add a commit and let ``name`` mean it."""
        content = b"".join(key.encode() + value for key, value in sorted(files.items()))
        commit = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        self.commits[commit] = dict(files)
        self.names[name] = commit
        return commit

    def find(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.names.get(revision)


class Request(NamedTuple):
    """What a client asked, and where in the file it wanted to start."""

    method: str
    path: str
    start: int


@dataclass
class Faults:
    """What goes wrong with files of a name: broken off once after n bytes, other content, other length, slowly.

    ``page`` is the answer to everything, as that of a network that asks to log in.
    """

    break_once_after: dict[str, int] = field(default_factory=dict)
    corrupted: set[str] = field(default_factory=set)
    replaced: dict[str, bytes] = field(default_factory=dict)
    ignores_range: bool = False
    status: int | None = None
    page: bytes = b""
    seconds_per_block: float = 0.0


class HubServer(http.server.ThreadingHTTPServer):
    """Serves :attr:`repositories` at :attr:`endpoint` while used as a context manager."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.faults = Faults()
        self.requests: list[Request] = []
        self.bytes_sent: Counter[str] = Counter()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that are killed break their connection."""

    def file_requests(self, name: str) -> list[Request]:
        return [request for request in self.requests if request.path.endswith("/" + name)]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer
    block = 64 * 1024

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class names it so
        """Print nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        self.server.requests.append(Request(self.command, path, start))
        if self.server.faults.status:
            self._refuse(self.server.faults.status, "")
            return
        if self.server.faults.page:
            self._send(self.server.faults.page, {"Content-Type": "text/html"})
            return
        found = _INFO.fullmatch(path) or _RESOLVE.fullmatch(path)
        repository = self.server.repositories.get(found["repository"]) if found else None
        if found is None or repository is None:
            self._refuse(404, "RepoNotFound")
            return
        commit = repository.find(found["revision"])
        if commit is None:
            self._refuse(404, "RevisionNotFound")
        elif found.re is _INFO:
            self._send(json.dumps(_info(found["repository"], commit, repository.commits[commit])).encode(), {})
        elif repository.gated:
            self._refuse(403, "GatedRepo")
        elif found["name"] not in repository.commits[commit]:
            self._refuse(404, "EntryNotFound")
        else:
            self._send_file(found["name"], repository.commits[commit][found["name"]], commit, start)

    def _send_file(self, name: str, content: bytes, commit: str, start: int) -> None:
        faults = self.server.faults
        content = faults.replaced.get(name, content)
        if name in faults.corrupted:
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }
        if faults.ignores_range:
            start = 0
        if start >= len(content) > 0:
            self._refuse(416, "")
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(content[start:], headers, name)

    def _send(self, body: bytes, headers: dict[str, str], name: str = "") -> None:
        self.send_response(206 if "Content-Range" in headers else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        limit = self.server.faults.break_once_after.pop(name, len(body))
        for begin in range(0, min(limit, len(body)), self.block):
            part = body[begin : min(begin + self.block, limit)]
            self.wfile.write(part)
            self.server.bytes_sent[name] += len(part)
            time.sleep(self.server.faults.seconds_per_block)
        if limit < len(body):
            self.wfile.flush()
            self.close_connection = True

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _info(repository: str, commit: str, files: dict[str, bytes]) -> dict[str, object]:
    siblings = []
    for name, content in files.items():
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        sibling: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": oid}
        if name.endswith(_LARGE):
            sha256 = hashlib.sha256(content).hexdigest()
            sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
        siblings.append(sibling)
    return {"id": repository, "modelId": repository, "sha": commit, "siblings": siblings, "tags": [], "private": False}
