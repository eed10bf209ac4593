"""Downloads from a server on this machine that breaks off, sends other bytes, redirects, and packs hostile archives."""

import errno
import hashlib
import http.server
import io
import stat
import tarfile
import threading
import zipfile
from dataclasses import replace

import pytest

from fewscans.data import fetch, registry
from fewscans.errors import DataError

CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Server(http.server.ThreadingHTTPServer):
    """files: path → bytes.   cut: path → bytes after which the first answer breaks off.   to: path → where else.
    odd: path → what to do with a request instead.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cut, self.to, self.odd, self.asked = {}, {}, {}, {}, []
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, path = self.server, self.path
        server.asked.append((path, self.headers.get("Range")))
        if path in server.odd:
            server.odd[path](self)
            return
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

    def run(path, content=CONTENT, known=None, **record):
        known = known or "md5:" + hashlib.md5(content, usedforsecurity=False).hexdigest()
        entry = replace(registry.dataset("adrenalmnist3d"), downloads={server.address + path: known}, **record)
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
    for odd in ("ftp://127.0.0.1/a.npz", "file:///etc/passwd", "http://127.0.0.1.example.org/a.npz"):
        server.to["/c.npz"] = odd
        with pytest.raises(DataError, match="is not https"):
            asked("/c.npz")
    server.to["/c.npz"] = "http://[::1"
    with pytest.raises(DataError, match="redirects to none"):
        asked("/c.npz")
    server.to["/d.npz"] = "/d.npz"
    with pytest.raises(DataError, match="redirected more than 5 times"):
        asked("/d.npz")


@pytest.mark.parametrize("path", ["/none.npz", "/none/a.npz"])
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


def test_a_range_that_was_not_asked_for_is_not_taken_for_the_rest(server, asked):
    server.files["/a.npz"], server.cut["/a.npz"] = CONTENT, 300_000
    with pytest.raises(DataError, match="goes on from there"):
        asked("/a.npz")

    def other(handler):
        del server.odd["/a.npz"]
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-9/{len(CONTENT)}")
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.wfile.write(CONTENT[:10])

    server.odd["/a.npz"] = other
    assert (asked("/a.npz") / "a.npz").read_bytes() == CONTENT


def test_what_never_ends_is_cut_off_and_removed(server, asked, tmp_path, monkeypatch):
    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(CONTENT)
        except OSError:  # hung up
            pass

    monkeypatch.setattr(fetch, "MOST_BYTES", 3_000_000)
    server.odd["/a.npz"] = endless
    with pytest.raises(DataError, match="more bytes than a data set has"):
        asked("/a.npz")
    assert list((tmp_path / "adrenalmnist3d").iterdir()) == []


def test_a_server_that_falls_silent_is_not_waited_for_without_end(server, asked, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 0.2)
    silent = threading.Event()
    server.odd["/a.npz"] = lambda handler: silent.wait(20)
    with pytest.raises(DataError, match="nothing came for 0.2 s; 0 bytes are kept"):
        asked("/a.npz")
    silent.set()


def test_a_full_disk_is_named_with_the_folder_and_what_came_is_kept(server, asked, tmp_path, monkeypatch):
    server.files["/a.npz"] = CONTENT

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch, "_download", full)
    with pytest.raises(DataError, match="adrenalmnist3d: No space left on device; make room"):
        asked("/a.npz")


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


def zipped(*members):
    """A zip of (name or ZipInfo, bytes)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members:
            packed.writestr(name, content)
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
    assert contents(folder) == {"imagesTr/a.nii.gz": b"1", "b.json": b"2"}


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_zip_is_unpacked_alike_and_what_else_is_there_stays(server, asked, tmp_path):
    own = tmp_path / "adrenalmnist3d" / "imagesTr" / "notes.txt"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    (own.parent / "a.nii.gz").write_bytes(b"of an earlier, broken copy")
    server.files["/Task.zip"] = content = zipped(("Task/imagesTr/a.nii.gz", b"1"), ("Task/b.json", b"2"))
    folder = asked("/Task.zip", content)
    assert contents(folder) == {"imagesTr/a.nii.gz": b"1", "b.json": b"2", "imagesTr/notes.txt": b"mine"}


def test_what_was_unpacked_and_lacks_nothing_is_not_asked_for_again(server, asked, tmp_path):
    server.files["/Task.tar"] = content = packed(("Task/a", b"1"), ("Task/b", b"2"))
    check = lambda folder: {"complete": (folder / "a").is_file()}  # noqa: E731
    folder = asked("/Task.tar", content, check=check)
    asked("/Task.tar", content, check=check)
    assert len(server.asked) == 1
    (folder / "a").unlink()
    assert contents(asked("/Task.tar", content, check=check)) == {"a": b"1", "b": b"2"}


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


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (("../out.txt", b"x"), "lies outside"),
        (("/tmp/fewscans-out.txt", b"x"), "lies outside"),
        (("T/../../out.txt", b"x"), "lies outside"),
        (("T\\..\\..\\out.txt", b"x"), "lies outside"),
        ((link("T/link"), b"/etc/passwd"), "is a link"),
    ],
)
def test_a_hostile_zip_writes_nothing(server, asked, tmp_path, member, said):
    server.files["/Task.zip"] = content = zipped(("T/a", b"1"), member)
    with pytest.raises(DataError, match=said):
        asked("/Task.zip", content)
    assert {path.name for path in tmp_path.rglob("*")} == {"adrenalmnist3d", "Task.zip"}


def test_a_name_that_comes_twice_is_refused(server, asked):
    server.files["/Task.tar"] = content = packed(("T/a", b"1"), ("T/./a", b"2"))
    with pytest.raises(DataError, match="'T/./a' twice"):
        asked("/Task.tar", content)


@pytest.mark.parametrize("ending", ["tar", "zip"])
def test_an_archive_that_would_fill_the_disk_is_not_unpacked(server, asked, monkeypatch, ending):
    content = {"tar": packed, "zip": zipped}[ending](("T/a", bytes(200_000)))
    server.files[f"/Task.{ending}"] = content
    monkeypatch.setattr(fetch, "MOST_BYTES", 199_999 if ending == "zip" else len(content))
    monkeypatch.setattr(fetch, "MOST_FILES", 0 if ending == "tar" else 1)
    with pytest.raises(DataError, match="more than a data set holds"):
        asked(f"/Task.{ending}", content)


@pytest.mark.parametrize("ending", ["tar", "zip"])
@pytest.mark.parametrize("size", [0, 100, 2000])
def test_a_damaged_archive_is_one_sentence(server, asked, tmp_path, ending, size):
    content = {"tar": packed, "zip": zipped}[ending](("T/a", CONTENT))[:size]
    server.files[f"/Task.{ending}"] = content
    with pytest.raises(DataError, match="no whole archive"):
        asked(f"/Task.{ending}", content)
    assert {path.name for path in tmp_path.rglob("*")} == {"adrenalmnist3d", f"Task.{ending}"}


def test_names_of_one_copy_have_the_same_addresses():
    entries = [registry.dataset(name) for name in ("msd-hippocampus", "hippocampus-patches")]
    assert all(entry.downloads == entries[0].downloads != {} for entry in entries)


def test_the_command_writes_the_manifest_of_what_came(server, tmp_path, monkeypatch, capsys):
    from fewscans import cli
    from fewscans.data import adrenalmnist3d, manifest

    (tmp_path / "params.yaml").write_text("{}")
    monkeypatch.setenv("FEWSCANS_ROOT", str(tmp_path))
    monkeypatch.setenv("FEWSCANS_DATA_ROOT", str(tmp_path / "sets"))
    server.files["/adrenalmnist3d.npz"] = CONTENT
    known = "md5:" + hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    entry = replace(adrenalmnist3d.DATASET, downloads={f"{server.address}/adrenalmnist3d.npz": known})
    monkeypatch.setattr(adrenalmnist3d, "DATASET", entry)
    seen = []
    monkeypatch.setattr(manifest, "verify", lambda name, *_: seen.append(name) or (_ for _ in ()).throw(DataError("-")))
    with pytest.raises(DataError):
        cli.fetch("adrenalmnist3d")
    assert seen == ["adrenalmnist3d"] and "wrote sets/adrenalmnist3d" in capsys.readouterr().out


def test_every_address_is_https_and_has_a_checksum():
    for entry in registry.public():
        for address, known in entry.downloads.items():
            assert address.startswith("https://") and known.partition(":")[0] in ("md5", "sha256")
            assert entry.md5 is None or known == f"md5:{entry.md5}"
