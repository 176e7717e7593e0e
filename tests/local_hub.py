"""A hub on the loopback: of the Hugging Face Hub's HTTP interface what huggingface_hub asks of it for models.

Listings, files (big ones by a redirect to another address, as its store's), repositories, branches, and commits, whose
big files go by git LFS. What it says of errors is what the hub says, by the header that huggingface_hub reads.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"
BIG = ".safetensors"  # kept by LFS


@dataclass
class Repository:
    """Branches and commits, and who may see them."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        """Files on top of a branch; the commit's hash."""
        all_files = {**self.commits.get(self.branches.get(branch, ""), {}), **files}
        names = [f"{name} {digest(content)}" for name, content in sorted(all_files.items())]
        commit = hashlib.sha1("\n".join([branch, *names]).encode()).hexdigest()
        self.commits[commit], self.branches[branch] = all_files, commit
        return commit


def digest(content: bytes) -> str:
    """By which git names a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub:
    """What is kept, what was asked, and what goes wrong.

    `sent` replaces the bytes that are sent of a file of that name, though not what is said of it before; `cut` breaks
    the connection amid it; `answers` gives a status, or a text, for every path that begins so; `listed` changes a
    listing.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.store: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.sent: dict[str, bytes] = {}
        self.cut: set[str] = set()
        self.answers: dict[str, int | str] = {}
        self.listed: dict[str, object] = {}
        self.url = ""

    def add(self, name: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Commit files to a repository; the commit's hash."""
        return self.repositories.setdefault(name, Repository()).commit(branch, files)

    def fetched(self) -> list[str]:
        """The files whose content was asked for."""
        gets = [
            line
            for line in self.asked
            if line.startswith("GET /store/") or (line.startswith("GET") and "/resolve/" in line)
        ]
        return [line.rpartition("/")[2] for line in gets]


class Handler(BaseHTTPRequestHandler):
    """One request; `server.hub` is the state."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        self.hub: Hub = self.server.hub
        self.path_asked = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {self.path_asked}")
        planned = next((a for start, a in self.hub.answers.items() if self.path_asked.startswith(start)), None)
        if planned is not None:
            return self._send(planned, b"{}") if isinstance(planned, int) else self._send(200, planned.encode())
        parts = self.path_asked.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self._of_repository("/".join(parts[2:4]), parts[4:])
        if parts == ["api", "repos", "create"]:
            return self._create(json.loads(self.body))
        if parts == ["api", "validate-yaml"]:
            return self._json({"errors": [], "warnings": []})
        if parts[0] == "store":
            return self._stored(*parts[1:])
        if parts[2:5] == ["info", "lfs", "objects"]:
            return self._batch(json.loads(self.body))
        if parts[2:3] == ["resolve"]:
            return self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        return self._fail(404, "EntryNotFound")

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815

    @property
    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _visible(self, name: str) -> Repository | None:
        found = self.hub.repositories.get(name)
        if found is None or (found.private and not self._known):
            self._fail(404 if self._known else 401, "RepoNotFound")
            return None
        if found.gated and not self._known:
            self._fail(403, "GatedRepo")
            return None
        return found

    def _of_repository(self, name: str, rest: list[str]) -> None:
        if rest and self.command == "POST" and not self._known:
            return self._fail(401, None, "Invalid credentials in Authorization header")
        found = self._visible(name)
        if found is None:
            return None
        if rest[:1] == ["branch"]:
            branch = "/".join(rest[1:])
            if branch in found.branches:
                return self._fail(409, None)
            found.branches[branch] = found.branches.get("main", "")
            return self._json({})
        if rest[:1] == ["preupload"]:
            files = [file["path"] for file in json.loads(self.body)["files"]]
            modes = [
                {"path": f, "uploadMode": "lfs" if f.endswith(BIG) else "regular", "shouldIgnore": False} for f in files
            ]
            return self._json({"files": modes})
        if rest[:1] == ["commit"]:
            return self._commit(name, found, "/".join(rest[1:]))
        return self._info(name, found, "/".join(rest[1:]) or "main")

    def _info(self, name: str, found: Repository, revision: str) -> None:
        commit = found.branches.get(revision, revision)
        if commit not in found.commits:
            if revision == "main" and not found.commits:
                return self._json({"id": name, "sha": "0" * 40, "private": found.private, "siblings": []})
            return self._fail(404, "RevisionNotFound")
        siblings = [self._sibling(file, content) for file, content in found.commits[commit].items()]
        listing = {"id": name, "sha": commit, "private": found.private, "siblings": siblings}
        return self._json({**listing, **self.hub.listed})

    def _sibling(self, name: str, content: bytes) -> dict[str, object]:
        lfs = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 130}
        about: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": digest(content)}
        return {**about, "lfs": lfs} if name.endswith(BIG) else about

    def _resolve(self, name: str, revision: str, file: str) -> None:
        found = self._visible(name)
        if found is None:
            return None
        commit = found.branches.get(revision, revision)
        if commit not in found.commits:
            return self._fail(404, "RevisionNotFound")
        if file not in found.commits[commit]:
            return self._fail(404, "EntryNotFound")
        content = found.commits[commit][file]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{digest(content)}"'}
        if not file.endswith(BIG):
            return self._send(200, content, file=file, **headers)
        sha = hashlib.sha256(content).hexdigest()
        self.hub.store[sha] = content
        linked = {"X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(len(content))}
        store = self.hub.url.replace("127.0.0.1", "localhost")  # another host, as the hub's store is
        return self._send(302, b"", Location=f"{store}/store/{sha}/{file}", **headers, **linked)

    def _stored(self, sha: str, file: str = "") -> None:
        if self.command == "PUT":
            self.hub.store[sha] = self.body
            return self._json({})
        return self._send(200, self.hub.store[sha], file=file, ETag=f'"{sha}"')

    def _create(self, asked: dict[str, object]) -> None:
        if not self._known:
            return self._fail(401, None, "Invalid credentials in Authorization header")
        name = f"{asked['organization']}/{asked['name']}"
        about = {"url": f"{self.hub.url}/{name}", "id": name}
        if name in self.hub.repositories:
            return self._send(409, json.dumps(about).encode())
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        self.hub.repositories[name] = Repository(private=private)
        return self._json(about)

    def _batch(self, asked: dict[str, list[dict[str, str]]]) -> None:
        objects = [
            {**about, "actions": {"upload": {"href": f"{self.hub.url}/store/{about['oid']}"}}}
            for about in asked["objects"]
        ]
        return self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, found: Repository, branch: str) -> None:
        files = {}
        for line in self.body.splitlines():
            item = json.loads(line)
            if item["key"] == "file":
                files[item["value"]["path"]] = base64.b64decode(item["value"]["content"])
            if item["key"] == "lfsFile":
                files[item["value"]["path"]] = self.hub.store[item["value"]["oid"]]
        commit = found.commit(branch, files)
        return self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit})

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode())

    def _fail(self, status: int, code: str | None, message: str | None = None) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        self._send(status, b"{}", **{name: text for name, text in headers.items() if text})

    def _send(self, status: int, content: bytes, *, file: str = "", **headers: str) -> None:
        if self.command == "GET":
            content = self.hub.sent.get(file, content)
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if file in self.hub.cut:
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self.wfile.write(content)


@contextmanager
def served() -> Iterator[Hub]:
    """A hub at `hub.url`, empty."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = Hub()
    server.hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
