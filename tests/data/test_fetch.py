"""Downloads from a server on this machine that breaks off, sends other bytes, redirects, and packs hostile archives."""

import hashlib
import http.server
import io
import tarfile
import threading
from dataclasses import replace

import pytest

from fewscans.data import fetch, registry
from fewscans.errors import DataError

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Server(http.server.ThreadingHTTPServer):
    """files: path → bytes.   cut: path → bytes after which the first answer breaks off.   to: path → where else."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.to, self.asked = {}, {}, {}, []
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, path = self.server, self.path
        server.asked.append((path, self.headers.get("Range")))
        if path in server.to:
            self.send_response(302)
            self.send_header("Location", server.to[path])
            self.end_headers()
            return
        if path not in server.files:
            self.send_error(404)
            return
        body, first = server.files[path], int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        self.wfile.write(body[first : server.cut.pop(path, len(body))])


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def asked(server, tmp_path, monkeypatch):
    """fetches a set whose only file is at that path of the server; known: its content's checksum, unless named."""

    def run(path, content=CONTENT, known=None):
        known = known or "md5:" + hashlib.md5(content, usedforsecurity=False).hexdigest()
        entry = replace(registry.dataset("adrenalmnist3d"), downloads={server.address + path: known})
        monkeypatch.setattr(fetch, "dataset", lambda name: entry)
        return fetch.fetch("adrenalmnist3d", tmp_path)

    return run


def test_a_file_comes_with_its_bytes_and_is_not_asked_for_twice(server, asked):
    server.files["/a.npz"] = CONTENT
    folder = asked("/a.npz")
    assert (folder / "a.npz").read_bytes() == CONTENT and [p.name for p in folder.iterdir()] == ["a.npz"]
    asked("/a.npz")
    assert len(server.asked) == 1


def test_what_broke_off_goes_on_from_there(server, asked, tmp_path):
    server.files["/a.npz"], server.cut["/a.npz"] = CONTENT, 300_000
    with pytest.raises(DataError, match="goes on from there"):
        asked("/a.npz")
    assert not (tmp_path / "adrenalmnist3d" / "a.npz").exists()
    assert (asked("/a.npz") / "a.npz").read_bytes() == CONTENT
    assert 0 < int(server.asked[-1][1].removeprefix("bytes=").removesuffix("-")) <= 300_000


def test_other_bytes_are_refused_and_removed(server, asked, tmp_path):
    server.files["/a.npz"] = CONTENT[:-1] + b"x"
    with pytest.raises(DataError, match="another checksum"):
        asked("/a.npz", CONTENT)
    assert list((tmp_path / "adrenalmnist3d").iterdir()) == []


def test_redirections_are_followed_here_and_never_away_from_https(server, asked):
    server.files["/b.npz"], server.to["/a.npz"] = CONTENT, "/b.npz"
    assert (asked("/a.npz") / "a.npz").read_bytes() == CONTENT
    server.to["/c.npz"] = "http://example.org/a.npz"
    with pytest.raises(DataError, match="example.org.*is not https"):
        asked("/c.npz")
    server.to["/d.npz"] = "/d.npz"
    with pytest.raises(DataError, match="redirected more than 5 times"):
        asked("/d.npz")


@pytest.mark.parametrize("path", ["/none.npz", "/"])
def test_an_address_without_the_file_says_so(asked, path):
    with pytest.raises(DataError, match="answers 404"):
        asked(path)


def test_a_server_that_does_not_answer_is_one_sentence(tmp_path, monkeypatch):
    entry = replace(registry.dataset("adrenalmnist3d"), downloads={"http://127.0.0.1:9/a.npz": "md5:0"})
    monkeypatch.setattr(fetch, "dataset", lambda name: entry)
    with pytest.raises(DataError, match="127.0.0.1.*0 bytes are kept"):
        fetch.fetch("adrenalmnist3d", tmp_path)


def test_a_set_that_needs_a_person_says_where_to_get_it(tmp_path):
    with pytest.raises(DataError, match="'luna16' cannot be downloaded without a person: get "):
        fetch.fetch("luna16", tmp_path)


def packed(*members):
    """A tar of (name, bytes) files, or of ready TarInfos."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def odd(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_an_archive_is_unpacked_without_its_top_folder_and_macos_files(server, asked):
    server.files["/Task.tar"] = content = packed(
        ("Task/imagesTr/a.nii.gz", b"1"), ("Task/._x", b""), ("Task/b.json", b"2")
    )
    folder = asked("/Task.tar", content)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"imagesTr/a.nii.gz", "b.json"}


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (("../out.txt", b"x"), "lies outside"),
        (("/tmp/fewscans-out.txt", b"x"), "lies outside"),
        (("T/../../out.txt", b"x"), "lies outside"),
        (odd("T/link", tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
        (odd("T/hard", tarfile.LNKTYPE, "T/a"), "is a link"),
        (odd("T/device", tarfile.CHRTYPE), "a device"),
    ],
)
def test_a_hostile_archive_writes_nothing(server, asked, tmp_path, member, said):
    server.files["/Task.tar"] = content = packed(("T/a", b"1"), member)
    with pytest.raises(DataError, match=said):
        asked("/Task.tar", content)
    assert {path.name for path in tmp_path.rglob("*")} == {"adrenalmnist3d", "Task.tar"}


def test_an_archive_that_would_fill_the_disk_is_not_unpacked(server, asked, monkeypatch):
    monkeypatch.setattr(fetch, "MOST_BYTES", 10)
    server.files["/Task.tar"] = content = packed(("T/a", bytes(11)))
    with pytest.raises(DataError, match="more than a data set holds"):
        asked("/Task.tar", content)


def test_a_damaged_archive_is_one_sentence(server, asked):
    server.files["/Task.tar"] = content = packed(("T/a", bytes(5000)))[:2000]
    with pytest.raises(DataError, match="no whole tar archive"):
        asked("/Task.tar", content)


def test_every_address_is_https_and_has_a_checksum():
    for entry in registry.public():
        for address, known in entry.downloads.items():
            assert address.startswith("https://") and known.partition(":")[0] in ("md5", "sha256")
            assert entry.md5 is None or known == f"md5:{entry.md5}"
