"""A finished run's networks answer for other cases what they answer for their own."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fewscans import integrity, params, paths, store, transfer
from fewscans.data import registry
from fewscans.errors import ParamsError, RunError
from fewscans.experiments import gcnn
from fewscans.params import RunSpec
from fewscans.results import read_run
from fewscans.sweep import sweep
from fewscans.sweep.onerun import Setting

from .experiments.conftest import make_patches
from .toy import Inline

GRID = gcnn.Grid(
    arms={"Z2": (10,), "p4m": (10,), "histogram": (10,)}, seeds=2, steps=2, eval_every=1, learning_rates=(1e-2,),
    width=4, patch=(24, 24),
)  # fmt: skip
GLANDS = "adrenalmnist3d"


def made_up(patch) -> None:
    """`own` and `same` are one set of patches, `other` and the glands are others; all are of nobody's patients."""
    sets = {"own": make_patches(), "same": make_patches(), "other": make_patches(seed=1), GLANDS: make_patches(seed=2)}
    nodules, real = registry.dataset("luna16-patches"), registry.dataset

    def dataset(name):
        if name not in sets:
            return real(name)
        like = real(name) if name == GLANDS else replace(nodules, name=name, people="")
        return replace(like, cases=lambda path, cut, cache: sets[name])

    patch.setattr(registry, "dataset", dataset)
    patch.setattr(gcnn.Gcnn, "code", lambda self, dataset: [])


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        made_up(patch)
        setting = Setting("gcnn-own", "gcnn", "own", GRID, folder, folder / "store", "cpu", profile="quick")
        sweep.sweep(setting, engine=Inline(), out=folder / "runs", show=False)
    return folder


@pytest.fixture
def finished(trained_once, tmp_path, monkeypatch):
    """A run trained on `own`."""
    made_up(monkeypatch)
    monkeypatch.setattr(paths, "runs", lambda: tmp_path / "runs")
    monkeypatch.setattr(paths, "store", lambda: tmp_path / "store")
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


def spec(dataset: str = "own", twin: bool = True) -> RunSpec:
    return RunSpec("gcnn", dataset, twin, "")


def asked(folder, dataset: str) -> pd.DataFrame:
    return pd.read_parquet(transfer.predict("gcnn-own", spec(), GRID, dataset, folder))


def test_about_the_same_cases_a_run_says_what_its_table_says(finished):
    own = pd.read_parquet(finished / "runs" / "gcnn-own.parquet")
    own = own[(own["split"] == "test") & (own["arm"] != "histogram")]
    order = ["arm", "n_train", "seed", "case"]
    found, told = (table.sort_values(order, ignore_index=True) for table in (asked(finished, "same"), own))
    pd.testing.assert_frame_equal(found, told)


def test_the_tables_of_a_run_are_never_written_over_and_what_was_asked_may_be_asked_again(finished):
    before = (finished / "runs" / "gcnn-own.parquet").read_bytes()
    first = asked(finished, "own")
    assert asked(finished, "own").equals(first)
    assert (finished / "runs" / "gcnn-own.parquet").read_bytes() == before
    assert sorted(path.name for path in (finished / "runs").glob("gcnn-own-on-own.*")) == [
        f"gcnn-own-on-own.{end}"
        for end in ("about.json", "costs.json", "history.parquet", "parquet", "records.json", "reference.parquet")
    ]


@pytest.mark.parametrize(
    ("trained", "dataset"),
    [
        ("luna16", "lidc-nodules"),
        ("luna16", "luna16-patches"),
        ("luna16", "nodulemnist3d"),
        ("msd-hippocampus", "msd-hippocampus-fraction"),
        ("msd-hippocampus-fraction", "msd-hippocampus"),
    ],
)
def test_cases_of_patients_that_a_run_may_have_been_trained_on_are_refused(finished, trained, dataset):
    with pytest.raises(RunError, match="may show the same patients"):
        transfer.predict("gcnn-own", spec(trained, twin=False), GRID, dataset, finished)


def test_a_network_of_nodules_is_asked_about_adrenal_glands_only_where_that_is_meant(finished):
    with pytest.raises(RunError, match="trained on lung nodules, and adrenalmnist3d shows adrenal glands.*add --yes"):
        asked(finished, GLANDS)
    assert not list((finished / "runs").glob("gcnn-own-on*"))
    made = transfer.predict("gcnn-own", spec(), GRID, GLANDS, finished, other_kind=True)
    assert len(pd.read_parquet(made))


def test_answers_are_a_run_of_their_own_name_and_never_that_of_the_other_data_set(finished):
    named = params.load().run("gcnn-luna16-twin-on-lidc-nodules")
    assert (named.experiment, named.dataset, named.twin) == ("gcnn", "luna16-twin-on-lidc-nodules", False)
    for unknown in ("gcnn-luna16-twin-on-nothing", "gcnn-nothing-on-lidc-nodules"):
        with pytest.raises(ParamsError, match="unknown run"):
            params.load().run(unknown)


def test_other_cases_get_predictions_of_every_network_and_records_say_what_it_was_trained_on(finished):
    table, other = asked(finished, "other"), make_patches(seed=1)
    assert set(table["arm"]) == {"Z2", "Z2-tta-p4", "Z2-tta-p4m", "p4m"} and set(table["seed"]) == {0, 1}
    assert set(table["case"]) == set(other.case[other.indices("test")])
    records = json.loads((finished / "runs" / "gcnn-own-on-other.records.json").read_text())
    assert {record["trained_on"] for record in records} == {"gcnn-own"}
    assert {record["data"] for record in records} == {other.fingerprint}
    assert np.isfinite(table["prediction"]).all()
    made = read_run("gcnn-own-on-other")
    assert made.about["trained_on"] == "gcnn-own" and made.about["data"] == other.fingerprint
    assert made.profile == "quick" and made.about["grid"]["steps"] == 2, "as it was trained"


def test_without_weights_nothing_is_written_and_the_run_to_repeat_is_named(finished):
    for path in (finished / "store").glob("*.safetensors"):
        path.unlink()
    with pytest.raises(RunError, match="gcnn-own, Z2, N = 10, seed 0.*its weights are not in"):
        asked(finished, "other")
    assert not list((finished / "runs").glob("gcnn-own-on*"))


def test_a_run_that_is_not_there_is_named(finished):
    with pytest.raises(RunError, match="runs/gcnn-none.records.json does not exist; `fewscans train gcnn-none`"):
        transfer.predict("gcnn-none", spec(), GRID, "other", finished)


def rewritten(listing, records):
    """Other records, as if a sweep had written them: its hashes follow."""
    listing.write_text(json.dumps(records))
    run = listing.name.partition(".")[0]
    about = listing.with_name(f"{run}.about.json")
    told = json.loads(about.read_text())
    about.write_text(json.dumps(told | {integrity.HASHES: integrity.hashes(listing.parent, run)}))


def test_a_run_of_trivial_baselines_has_no_network_to_ask(finished):
    listing = finished / "runs" / "gcnn-own.records.json"
    records = [record for record in json.loads(listing.read_text()) if not record["parameters"]]
    rewritten(listing, records)
    with pytest.raises(RunError, match="no network to ask"):
        asked(finished, "other")


def test_an_arm_of_several_networks_is_left_out_with_a_warning(finished):
    listing = finished / "runs" / "gcnn-own.records.json"
    records = json.loads(listing.read_text())
    rewritten(listing, [record | {"networks": 3 if record["arm"] == "Z2" else 1} for record in records])
    with pytest.warns(UserWarning, match="gcnn-own: Z2 left out: a network for each site"):
        table = asked(finished, "other")
    assert set(table["arm"]) == {"p4m"}


@pytest.mark.parametrize("changed", [{"width": 8}, {"steps": 3}])
def test_a_run_is_asked_with_the_grid_it_was_trained_with_and_no_other(finished, changed):
    with pytest.raises(RunError, match="was trained with profile quick.*--profile"):
        transfer.predict("gcnn-own", spec(), replace(GRID, **changed), "other", finished)
    assert not list((finished / "runs").glob("gcnn-own-on*"))


def test_weights_are_read_without_running_anything_from_the_file(finished):
    keys = [path.stem for path in (finished / "store").glob("*.safetensors")]
    assert keys and all(store.Store(finished / "store").weights(key) for key in keys)
