"""Networks that git keeps: the best of each arm, whole or an error; they answer as they did where they were trained."""

import hashlib
import json
import shutil

import pandas as pd
import pytest

from fewscans import files, params, paths, results, transfer, weights
from fewscans.errors import RunError
from fewscans.experiments import gcnn
from fewscans.store import Store

from .test_transfer import GRID, asked, finished, spec, trained_once  # noqa: F401, fixtures

ABOUT = {"run": "gcnn-own", "experiment": "gcnn", "dataset": "own", "twin": True, "profile": "quick", "code": "c",
         "data": "d", "params": json.loads(json.dumps(vars(GRID)))}  # fmt: skip


@pytest.fixture
def room(finished, monkeypatch):  # noqa: F811
    """A project whose run has been published, and what publishing knows of it."""
    monkeypatch.setattr(paths, "published", lambda: finished / "reports/published")
    monkeypatch.setattr(paths, "build", lambda: finished / "build")
    records = json.loads((finished / "runs/gcnn-own.records.json").read_text())
    folder = weights.folder_of(spec()).parent
    folder.mkdir(parents=True)
    shutil.copyfile(finished / "runs/gcnn-own.history.parquet", folder / "history.parquet")
    return finished, records


def keep(room, records=None):
    about = ABOUT | {"code": room[1][0]["code"]}
    return weights.keep("gcnn-own", spec(), about, records or room[1], Store(paths.store()))


def test_the_best_of_each_arm_is_chosen_by_validation_loss_at_the_largest_size_and_baselines_have_none():
    def record(arm, n, seed, loss, **more):
        return {"arm": arm, "n_train": n, "seed": seed, "last_val_loss": loss, "parameters": 9} | more

    records = [record("a", 10, 0, 0.1), record("a", 30, 0, 0.5), record("a", 30, 1, 0.4), record("a", 30, 2, 0.4)]
    records += [record("many", 30, 0, 0.1, networks=4), record("trivial", 30, 0, 0.1, parameters=0)]
    assert [(r["arm"], r["n_train"], r["seed"]) for r in weights.best(records)] == [("a", 30, 1)]


def test_what_is_kept_is_listed_with_checksums_and_a_card_and_is_the_same_bytes_each_time(room):
    folder = keep(room)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(first) == {"Z2.safetensors", "p4m.safetensors", "weights.json", "README.md", "SHA256SUMS"}
    listing = json.loads(first["weights.json"])
    for network in listing["networks"]:
        content = first[network["file"]]
        assert (len(content), hashlib.sha256(content).hexdigest()) == (network["bytes"], network["sha256"])
        assert f"{network['sha256']}  {network['file']}\n" in first["SHA256SUMS"].decode()
        assert network["sha256"] in first["README.md"].decode()
    card = first["README.md"].decode()
    assert "synthetic twin" in card and "not a medical device" in card and "No test result chose" in card
    keep(room)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_without_training_the_kept_networks_answer_what_the_trained_ones_did(room, monkeypatch):
    folder, records = room
    trained = asked(folder, "other")
    keep(room)
    chosen = {(r["arm"], r["seed"]) for r in weights.best(records)}
    chosen |= {(name, seed) for arm, seed in chosen for name in gcnn.EXPERIMENT.computed_with(arm)}
    shutil.rmtree(folder / "runs")
    shutil.rmtree(folder / "store")
    answers = asked(folder, "other")
    assert set(zip(answers["arm"], answers["seed"], strict=True)) == chosen
    mine = [row in chosen for row in zip(trained["arm"], trained["seed"], strict=True)]
    pd.testing.assert_frame_equal(answers, trained[mine].reset_index(drop=True))
    kept = results.read_run("gcnn-own-on-other")  # raises if the history names a training without a record
    assert set(kept.history["arm"]) == {record["arm"] for record in kept.records} == {"Z2", "p4m"}
    run, state = transfer.networks("gcnn-own", spec(), None).one("Z2")
    assert (run.arm, run.n_train) == ("Z2", 10) and state
    with pytest.raises(RunError, match=r"gcnn-own has no network D4 .*; it has Z2 \(N = 10\), p4m \(N = 10\)"):
        transfer.networks("gcnn-own", spec(), None).one("D4")


def test_this_machine_s_networks_come_first_unless_the_published_are_asked_for(room):
    with pytest.raises(RunError, match="git keeps no weights of gcnn-own; `fewscans publish gcnn-own --weights`"):
        transfer.networks("gcnn-own", spec(), GRID, published=True)
    keep(room)
    assert not transfer.networks("gcnn-own", spec(), GRID).published
    assert transfer.networks("gcnn-own", spec(), None, published=True).published


def test_large_files_lie_outside_git_with_list_checksums_and_card(room, monkeypatch):
    monkeypatch.setattr(weights, "LIMIT", 100)
    folder = keep(room)
    away = weights.archive(spec())
    assert away.is_relative_to(room[0] / "build")
    assert not list(folder.glob("*.safetensors")) and (folder / "SHA256SUMS").read_text() == ""
    assert {path.name for path in away.iterdir()} == {
        "Z2.safetensors", "p4m.safetensors", "weights.json", "README.md", "SHA256SUMS",
    }  # fmt: skip
    sums = dict(reversed(line.split("  ")) for line in (away / "SHA256SUMS").read_text().splitlines())
    assert sums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in away.glob("*.safetensors")}
    networks = transfer.networks("gcnn-own", spec(), None, published=True)
    assert networks.one("Z2")[1]
    (away / "Z2.safetensors").unlink()
    with pytest.raises(RunError, match=r"Z2\.safetensors cannot be read .*get Z2\.safetensors from the archive of"):
        networks.one("Z2")


@pytest.mark.parametrize("damage", ["cut short", "altered", "a pointer of Git LFS"])
def test_a_damaged_file_is_named_with_its_remedy(room, damage):
    path = keep(room) / "Z2.safetensors"
    content = path.read_bytes()
    changed = {"cut short": content[:-4], "altered": content[:-4] + b"\0\0\0\1",
               "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\n"}  # fmt: skip
    path.write_bytes(changed[damage])
    networks = transfer.networks("gcnn-own", spec(), None, published=True)
    with pytest.raises(RunError, match=r"Z2\.safetensors is damaged: .*; restore it from git \(`git lfs pull`"):
        networks.one("Z2")
    assert networks.one("p4m")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"networks": [1]}', '{"networks": [{"record": {}}]}'])
def test_a_damaged_list_is_named_with_its_remedy(room, content):
    (keep(room) / "weights.json").write_text(content)
    with pytest.raises(RunError, match=r"weights\.json: not a list of weights \(.*\); restore it from git"):
        transfer.networks("gcnn-own", spec(), None, published=True)


def test_a_list_that_leads_out_of_its_folder_is_refused(room):
    path = keep(room) / "weights.json"
    listing = json.loads(path.read_text())
    listing["networks"][0]["file"] = "../../../secret.safetensors"
    files.write_json(path, listing)
    with pytest.raises(RunError, match=r"weights\.json: not a list of weights \(file '../../../secret"):
        transfer.networks("gcnn-own", spec(), None, published=True)


def test_weights_that_are_gone_from_the_store_are_said_to_be(room):
    record = weights.best(room[1])[0]
    Store(paths.store()).weights_path(record["key"]).unlink()
    with pytest.raises(RunError, match="gcnn-own: the weights of .* remove that run's entry there, then"):
        keep(room)


def test_weights_of_an_earlier_run_are_known_to_be_outdated(room):
    assert not weights.outdated(spec(), room[1])
    keep(room)
    assert not weights.outdated(spec(), room[1])
    assert weights.outdated(spec(), [record | {"key": "another"} for record in room[1]])


def test_every_arm_that_git_keeps_weights_of_is_small_and_sound():
    """Of the real folders, as they are in git."""
    for path in sorted(paths.published().glob(f"*/*/{weights.FOLDER}/{weights.LIST}")):
        run = json.loads(path.read_text())["run"]
        kept = weights.kept(run, params.load().run(run))
        for network in json.loads(path.read_text())["networks"]:
            if network["in_git"]:
                assert network["bytes"] <= weights.LIMIT and kept.load(network["record"])
