"""The command line: a user's mistake is one line on stderr and exit code 1; the pipeline's death is its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

from fewscans import cli, ending, results
from fewscans.data import luna16_patches
from fewscans.data.base import Cut
from fewscans.data.luna16_patches import FILE
from fewscans.sweep import engine

from . import kill_sweep
from .malformed import luna16_patches as malformed
from .toy import Inline

RUN = kill_sweep.RUN
GRID = """{arms: {Z2: [10], histogram: [10, 20]}, seeds: 2, steps: 2, eval_every: 1, learning_rates: [1.0e-3], width: 4}
    paper: {arms: {histogram: [10, 5000]}, seeds: 1, steps: 2, eval_every: 1, learning_rates: [1.0e-3]}
    pilot: {arms: {Z2: [10], histogram: [10]}, seeds: 2, first_seed: 100, steps: 2, eval_every: 1,
      learning_rates: [1.0e-3, 3.0e-3], tuning_seeds: 2, width: 4, pilot: true}
  gcnn-luna16-patches:
    smoke: {arms: {Z2: [10]}, seeds: 1, steps: 2, eval_every: 1, learning_rates: [1.0e-3]}"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc")


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> bytes:
    folder = kill_sweep.project(tmp_path_factory.mktemp("project"))
    return (folder / "build/twins/luna16-patches" / FILE).read_bytes()


@pytest.fixture
def project(tmp_path, monkeypatch, twin) -> Path:
    """A project with its twin written; workers are this process."""
    folder = tmp_path / "project"
    (folder / "build/twins/luna16-patches").mkdir(parents=True)
    (folder / "build/twins/luna16-patches" / FILE).write_bytes(twin)
    (folder / "params.yaml").write_text(kill_sweep.PARAMS.replace("GRID", GRID))
    for name in ("FEWSCANS_STORE", "FEWSCANS_DATA_ROOT", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FEWSCANS_ROOT", str(folder))
    monkeypatch.setattr(engine, "LocalEngine", lambda slots: Inline())
    return folder


@pytest.fixture
def call(monkeypatch, capsys):
    """arguments → exit code, stdout, stderr of the command."""

    def called(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fewscans", *arguments])
        with pytest.raises(SystemExit) as left, warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
            cli.main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return called


def mistake(result: tuple[int, str, str]) -> str:
    """The one line that a mistake is."""
    code, out, err = result
    assert (code, out) == (1, ""), err
    assert err.startswith("fewscans: ") and err.count("\n") == 1 and err.endswith("\n"), err
    return err.removeprefix("fewscans: ").rstrip()


# A sweep


def test_training_says_what_it_did_and_where_the_table_is(project, call):
    assert call("train", RUN) == (0, f"{RUN}: 6 trained now, 6 in the table; wrote runs/{RUN}.parquet\n", "")
    assert call("train", RUN) == (0, f"{RUN}: 0 trained now, 6 in the table; wrote runs/{RUN}.parquet\n", "")
    code, out, _ = call("train", RUN, "--arm", "histogram")
    assert out == f"{RUN}: 0 trained now, 4 in the table; wrote runs/{RUN}.partial.parquet\n"


def test_pilots_go_where_git_keeps_them_predict_validation_cases_alone_and_say_what_was_tried(project, call):
    assert results.pilot(RUN) is None
    told = f"{RUN}: 6 trained now, 4 in the table; wrote reports/pilots/{RUN}.parquet\n"
    assert call("train", RUN, "--profile", "pilot") == (0, told, "") and not (project / "runs").exists()
    pilot = results.pilot(RUN)
    assert pilot.profile == "pilot" and pilot.about["seeds"] == [100, 101] and pilot.arms[0] == "Z2"
    cases = luna16_patches.DATASET.cases(project / "build/twins/luna16-patches", Cut((48, 48)))
    assert set(pilot.predictions["split"]) == {"test", "test-best"}
    assert set(pilot.predictions["case"]) == set(cases.case[cases.indices("val")])
    tried = json.loads((project / "reports/pilots" / f"{RUN}.trials.json").read_text())
    chosen = [record for record in pilot.records if record["arm"] == "Z2"]
    rates = {(record["seed"], record["learning_rate"]) for record in tried + chosen}
    assert len(tried) == len(chosen) == 2 and rates == {(s, r) for s in (100, 101) for r in (1e-3, 3e-3)}
    mean = [np.mean([record["last_val_loss"] for record in some]) for some in (chosen, tried)]
    assert mean[0] < mean[1] and not any(key.startswith("seconds") for record in tried for key in record)


def test_a_shard_that_ends_before_the_others_says_how_the_table_is_made(project, call):
    code, out, err = call("train", RUN, "--shard", "1/2")
    assert code == 0 and err == "" and "other shards hold the rest; `fewscans train" in out
    code, out, err = call("train", RUN, "--shard", "2/2")
    assert code == 0 and f"wrote runs/{RUN}.parquet" in out


def test_an_entry_cut_short_is_trained_again_with_a_warning_of_one_line(project, call):
    call("train", RUN)
    table = (project / "runs" / f"{RUN}.parquet").read_bytes()
    entry = sorted((project / "build/store").glob("*.parquet"))[0]
    entry.write_bytes(entry.read_bytes()[:-100])
    code, out, err = call("train", RUN)
    assert code == 0 and "1 trained now, 6 in the table" in out
    assert err.startswith(f"fewscans: warning: {entry}: damaged store entry (") and err.count("\n") == 1
    assert (project / "runs" / f"{RUN}.parquet").read_bytes() == table


def test_the_store_may_lie_elsewhere(project, call, monkeypatch, tmp_path):
    monkeypatch.setenv("FEWSCANS_STORE", str(tmp_path / "shared"))
    assert call("train", RUN, "--arm", "histogram")[0] == 0
    assert len(list((tmp_path / "shared").glob("*.parquet"))) == 4 and not (project / "build/store").exists()


def test_interrupting_is_one_sentence(project, call, monkeypatch):
    def interrupt(setting, run):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "LocalEngine", lambda slots: Inline(before=interrupt))
    line = "fewscans: interrupted; what is finished is kept, and the same command goes on from there\n"
    assert call("train", RUN) == (130, "", line)


def test_slots_are_spread_over_the_places_there_are(project, call, monkeypatch):
    given = []
    monkeypatch.setattr(engine, "LocalEngine", lambda slots: given.append(list(slots)) or Inline())
    monkeypatch.setattr(engine, "default_slots", lambda device, threads: [engine.Slot("0"), engine.Slot("1")])
    call("train", RUN, "--slots", "3")
    call("train", RUN)
    assert [[slot.gpu for slot in slots] for slots in given] == [["0", "1", "0"], ["0", "1"]]


# Mistakes

WRONG = {
    # arguments after `train`, what the line must hold
    "unknown run": (["gcnn-brain"], ["unknown run 'gcnn-brain'; params.yaml has grids for", RUN]),
    "unknown arm": ([RUN, "--arm", "Z9"], ["unknown arm 'Z9'; known arms: Z2, p4"]),
    "arm of another": ([RUN, "--arm", "Z2-tta-p4m"], ["unknown arm 'Z2-tta-p4m'; it is computed along with Z2"]),
    "arm not in the grid": ([RUN, "--arm", "p4"], ["arm 'p4' is not in this profile's grid, which has Z2, histogram"]),
    "unknown profile": ([RUN, "--profile", "huge"], [f"grids.{RUN} has no profile 'huge'; it has smoke, paper"]),
    "absent profile": ([RUN, "--profile", "quick"], [f"grids.{RUN} has no profile 'quick'; it has smoke, paper"]),
    "shard 0": ([RUN, "--shard", "0/4"], ["--shard must be i/n with 1 <= i <= n, such as 1/8; got '0/4'"]),
    "shard beyond": ([RUN, "--shard", "9/8"], ["got '9/8'"]),
    "shard alone": ([RUN, "--shard", "3"], ["got '3'"]),
    "shard in words": ([RUN, "--shard", "one/two"], ["got 'one/two'"]),
    "no slots": ([RUN, "--slots", "0"], ["--slots must be at least 1, got 0"]),
    "no threads": ([RUN, "--threads", "-2"], ["--threads must be at least 1, got -2"]),
    "unknown device": ([RUN, "--device", "tpu"], ["unknown device 'tpu'; it is auto, cpu or cuda"]),
    "N larger than the data": ([RUN, "--profile", "paper"], ["subset of 5000 cases is impossible", "largest"]),
    "absent data set": (
        ["gcnn-luna16-patches"],
        ["data set 'luna16-patches' is not under", "FEWSCANS_DATA_ROOT", "swethasubramanian/LungCancerDetection"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_line_that_says_what_would_be_right(project, call, case):
    arguments, words = WRONG[case]
    found = mistake(call("train", *arguments))
    assert [word for word in words if word not in found] == [], found
    assert not (project / "runs").exists()


def test_a_twin_that_was_not_written_names_the_command(project, call):
    (project / "build/twins/luna16-patches" / FILE).unlink()
    (project / "build/twins/luna16-patches").rmdir()
    found = mistake(call("train", RUN))
    assert found == "build/twins/luna16-patches does not exist; write the twin first: fewscans twin luna16-patches"


@pytest.mark.parametrize(
    "case", ["missing key", "key misspelt", "NaN in an image", "label 2", "label NaN", "an empty split"]
)
def test_data_that_are_malformed_are_one_line(project, call, case):
    changes, words = malformed.CASES[case]
    path = project / "build/twins/luna16-patches" / FILE
    malformed.write(path, **changes)
    found = mistake(call("train", RUN))
    assert [word for word in [str(path), *words] if word not in found] == [], found


def test_data_cut_short_are_one_line(project, call):
    path = project / "build/twins/luna16-patches" / FILE
    path.write_bytes(path.read_bytes()[:5000])
    assert f"{path}: not an npz, or cut short" in mistake(call("train", RUN))


def test_a_class_that_is_missing_from_training_is_one_line(project, call):
    arrays = malformed.arrays()
    ones = {key: np.ones_like(value) for key, value in arrays.items() if key.endswith("labels")}
    malformed.write(project / "build/twins/luna16-patches" / FILE, **ones)
    assert "0 negatives" in mistake(call("train", RUN))


def test_params_that_are_wrong_are_one_line_for_every_command(project, call):
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("seeds: 2, steps: 2", "seeds: 2, step: 2"))
    for command in (["train", RUN], ["twin", "luna16-patches"], ["profile"]):
        found = mistake(call(*command))
        assert found.startswith(f"{project / 'params.yaml'}: grids.{RUN}.smoke has the unknown key 'step'")


def test_no_project_is_one_line(project, call, monkeypatch, tmp_path):
    monkeypatch.setenv("FEWSCANS_ROOT", str(tmp_path / "nowhere"))
    assert "which holds no params.yaml; set it to the project's folder" in mistake(call("profile"))


def test_a_store_that_cannot_be_used_is_one_line(project, call, monkeypatch):
    monkeypatch.setenv("FEWSCANS_STORE", str(project / "params.yaml" / "store"))
    found = mistake(call("train", RUN))
    assert "params.yaml/store" in found and "FEWSCANS_STORE" in found


def test_an_unknown_twin_or_profile_is_one_line(project, call):
    assert mistake(call("twin", "brain")) == "unknown twin 'brain'; params.yaml has luna16-patches"
    assert "has no profile 'paper'; it has smoke" in mistake(call("twin", "luna16-patches", "--profile", "paper"))


def test_a_failed_run_is_listed_and_the_exit_code_says_so(project, call, monkeypatch):
    from fewscans.experiments.base import Run

    bad = Run(1, 10, "histogram", 0.0)
    monkeypatch.setattr(engine, "LocalEngine", lambda slots: Inline(fail=[bad]))
    code, out, err = call("train", RUN)
    assert code == 1 and out == "" and f"1 of 6 runs of {RUN} failed" in err and str(bad) in err
    assert "the same command tries the failed ones again" in err


def test_a_network_is_asked_about_what_it_was_not_trained_on_only_with_yes(project, call):
    """With it the command goes on, and finds that the file is none."""
    assert call("train", RUN)[0] == 0
    (project / "data" / "adrenalmnist3d").mkdir(parents=True)
    (project / "data" / "adrenalmnist3d" / "adrenalmnist3d.npz").write_text("no volumes")
    found = mistake(call("predict", RUN, "adrenalmnist3d"))
    assert "trained on lung nodules, and adrenalmnist3d shows adrenal glands" in found and "add --yes" in found
    assert "not an npz" in mistake(call("predict", RUN, "adrenalmnist3d", "--yes"))


def test_the_real_command_leaves_with_1_and_one_line(project):
    command = (sys.executable, "-c", "from fewscans.cli import main; main()", "train", "nonsense")
    environment = os.environ | {"PYTHONPATH": str(kill_sweep.LIBRARY)}
    mistake_ = subprocess.run(command, capture_output=True, text=True, env=environment)
    mistake((mistake_.returncode, mistake_.stdout, mistake_.stderr))


# The pipeline's death

CHILD = """
import os, signal
from fewscans import ending
ending.end_with_pipeline()
print(os.getpid(), *ending.up_to_dvc(), flush=True)
signal.pause()
"""


@linux
@pytest.mark.parametrize("chained", [False, True])
def test_a_command_ends_with_the_pipeline_that_started_it_behind_a_shell_or_not(tmp_path, chained):
    """The outer shell stands for DVC, which sets DVC_STAGE for its commands and not for itself."""
    (tmp_path / "child.py").write_text(CHILD)
    command = f"'{sys.executable}' child.py"
    command = f'sh -c "true; {command}; true"' if chained else command
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DVC_")}
    pipeline = subprocess.Popen(
        ["sh", "-c", f"DVC_STAGE=train {command}; true"], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env=environment | {"PYTHONPATH": str(kill_sweep.LIBRARY), "FEWSCANS_STORE": str(tmp_path)},
    )  # fmt: skip
    child, *between = map(int, pipeline.stdout.readline().split())
    assert between[-1] == pipeline.pid and len(between) == 1 + chained
    os.kill(pipeline.pid, signal.SIGKILL)
    pipeline.wait()
    pipeline.stdout.close()
    left = kill_sweep.Sweep(tmp_path, tmp_path)
    kill_sweep.wait_until(lambda: not left.processes(), 30)


def test_outside_a_pipeline_nothing_is_watched(monkeypatch):
    monkeypatch.delenv("DVC_STAGE", raising=False)
    before = threading.active_count()
    ending.end_with_pipeline()
    assert threading.active_count() == before
