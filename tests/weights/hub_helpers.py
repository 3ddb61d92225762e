"""A hub in this process: the few endpoints that a snapshot download asks for, and a hub cache made by hand."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "a1" * 20


@dataclass
class Repository:
    files: dict[str, bytes]
    token: str | None = None  # a private repository opens to this token only
    gated: bool = False
    forbidden: bool = False


@dataclass
class Hub:
    repositories: dict[str, Repository]
    url: str = ""
    requests: list[str] = field(default_factory=list)

    def downloaded(self) -> set[str]:
        return {r.split(f"/resolve/{COMMIT}/")[1] for r in self.requests if r.startswith("GET") and "/resolve/" in r}


@contextmanager
def serve(**repositories: Repository) -> Iterator[Hub]:
    """A hub whose repositories are all of the organisation "org"."""
    hub = Hub({f"org/{name}": repository for name, repository in repositories.items()})

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def log_message(self, format: str, *args: object) -> None:
            del format, args

        def answer(self) -> None:
            path = self.path.split("?")[0]
            hub.requests.append(f"{self.command} {path}")
            name = "/".join(path.removeprefix("/api/models").split("/")[1:3])
            repository = hub.repositories.get(name)
            given = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if repository is None or (repository.token is not None and given != repository.token):
                self.refuse(401, "RepoNotFound")
            elif repository.forbidden:
                self.refuse(403)
            elif path.startswith("/api/models/"):
                self.api(path.removeprefix(f"/api/models/{name}/"), repository)
            elif repository.gated:
                self.refuse(403, "GatedRepo")
            else:
                self.file(repository.files.get(path.split(f"/resolve/{COMMIT}/")[1]))

        def api(self, call: str, repository: Repository) -> None:
            kind, revision = call.split("/", 1)
            if revision not in ("main", "v1", COMMIT):
                self.refuse(404, "RevisionNotFound")
            elif kind == "tree":
                self.reply(
                    [{"type": "file", "path": p, "size": len(b), "oid": sha1(b)} for p, b in repository.files.items()]
                )
            else:
                self.reply({"id": "x", "sha": COMMIT, "siblings": [{"rfilename": p} for p in repository.files]})

        def refuse(self, status: int, code: str = "") -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def reply(self, content: object) -> None:
            self.file(json.dumps(content).encode())

        def file(self, content: bytes | None) -> None:
            if content is None:
                return self.refuse(404, "EntryNotFound")
            self.send_response(200)
            self.send_header("ETag", f'"{sha1(content)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def write_cache(cache: Path, repo: str, files: dict[str, bytes]) -> Path:
    """A hub cache with one snapshot, laid out as the hub library does. Returns the snapshot."""
    root = cache / f"models--{repo.replace('/', '--')}"
    snapshot = root / "snapshots" / COMMIT
    for folder in (root / "refs", root / "blobs", snapshot):
        folder.mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    for name, content in files.items():
        blob = root / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{blob.name}")
    return snapshot
