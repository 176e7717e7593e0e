"""Pieces of files in stores: what is asked for or an error, whatever the store answers; kept, but not too much."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from waveglow.audio import remote
from waveglow.audio.files import FileError
from waveglow.audio.remote import is_url, read_range, read_whole
from waveglow.config import ConfigError

CONTENT = bytes(range(256)) * 40


class Store(ThreadingHTTPServer):
    """Files by ranges; the first word of a path says how it answers: ok, 403, 404, 500, slow, short, blind.

    A number behind it is how often it does so before it answers well.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[str] = []
        self.files: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def do_HEAD(self) -> None:
        self.respond(b"", {"Content-Length": str(len(self.content())), "Accept-Ranges": "bytes"})

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range", ""))
        how, _, times = self.path.split("/")[1].partition("-")
        content = self.content()
        found = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        part = content[int(found[1]) : int(found[2]) + 1] if found else content
        bad = not times or len(self.server.asked) <= int(times)
        if how == "slow" and bad:
            time.sleep(1)
        if how.isdecimal() and bad:
            self.send_error(int(how))
        elif how == "short" and bad:
            self.respond(part[:-10], {}, status=206)
        elif how == "cut" and bad:  # it promises more than it sends
            self.respond(part[:-10], {"Content-Length": str(len(part))}, status=206)
            self.close_connection = True
        elif how == "blind":
            self.respond(content, {})
        else:
            self.respond(part, {}, status=206 if found else 200)

    def content(self) -> bytes:
        return self.server.files.get(self.path.partition("?")[0], CONTENT)

    def respond(self, body: bytes, headers: dict[str, str], *, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store(monkeypatch, tmp_path) -> Iterator[Store]:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(remote, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setenv(remote.FOLDER, str(tmp_path / "kept"))
    store = Store()
    threading.Thread(target=store.serve_forever, daemon=True).start()
    yield store
    store.shutdown()
    store.server_close()


@pytest.mark.parametrize("how", ["ok", "500-2", "503-2", "429-1", "short-1", "cut-1"])
def test_a_piece_is_what_was_asked_for(store, how):
    assert read_range(f"{store.url}/{how}/x.tar", 1000, 300) == CONTENT[1000:1300]
    assert set(store.asked) == {"bytes=1000-1299"}
    assert len(store.asked) == 1 + int(how.partition("-")[2] or 0)


@pytest.mark.parametrize(
    ("how", "asked", "said"),
    [
        ("403", 1, r"the store refuses it \(403\); check what it needs to know of you"),
        ("404", 1, "isn't in the store; is the manifest of another one"),
        ("416", 1, r"the store refuses the request \(416\)"),
        ("500", 5, "the store failed 5 times, the last time so: 500.*; try again later"),
        ("short", 5, "the store failed 5 times, the last time so: 290 bytes came where 300 were asked for"),
        ("cut", 5, "the store failed 5 times"),
        ("blind", 5, "10240 bytes came where 300 were asked for"),
    ],
)
def test_what_a_store_does_instead_is_a_sentence(store, how, asked, said):
    url = f"{store.url}/{how}/x.tar"
    with pytest.raises(FileError, match=said) as caught:
        read_range(url, 1000, 300)
    assert "/x.tar" in str(caught.value)
    assert len(store.asked) == asked
    assert not any(path.is_file() for path in remote._folder().rglob("*"))


def test_one_that_is_too_slow(store, monkeypatch):
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(remote, "TRIES", 2)
    with pytest.raises(FileError, match="the store failed 2 times"):
        read_range(f"{store.url}/slow/x.tar", 0, 10)
    monkeypatch.setattr(remote, "TRIES", 5)
    assert read_range(f"{store.url}/slow-3/x.tar", 0, 10) == CONTENT[:10]


def test_one_that_is_not_there(store):
    with pytest.raises(FileError, match="the store failed 5 times"):
        read_range("http://127.0.0.1:9/x.tar", 0, 10)


def test_pieces_are_kept_up_to_a_limit(store, monkeypatch):
    url = f"{store.url}/ok/x.tar"
    for _ in range(3):
        assert read_range(url, 0, 100) == CONTENT[:100]
    assert len(store.asked) == 1
    kept = next(path for path in remote._folder().rglob("*") if path.is_file())
    kept.write_bytes(b"half")  # as by a full disk
    assert read_range(url, 0, 100) == CONTENT[:100]
    assert len(store.asked) == 2
    monkeypatch.setenv(remote.GIGABYTES, str(256 * 150 / 2**30))  # 150 bytes in each folder
    for start in range(60):
        read_range(url, start, 100)
    sizes: dict[str, int] = {}
    for path in remote._folder().rglob("??/*"):
        sizes[path.parent.name] = sizes.get(path.parent.name, 0) + path.stat().st_size
    assert max(sizes.values()) == 100
    read_range(url, 0, 300)  # more than a folder's share: given, not kept
    assert max(path.stat().st_size for path in remote._folder().rglob("??/*")) == 100
    monkeypatch.setenv(remote.GIGABYTES, "0")
    asked = len(store.asked)
    read_range(url, 59, 100)
    assert len(store.asked) == asked + 1


def test_a_folder_that_cannot_be_written_keeps_nothing(store, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv(remote.FOLDER, str(tmp_path / "file"))
    assert read_range(f"{store.url}/ok/x.tar", 5, 10) == CONTENT[5:15]


@pytest.mark.parametrize("value", ["many", "-1", "nan"])
def test_a_limit_that_is_none(monkeypatch, value):
    monkeypatch.setenv(remote.GIGABYTES, value)
    with pytest.raises(ConfigError, match=f"WAVEGLOW_REMOTE_CACHE_GB is '{value}'; it is a number of gigabytes"):
        read_range("memory://x", 0, 1)


def test_a_whole_file_is_as_long_as_the_store_says(store):
    assert read_whole(f"{store.url}/ok/manifest.jsonl") == CONTENT
    with pytest.raises(FileError, match="the store failed 5 times"):
        read_whole(f"{store.url}/short/manifest.jsonl")


def test_what_is_a_url():
    assert all(map(is_url, ["s3://b/x", "http://h/x", "memory://x", "hf://datasets/a/b"]))
    assert not any(map(is_url, ["C:\\x", "/a/b", "x.tar", "./s3:/x"]))


def test_a_store_that_is_unknown():
    with pytest.raises(ConfigError, match="nowhere://x: "):
        read_range("nowhere://x", 0, 1)
