"""What the system refuses, what is damaged, and what of the user's own gets in: one sentence each, nothing lost."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from fewscans import doctor, files, guard, integrity, results
from fewscans.cli import main
from fewscans.data import registry
from fewscans.errors import REMEDIES, DataError, FewscansError, RunError
from fewscans.experiments.base import Entry
from fewscans.publish import publish
from fewscans.store import COLUMNS, Store

from .test_publish import RUN, finished, project  # noqa: F401  (a fixture)

LIBRARY = Path(__file__).parents[1] / "lib"


def refused(monkeypatch, capsys, error, *arguments):
    """What a command says when the system refuses something in it, and its exit code."""
    monkeypatch.setattr("fewscans.params.load", lambda *_, **__: (_ for _ in ()).throw(error))
    monkeypatch.setattr(sys, "argv", ["fewscans", *(arguments or ("profile",))])
    with pytest.raises(SystemExit) as ended:
        main()
    return capsys.readouterr().err, ended.value.code


@pytest.mark.parametrize("number", [*REMEDIES, errno.ETIMEDOUT])
def test_every_refusal_is_one_sentence_with_path_and_remedy(monkeypatch, capsys, number):
    said, code = refused(monkeypatch, capsys, OSError(number, os.strerror(number), "/some/where"))
    assert code == 1 and said.count("\n") == 1 and said.startswith("fewscans: /some/where: ")
    assert os.strerror(number) in said and len(said.partition("; ")[2]) > 10


def test_a_refusal_without_number_or_path_is_a_sentence_too(monkeypatch, capsys):
    said, code = refused(monkeypatch, capsys, OSError("odd\nmore"))
    assert (said, code) == ("fewscans: odd; `fewscans doctor` may say what is off\n", 1)


def test_of_two_paths_the_one_that_was_to_be_written_is_named(monkeypatch, capsys):
    error = OSError(errno.ENOSPC, "No space left on device", "/from", None, "/to")
    assert refused(monkeypatch, capsys, error)[0] == "fewscans: /to: No space left on device; make room there\n"


def test_links_that_lead_to_themselves_and_homes_that_nobody_knows_are_sentences(monkeypatch, capsys, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    try:
        (tmp_path / "loop").resolve()  # an error up to Python 3.12
    except RuntimeError as error:
        said, code = refused(monkeypatch, capsys, error)
        assert code == 1 and str(tmp_path) in said and "remove that link" in said
    said, code = refused(monkeypatch, capsys, RuntimeError("Could not determine home directory."))
    assert code == 1 and "set HOME" in said
    with pytest.raises(RuntimeError, match="a bug"):
        refused(monkeypatch, capsys, RuntimeError("a bug"))


def test_a_working_directory_that_is_gone_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "getcwd", lambda: (_ for _ in ()).throw(FileNotFoundError(2, "No such file")))
    said, code = refused(monkeypatch, capsys, FileNotFoundError(errno.ENOENT, "No such file or directory"))
    assert (said, code) == ("fewscans: the working directory was removed; go to the project's folder\n", 1)


def test_a_full_disk_names_the_file_that_it_had_no_room_for(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a.txt").write_text("before")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError) as error:
        files.write(tmp_path / "a.txt", "after")
    assert error.value.filename == str(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_fills_up_among_several_files_changes_none_of_them(tmp_path, monkeypatch):
    integrity.write_all(tmp_path, {"a": "before", "b": b"before"})
    written, limit = Path.write_bytes, iter((True, False))

    def filling(self, data):
        if not next(limit):
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(self, data)

    monkeypatch.setattr(Path, "write_bytes", filling)
    with pytest.raises(OSError) as error:
        integrity.write_all(tmp_path, {"a": "after", "b": b"after"})
    assert error.value.filename == str(tmp_path / "b")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "before", "b": "before"}


COMMAND = "from fewscans.__main__ import main\nmain()"
INTERRUPTED = {
    "in a command": """
from fewscans import params
params.load = lambda *a, **k: (print("there", flush=True), time.sleep(60))""",
    "in an import": """
class Slow:
    def find_spec(self, name, *_):
        if name == "typer":
            print("there", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())""",
    "where Python drops exceptions": """
from fewscans import params
class Slow:
    def __del__(self):
        print("there", flush=True)
        time.sleep(60)
def load(*_):
    Slow()
    time.sleep(60)
params.load = load""",
}


@pytest.mark.parametrize("moment", INTERRUPTED)
def test_a_command_that_is_interrupted_ends_with_130_and_no_traceback(project, moment):  # noqa: F811
    environment = os.environ | {"PYTHONPATH": str(LIBRARY), "FEWSCANS_ROOT": str(project)}
    heard = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's background ignores it
    code = f"import signal, sys, time\n{heard}\n{INTERRUPTED[moment]}\n{COMMAND}"
    with subprocess.Popen([sys.executable, "-c", code, "profile"], env=environment, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdout.readline().strip() == "there"
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in said and "ignored" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_the_output_is_one_sentence(project):  # noqa: F811
    environment = os.environ | {"PYTHONPATH": str(LIBRARY), "FEWSCANS_ROOT": str(project)}
    with open("/dev/full", "w") as full:
        run = [sys.executable, "-m", "fewscans", "--help"]
        done = subprocess.run(run, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr == "fewscans: No space left on device; make room there\n"


def test_letters_that_a_terminal_lacks_are_shown_as_numbers(project):  # noqa: F811
    environment = os.environ | {
        "PYTHONPATH": str(LIBRARY), "FEWSCANS_ROOT": str(project), "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0",
    }  # fmt: skip
    run = [sys.executable, "-c", "from fewscans.cli import main; main()", "doctor"]
    done = subprocess.run(run, env=environment, capture_output=True, timeout=120)
    assert b"Traceback" not in done.stderr and rb"\u2192" in done.stdout


def test_folders_that_cannot_be_looked_into_are_passed_over(tmp_path, monkeypatch):
    looked = Path.exists

    def exists(self, **options):
        if "lost+found" in self.parts:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return looked(self, **options)

    (tmp_path / "lost+found").mkdir()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "adrenalmnist3d.npz").write_bytes(b"x")
    monkeypatch.setattr(Path, "exists", exists)
    assert registry.find("adrenalmnist3d", tmp_path).parent.name == "copy"
    with pytest.raises(DataError, match="is not under"):
        registry.find("luna16", tmp_path)


@pytest.mark.parametrize("end", ["parquet", "history.parquet", "records.json", "about.json"])
@pytest.mark.parametrize("fault", ["cut", "pointer", "empty"])
def test_a_damaged_table_of_this_machine_is_named_with_the_remedy(project, end, fault):  # noqa: F811
    finished(project)
    file = project / "runs" / f"{RUN}.{end}"
    content = file.read_bytes()
    damaged = {
        "cut": content[: len(content) // 3],
        "pointer": files.POINTER + b"/spec/v1\noid sha256:0\n",
        "empty": b"",
    }
    file.write_bytes(damaged[fault])
    with pytest.raises(RunError, match=file.name) as error:
        results.read_run(RUN)
    assert ("git lfs pull" if fault == "pointer" else f"fewscans train {RUN}") in str(error.value)


@pytest.mark.parametrize(
    ("end", "text"),
    [("records.json", "{}"), ("records.json", "[1]"), ("records.json", '[{"arm": "Z2"}]'), ("about.json", "[]"),
     ("about.json", '{"grid": {}}'), ("costs.json", "3")],
)  # fmt: skip
def test_a_file_of_another_form_is_named_with_the_remedy(project, end, text):  # noqa: F811
    finished(project)
    (project / "runs" / f"{RUN}.{end}").write_text(text)
    with pytest.raises(RunError, match=f"{RUN}.{end}: .*; (`fewscans train {RUN}`|remove it)"):
        publish(RUN, minimum_seeds=3)


def test_a_history_of_another_run_is_no_history_of_this_one(project):  # noqa: F811
    finished(project)
    file = project / "runs" / f"{RUN}.history.parquet"
    history = pd.read_parquet(file)
    history.assign(seed=77).to_parquet(file, index=False)
    with pytest.raises(RunError, match=f"{file.name} has arm .* seed 77, of which .*records.json knows nothing"):
        results.read_run(RUN)
    history[history["seed"] != history["seed"].max()].to_parquet(file, index=False)
    with pytest.raises(RunError, match=f"records.json has arm .*, of which .*{file.name} knows nothing"):
        results.read_run(RUN)


@pytest.mark.parametrize("end", ["parquet", "history.parquet", "records.json"])
def test_a_table_that_was_altered_since_it_was_written_is_named(project, end):  # noqa: F811
    finished(project)
    about = project / "runs" / f"{RUN}.about.json"
    told = json.loads(about.read_text())
    about.write_text(json.dumps(told | {integrity.HASHES: integrity.hashes(about.parent, RUN)}))
    results.read_run(RUN)
    file = about.with_name(f"{RUN}.{end}")
    if end == "records.json":
        file.write_text(json.dumps([record | {"learning_rate": 9.0} for record in json.loads(file.read_text())]))
    else:
        table = pd.read_parquet(file)
        column = "prediction" if end == "parquet" else "val_loss"
        table.assign(**{column: table[column] * 0.999}).to_parquet(file, index=False)
    with pytest.raises(RunError, match=f"{file.name}: not the file that {RUN}.about.json was written with"):
        results.read_run(RUN)


def test_weights_with_another_byte_are_named(tmp_path):
    room, entry = Store(tmp_path), Entry(pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS), [], {})
    room.put("a", entry, {"w": torch.arange(64.0)})
    assert torch.equal(room.weights("a")["w"], torch.arange(64.0))
    good = room.weights_path("a").read_bytes()
    for content, said in ((good[:-1] + b"x", "SHA-256"), (good[:-9], "SHA-256"), (files.POINTER, "pointer of Git LFS")):
        room.weights_path("a").write_bytes(content)
        with pytest.raises(RunError, match=f"a.safetensors: damaged weights .*{said}.* train the run again"):
            room.weights("a")


def test_published_files_are_those_that_were_published(project):  # noqa: F811
    finished(project)
    folder = publish(RUN, minimum_seeds=3)
    listed = files.lists_of_hashes(folder)
    assert set(listed) == {p.name for p in folder.iterdir()} - {files.SUMS, "README.md"} and len(listed) > 3
    for name in listed:
        file = folder / name
        content = file.read_bytes()
        for damaged in (content + b" ", content[:-1], files.POINTER):
            file.write_bytes(damaged)
            with pytest.raises(RunError, match=name):
                results.load_published("gcnn", "luna16-patches-twin")
        file.unlink()
        with pytest.raises(RunError, match=f"{name}: missing"):
            results.load_published("gcnn", "luna16-patches-twin")
        file.write_bytes(content)
    results.load_published("gcnn", "luna16-patches-twin")


def test_the_list_of_published_files_is_whole_too(project):  # noqa: F811
    finished(project)
    folder = publish(RUN, minimum_seeds=3)
    sums = folder / files.SUMS
    lines = sums.read_bytes().splitlines(keepends=True)
    faults = {
        b"".join(lines)[:-20]: "damaged or cut short|missing, though", b"".join(lines[:-1]): "does not list it",
        b"": "damaged or cut short", b"\xff\xfe": "damaged", files.POINTER: "a pointer of Git LFS",
    }  # fmt: skip
    for content, said in faults.items():
        sums.write_bytes(content)
        with pytest.raises(RunError, match=said):
            results.load_published("gcnn", "luna16-patches-twin")
    sums.unlink()
    with pytest.raises(RunError, match="SHA256SUMS: missing"):
        results.load_published("gcnn", "luna16-patches-twin")
    assert publish(RUN, minimum_seeds=3) == folder and sums.read_bytes() == b"".join(lines)


def test_every_published_folder_of_the_project_is_sealed_and_whole():
    folders = [path.parent for path in (LIBRARY.parent / "reports" / "published").glob("*/*/records.json")]
    assert folders
    for folder in folders:
        listed = files.lists_of_hashes(folder)
        assert set(listed) == {p.name for p in folder.iterdir() if p.is_file()} - {files.SUMS, "README.md"}, folder
        before = (folder / files.SUMS).read_bytes()
        assert files.seal(folder).read_bytes() == before, f"{folder}: publish it again, or restore it from git"


def test_doctor_names_the_package_of_another_clone(project, monkeypatch):  # noqa: F811
    assert doctor._package()[0].ok is None  # a project without a library of its own
    (project / "lib" / "fewscans").mkdir(parents=True)
    (found,) = doctor._package()
    assert found.ok is False and str(LIBRARY) in found.found and str(project) in found.found


def test_a_command_names_both_clones_and_stops_if_their_code_differs(project, monkeypatch):  # noqa: F811
    own = project / "lib" / "fewscans"
    guard.check_library()  # a project without a library of its own
    shutil.copytree(LIBRARY / "fewscans", own, ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.warns(UserWarning, match=f"code of {LIBRARY.parent}, called in {project}"):
        guard.check_library()
    (own / "errors.py").write_text("")
    with pytest.raises(FewscansError, match=f"code of {LIBRARY.parent}, called in {project}, whose code differs"):
        guard.check_library()
    monkeypatch.setattr(sys, "argv", ["fewscans", "profile"])
    with pytest.raises(SystemExit):
        main()


def test_doctor_sees_what_is_off_around_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.setenv("MATPLOTLIBRC", "/my/own")
    monkeypatch.setattr(sys, "stdout", None)  # closed, as `>&-` does
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: (_ for _ in ()).throw(OSError(2, "No usable folder")))
    home, terminal, environment, room = doctor._surroundings()
    assert home.ok is None and "cannot be written" in home.found
    assert terminal.ok is None and terminal.found == "ascii"
    assert environment.ok is None and "MATPLOTLIBRC=/my/own" in environment.found
    assert room.ok is False and "No usable folder" in room.found
