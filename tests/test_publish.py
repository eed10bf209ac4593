"""Published results are the same bytes each time, small, and never of a run that is not fit for it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

from fewscans import experiments, params, paths
from fewscans import publish as publishing
from fewscans.data import registry
from fewscans.data.base import Cases
from fewscans.errors import DataError, RunError
from fewscans.publish import publish
from fewscans.publish import rounded as kept
from fewscans.results import load_published, read_run
from fewscans.stats.auc import auc
from fewscans.stats.resample import Resampled
from fewscans.store import Store

RUN = "gcnn-luna16-patches-twin"
PARAMS = """
profile: quick
data_root: data
twins:
  luna16-patches:
    smoke: &twin {scans: 60, candidates_per_scan: 8, positive_fraction: 0.35, seed: 0}
    quick: *twin
    paper: *twin
runs:
  gcnn-luna16-patches-twin: {experiment: gcnn, dataset: luna16-patches, twin: true, data: build/twins/luna16-patches}
grids:
  gcnn-luna16-patches: &grids
    smoke: {arms: {Z2: [30], p4m: [30]}, seeds: 2, steps: 4, eval_every: 2, learning_rates: [1.0e-3]}
    quick:
      arms: {Z2: [30, 100], p4m: [30], centre: [30]}
      seeds: 3
      steps: 200
      eval_every: 40
      learning_rates: [1.0e-3]
  gcnn-luna16-patches-twin: *grids
notebooks: {}
"""
CASES = 60
NAMES = np.array([f"row{i:06d}" for i in range(CASES)])
GROUPS = np.array([f"block{i // 5:04d}" for i in range(CASES)])
TARGET = np.repeat([0, 1], CASES // 2)


def known(path, cut, cache) -> Cases:
    """The cases that the made-up runs are tested on, and as many to train on."""
    names = np.concatenate([NAMES, np.char.replace(NAMES, "row", "train")])
    split = np.repeat(["test", "train"], CASES)
    repository = pd.DataFrame({"repository_split": np.where(np.arange(2 * CASES) % 3, "train", "test")})
    images = np.zeros((2 * CASES, 50, 50), np.uint8)
    return Cases(images, np.tile(TARGET, 2), names, np.tile(GROUPS, 2), split, "da7a", path, about=repository)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose data set is at hand."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.setenv("FEWSCANS_ROOT", str(tmp_path))
    real = registry.dataset
    monkeypatch.setattr(registry, "dataset", lambda name: replace(real(name), cases=known))
    monkeypatch.setattr(registry, "find", lambda name, root: root / name)
    return tmp_path


def beside(project, run, profile, history, records, data="da7a") -> None:
    """What a sweep leaves beside its table; `records` with seconds, as runs have them."""
    raw, runs = yaml.safe_load((project / "params.yaml").read_text())["grids"][run][profile], project / "runs"
    grid = params.typed(raw, experiments.get(run.partition("-")[0]).Grid, "grid")
    about = {"run": run, "profile": profile, "grid": vars(grid), "code": "c0de", "data": data, "partial": False}
    costs = [{key: r[key] for key in ("arm", "n_train", "seed", "seconds_wall") if key in r} for r in records]
    pd.DataFrame(history).to_parquet(runs / f"{run}.history.parquet", index=False)
    records = [{key: value for key, value in r.items() if key != "seconds_wall"} for r in records]
    for end, content in (("about", about), ("costs", costs), ("records", records)):
        (runs / f"{run}.{end}.json").write_text(json.dumps(content))


def finished(project, run=RUN, profile="quick", seeds=3, sizes=(("Z2", 30), ("Z2", 100), ("p4m", 30), ("centre", 30))):
    """A finished run as a sweep leaves it."""
    rng = np.random.default_rng(0)
    tables, history, records = [], [], []
    for arm, n in sizes:
        for seed in range(seeds):
            for name in (arm, *((f"{arm}-tta-p4", f"{arm}-tta-p4m") if arm == "Z2" else ())):
                for split in ("test", "test-best"):
                    p = 1 / (1 + np.exp(-(2.0 * TARGET - 1 + rng.normal(size=CASES))))
                    cell = {"arm": name, "n_train": n, "seed": seed, "split": split, "case": NAMES, "group": GROUPS}
                    tables.append(pd.DataFrame(cell | {"target": 1.0 * TARGET, "prediction": p}))
            record = {"arm": arm, "n_train": n, "seed": seed, "run": run, "code": "c0de", "data": "da7a"}
            record |= {
                "device": "cpu",
                "torch": "2.13.0",
                "threads": 1,
                "key": f"{arm}{n}{seed}",
                "learning_rate": 1e-3 * (arm != "centre"),
            }
            if arm != "centre":
                record |= {"steps": 200, "seconds_wall": 1.5, "parameters": 1000, "last_val_loss": 0.4}
                record |= {"failed": (arm, n, seed) == ("Z2", 100, 1)}
                losses = {"train_loss": 0.5, "val_loss": 0.4}
                history += [
                    {"arm": arm, "n_train": n, "seed": seed, "step": s, "epoch": s / 10} | losses for s in (40, 80)
                ]
            records.append(record)
    (project / "runs").mkdir(exist_ok=True)
    table = project / "runs" / f"{run}.parquet"
    pd.concat(tables, ignore_index=True).to_parquet(table, index=False)
    beside(project, run, profile, history, records)
    return table


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_what_was_published_is_read_back(project):
    table = pd.read_parquet(finished(project))
    folder = publish(RUN, minimum_seeds=3)
    assert folder == project / "reports" / "published" / "gcnn" / "luna16-patches-twin"
    got = load_published("gcnn", "luna16-patches-twin")
    keys = ["arm", "n_train", "seed", "split", "case"]
    pd.testing.assert_frame_equal(
        got.predictions.astype({c: str for c in ("arm", "split", "case", "group")}).sort_values(
            keys, ignore_index=True
        ),
        table.astype({c: str for c in ("arm", "split", "case", "group")}).sort_values(keys, ignore_index=True),
        rtol=0,
        atol=3e-4,
    )
    assert (got.history["val_loss"] == 0.4).all() and len(got.records) == 12
    assert got.about["profile"] == "quick" and got.about["twin"] and not got.about["real"]
    assert got.about["arms"] == ["Z2", "Z2-tta-p4", "Z2-tta-p4m", "p4m", "centre"]
    assert got.about["seeds"] == [0, 1, 2] and got.about["incomplete"] is None
    assert got.published and got.about["params"]["steps"] == 200


def test_what_was_read_must_say_what_decided_it(project):
    finished(project)
    about = project / "runs" / f"{RUN}.about.json"
    assert read_run(RUN).profile == "quick" and read_run(RUN).about["grid"]["seeds"] == 3
    about.unlink()
    with pytest.raises(RunError, match=f"runs/{about.name} does not exist; `fewscans train {RUN}` makes it"):
        read_run(RUN)


def test_costs_are_published_with_their_runs_and_a_run_without_known_costs_is_published_too(project):
    finished(project)
    costs = project / "runs" / f"{RUN}.costs.json"
    costs.write_text(json.dumps([cost | {"seconds_wall": 1800.0} for cost in json.loads(costs.read_text())]))
    folder = publish(RUN, minimum_seeds=3)
    assert {record["seconds_wall"] for record in json.loads((folder / "records.json").read_text())} == {1800.0}
    assert "12 runs, 9 of them networks, trained in 6.0 hours" in (folder / "README.md").read_text()
    with_costs = contents(folder)
    costs.unlink()
    without = contents(publish(RUN, minimum_seeds=3))
    changed = {name for name in without if without[name] != with_costs[name]}
    assert changed == {"records.json", "README.md", "SHA256SUMS"}


def test_the_split_is_kept_each_case_once(project):
    finished(project)
    split = pd.read_csv(publish(RUN, minimum_seeds=3) / "split.csv")
    assert list(split) == ["case", "group", "split", "repository_split"]
    assert split["case"].is_unique and split["case"].is_monotonic_increasing and len(split) == 2 * CASES
    assert set(split.loc[split["split"] == "test", "case"]) == set(NAMES)


def test_where_seeds_rotate_folds_the_split_tells_the_part_of_each_case_for_each_seed(project, monkeypatch):
    text = (project / "params.yaml").read_text().replace("seeds: 3", "seeds: 3\n      folds: 5")
    (project / "params.yaml").write_text(text)
    fold = pd.DataFrame({"fold": np.arange(2 * CASES) // 5 % 5})
    real = registry.dataset
    rotated = lambda *asked: replace(known(*asked), about=fold)  # noqa: E731
    monkeypatch.setattr(registry, "dataset", lambda name: replace(real(name), cases=rotated))
    finished(project)
    folder = publish(RUN, minimum_seeds=3)
    split = pd.read_csv(folder / "split.csv").set_index("case")
    assert list(split)[-3:] == [f"fold of seed {seed}" for seed in range(3)]
    for seed in range(3):
        cases = split.index[split[f"fold of seed {seed}"] == "test"]
        assert set(cases) == set(known("", None, None).case[fold["fold"] == seed])
    assert "in which split, and in which part for each seed" in (folder / "README.md").read_text()


@pytest.mark.parametrize("gone", ["absent", "other data"])
def test_without_the_data_that_a_run_was_made_from_it_is_published_only_with_its_reason(project, monkeypatch, gone):
    finished(project)
    publish(RUN, minimum_seeds=3)

    def absent(path, cut, cache):
        if gone == "absent":
            raise DataError("no such file")
        return replace(known(path, cut, cache), fingerprint="other")

    real = registry.dataset
    monkeypatch.setattr(registry, "dataset", lambda name: replace(real(name), cases=absent))
    with pytest.raises(RunError, match="the data that it was made from are not at hand, so its split cannot be kept"):
        publish(RUN, minimum_seeds=3)
    folder = publish(RUN, minimum_seeds=3, incomplete="the disk is gone")
    assert not (folder / "split.csv").exists(), "nor is one of other data left there"


def with_reference(project, run=RUN):
    """A finished run whose positive cases are nodules, one each; a scan without candidates beside."""
    table = pd.read_parquet(finished(project, run))
    case = table.drop_duplicates("case")
    hit = case[case["target"] == 1]
    blank = {"nodule": "", "case": "", "malignant": np.nan}
    nodule = {"scan": hit["group"], "nodule": "n" + hit["case"]}
    kinds = [
        pd.DataFrame({"kind": "scan", "scan": [*case["group"].unique(), "empty"]} | blank),
        pd.DataFrame({"kind": "nodule"} | nodule | {"case": "", "malignant": 1.0}),
        pd.DataFrame({"kind": "hit"} | nodule | {"case": hit["case"], "malignant": np.nan}),
    ]
    path = project / "runs" / f"{run}.reference.parquet"
    pd.concat(kinds, ignore_index=True).to_parquet(path, index=False)
    return path


def test_what_detection_is_scored_against_is_published_too(project):
    kept = pd.read_parquet(with_reference(project))
    folder = publish(RUN, minimum_seeds=3)
    first = contents(folder)
    got = load_published("gcnn", "luna16-patches-twin")
    keys = ["kind", "scan", "nodule", "case"]
    pd.testing.assert_frame_equal(got.reference, kept.sort_values(keys, ignore_index=True), check_dtype=False)
    assert list(got.predictions["arm"].unique()) == got.about["arms"] and "reference" not in got.about["arms"]
    path = project / "runs" / f"{RUN}.reference.parquet"
    pd.read_parquet(path).sample(frac=1, random_state=0).to_parquet(path, index=False)
    assert contents(publish(RUN, minimum_seeds=3)) == first
    scored = Resampled(got.predictions, "froc", reference=got.reference).values("p4m", 30)
    local = read_run(RUN).resampled("froc").values("p4m", 30)
    np.testing.assert_allclose(scored, local, atol=0.02)  # rounding can tie a nodule and a false positive


def test_a_reference_that_is_gone_does_not_stay_and_one_that_was_lost_is_missed(project):
    path = with_reference(project)
    folder = publish(RUN, minimum_seeds=3)
    (folder / "reference.parquet").rename(project / "elsewhere.parquet")
    with pytest.raises(RunError, match="reference.parquet: missing"):
        load_published("gcnn", "luna16-patches-twin")
    path.unlink()
    (project / "elsewhere.parquet").rename(folder / "reference.parquet")
    publish(RUN, minimum_seeds=3)
    assert not (folder / "reference.parquet").exists()
    assert load_published("gcnn", "luna16-patches-twin").reference is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda r: r.drop(columns="kind"), "runs/.*reference.parquet: not a reference .*lacks column 'kind'"),
        (lambda r: r.assign(case=r["case"].replace("row000040", "row999999")), "no prediction of case row999999"),
        (lambda r: r[~((r["kind"] == "scan") & (r["scan"] == "block0000"))], "block0000.*which is no scan"),
    ],
)
def test_a_reference_of_another_test_set_is_refused(project, change, complaint):
    path = with_reference(project)
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    with pytest.raises(RunError, match=complaint):
        publish(RUN, minimum_seeds=1)
    assert not (project / "reports").exists()


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("luna16", ("CC BY 4.0", "CC BY 3.0", "Setio", "Armato", "10.7937/K9/TCIA.2015.LO9QL9SX")),
        ("lidc-nodules", ("CC BY 3.0", "Armato", "10.7937/K9/TCIA.2015.LO9QL9SX")),
        ("adrenalmnist3d", ("CC BY 4.0", "Yang", "Data 10:41 (2023)", "10.1038/s41597-022-01721-8", "masks")),
        ("msd-hippocampus", ("CC BY-SA 4.0", "Antonelli", "10.1038/s41467-022-30695-9")),
    ],
)
def test_every_data_set_of_others_is_attributed(dataset, words):
    assert [word for word in words if word not in registry.dataset(dataset).attribution] == []


def test_publishing_twice_gives_the_same_bytes(project):
    path = finished(project)
    first = contents(publish(RUN, minimum_seeds=3))
    shuffled = pd.read_parquet(path).sample(frac=1, random_state=0)
    shuffled = shuffled.sort_values(
        "arm", key=lambda a: a.map({"Z2": 0, "Z2-tta-p4": 1, "Z2-tta-p4m": 2, "p4m": 3, "centre": 4})
    )
    shuffled.to_parquet(path, index=False)
    assert contents(publish(RUN, minimum_seeds=3)) == first
    assert not [name for name in first if name.endswith(".part")]


def test_an_arm_that_is_gone_does_not_stay(project):
    finished(project)
    folder = publish(RUN, minimum_seeds=3)
    shutil.copy(folder / "p4m.parquet", folder / "p4.parquet")
    with pytest.raises(RunError, match="p4.parquet: SHA256SUMS does not list it"):
        load_published("gcnn", "luna16-patches-twin")
    publish(RUN, minimum_seeds=3)
    assert not (folder / "p4.parquet").exists()


def test_the_readme_says_what_it_is_and_has_no_date(project):
    finished(project, run="gcnn-luna16-patches")
    text = (publish("gcnn-luna16-patches", minimum_seeds=3) / "README.md").read_text()
    assert "real data" in text and "CC BY 4.0" in text and "CC BY 3.0" in text
    assert "Setio" in text and "Armato" in text
    assert "| Z2 | 30, 100 | 3 | 60 (30) | 12 |" in text
    assert "c0de" in text and "da7a" in text and "2.13.0" in text and "in which part" not in text
    finished(project)
    twin = (publish(RUN, minimum_seeds=3) / "README.md").read_text()
    assert "synthetic twin" in twin and "Setio" not in twin


@pytest.mark.parametrize("last", [True, False])
def test_the_readme_says_which_checkpoint_the_rows_are_of(project, last):
    """Of all experiments but two, which say in their records how the last checkpoint does, it is the best."""
    finished(project)
    path = project / "runs" / f"{RUN}.records.json"
    records = json.loads(path.read_text())
    path.write_text(json.dumps([{k: v for k, v in r.items() if last or k != "last_val_loss"} for r in records]))
    text = (publish(RUN, minimum_seeds=3) / "README.md").read_text()
    best = "is of the checkpoint with the lowest validation loss"
    assert (f"`test-best` {best}, `test` of the network after the last update\n" in text) == last
    assert (f"`test` {best}\n" in text) != last


def test_trainings_that_failed_are_counted_and_those_of_another_arm_for_what_is_computed_with_it(project):
    finished(project)
    publish(RUN, minimum_seeds=3)
    for found in (read_run(RUN), load_published("gcnn", "luna16-patches-twin")):
        for arm in ("Z2", "Z2-tta-p4", "Z2-tta-p4m"):
            assert found.failed(arm, 100) == (1, 3) and found.failed(arm, 30) == (0, 3)
        assert found.failed("p4m", 30) == (0, 3) and found.failed("centre", 30) == (0, 3)
        assert found.failed("p4m", 100) == (0, 0), "there are no such runs"


def test_a_grid_with_gaps_is_published_only_with_its_reason(project):
    finished(project, sizes=(("Z2", 30), ("p4m", 30), ("centre", 30)))
    with pytest.raises(RunError, match="lacks 9 runs, the first: arm Z2 at N = 100, seed 0.*; 3 seeds, fewer than 5"):
        publish(RUN)
    folder = publish(RUN, incomplete="the cluster closed")
    assert "the cluster closed (the grid lacks 9 runs, the first: arm Z2" in (folder / "README.md").read_text()
    assert load_published("gcnn", "luna16-patches-twin").about["incomplete"].startswith("the cluster closed")


def test_what_is_computed_along_with_an_arm_at_some_sizes_alone_leaves_no_gap(project):
    finished(project)
    file = project / "runs" / f"{RUN}.parquet"
    table = pd.read_parquet(file)
    file.unlink()
    lone = (table["arm"].astype(str) == "Z2-tta-p4") & (table["n_train"] == 100)
    table[~(lone & (table["seed"] == 0))].to_parquet(file, index=False)
    with pytest.raises(RunError, match="the grid lacks 1 runs, the first: arm Z2-tta-p4 at N = 100, seed 0"):
        publish(RUN, minimum_seeds=3)
    table[~lone].to_parquet(file, index=False)
    assert load_published("gcnn", publish(RUN, minimum_seeds=3).name).about["incomplete"] is None


def test_few_seeds_are_refused(project):
    finished(project)
    with pytest.raises(RunError, match="3 seeds, fewer than 5"):
        publish(RUN)


def test_the_smoke_profile_is_never_published(project):
    finished(project, profile="smoke", seeds=2, sizes=(("Z2", 30), ("p4m", 30)))
    with pytest.raises(RunError, match="smoke profile"):
        publish(RUN, incomplete="please", minimum_seeds=1)


def test_another_profile_than_asked_for_is_refused(project):
    finished(project)
    with pytest.raises(RunError, match="is of profile quick, not paper"):
        publish(RUN, profile="paper", minimum_seeds=1)


def damaged(change):
    def apply(project):
        path = finished(project)
        change(pd.read_parquet(path)).to_parquet(path, index=False)

    return apply


def mixed_code(project):
    finished(project)
    path = project / "runs" / f"{RUN}.records.json"
    records = json.loads(path.read_text())
    records[0]["code"] = "other"
    path.write_text(json.dumps(records))


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda project: None, "runs/gcnn-luna16-patches-twin.parquet does not exist; `fewscans train"),
        (damaged(lambda t: t.drop(columns="group")), "has columns"),
        (damaged(lambda t: t.assign(prediction=t["prediction"] + 0.9)), "a probability lies between 0 and 1"),
        (
            damaged(lambda t: t.assign(prediction=np.where(t.index == 5, np.nan, t["prediction"]))),
            "prediction nan in row 5",
        ),
        (damaged(lambda t: t.assign(target=2.0)), "target 2.0 in row 0"),
        (damaged(lambda t: t.assign(seed=t["seed"] + 0.5)), "column 'seed' is float64"),
        (damaged(lambda t: t.assign(split="holdout")), "unknown split 'holdout'"),
        (damaged(lambda t: pd.concat([t, t.tail(1)])), "occurs twice"),
        (damaged(lambda t: t.drop(index=3)), "seed 0 has 59 cases, another has 60; seeds must predict the same"),
        (damaged(lambda t: t.assign(n_train=t["n_train"].replace(100, 200))), "no record of arm Z2 at N = 200, seed 0"),
        (mixed_code, "tell of different code or data"),
    ],
)
def test_what_is_not_fit_is_refused_and_nothing_is_written(project, make, complaint):
    make(project)
    with pytest.raises(RunError, match=complaint):
        publish(RUN, minimum_seeds=1)
    assert not (project / "reports").exists()


def test_a_published_file_that_is_damaged_is_named(project):
    finished(project)
    path = publish(RUN, minimum_seeds=3) / "p4m.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(RunError, match="p4m.parquet: not the file that was published"):
        load_published("gcnn", "luna16-patches-twin")


def test_nothing_published_is_said_plainly(project):
    with pytest.raises(RunError, match="nothing is published there; `fewscans publish gcnn-pcam`"):
        load_published("gcnn", "pcam")
    assert paths.root() == project


def test_rounding_keeps_the_order_of_extreme_probabilities_and_the_auc():
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.normal(-4, 3, 1300), rng.normal(2, 3, 250)])
    y = np.repeat([0, 1], [1300, 250])
    p = 1 / (1 + np.exp(-logits))
    assert abs(auc(y, kept(p)) - auc(y, p)) < 1e-4
    assert kept(np.array([1e-9, 2e-9]))[0] < kept(np.array([1e-9, 2e-9]))[1]
    assert kept(np.array([0.0, 1.0])).tolist() == [0, 1]
    np.testing.assert_array_equal(kept(kept(p)), kept(p))


def test_weights_are_kept_with_their_tables_and_removed_with_tables_of_another_run(project, monkeypatch):
    monkeypatch.delenv("FEWSCANS_STORE", raising=False)
    finished(project)
    listing = project / "runs" / f"{RUN}.records.json"
    records = json.loads(listing.read_text())
    room = Store(paths.store())
    room.folder.mkdir(parents=True)
    for record in records:
        room.weights_path(record["key"]).write_bytes(record["key"].encode())
    folder = publish(RUN, minimum_seeds=3, with_weights=True) / "weights"
    kept = {path.stem: path.read_text() for path in folder.glob("*.safetensors")}
    assert kept == {"Z2": "Z21000", "p4m": "p4m300"}, "largest N, of equal losses the first seed, no trivial arm"
    assert f"fewscans publish {RUN} --weights" in (folder / "README.md").read_text()
    publish(RUN, minimum_seeds=3)
    assert folder.exists(), "of the same run"
    listing.write_text(json.dumps([record | {"key": f"new{record['key']}"} for record in records]))
    publish(RUN, minimum_seeds=3)
    assert not folder.exists()


def grown(project, monkeypatch, *, code="c0de", **changed):
    """One size is published with weights; then a table holds a second size alone, under a grid that asks for both."""
    monkeypatch.delenv("FEWSCANS_STORE", raising=False)
    raw, room = yaml.safe_load(PARAMS), Store(paths.store())
    room.folder.mkdir(parents=True)
    first = raw["grids"][RUN]["quick"] | {"arms": {"Z2": [30], "centre": [30]}}
    for grid, sizes in ((first, (("Z2", 30), ("centre", 30))), (first | changed, (("Z2", 100),))):
        (project / "params.yaml").write_text(yaml.safe_dump(raw | {"grids": {RUN: {"quick": grid}}}))
        finished(project, sizes=sizes)
        for n in (30, 100):
            for seed in range(3):
                room.weights_path(f"Z2{n}{seed}").write_bytes(f"weights {n} {seed}".encode())
        if len(sizes) == 2:
            before = load_published("gcnn", publish(RUN, minimum_seeds=3, with_weights=True).name)
    shutil.rmtree(room.folder)
    room.folder.mkdir()
    for part in ("about", "records"):
        file = project / "runs" / f"{RUN}.{part}.json"
        file.write_text(file.read_text().replace("c0de", code))
    return before


BOTH = {"arms": {"Z2": [30, 100], "centre": [30]}}


def test_a_new_size_is_added_to_what_is_published(project, monkeypatch):
    before = grown(project, monkeypatch, **BOTH)
    with pytest.raises(RunError, match="the grid lacks 12 runs"):
        publish(RUN, minimum_seeds=3)
    folder = publish(RUN, minimum_seeds=3, add=True)
    after = load_published("gcnn", folder.name)
    assert after.about["incomplete"] is None and after.about["params"]["arms"] == BOTH["arms"]
    assert after.sizes("Z2") == [30, 100] and after.arms == before.arms
    assert [(r["arm"], r["n_train"]) for r in after.records][::3] == [("Z2", 30), ("Z2", 100), ("centre", 30)]
    assert list(dict.fromkeys(zip(after.history["arm"], after.history["n_train"], strict=True))) == [
        ("Z2", 30),
        ("Z2", 100),
    ]
    small = after.predictions[after.predictions["n_train"] == 30].reset_index(drop=True)
    pd.testing.assert_frame_equal(small, before.predictions, check_categorical=False)
    once = contents(folder)
    assert contents(publish(RUN, minimum_seeds=3, add=True)) == once, "twice adds nothing"


def test_weights_that_the_store_lacks_stay_where_they_are_still_the_best(project, monkeypatch):
    grown(project, monkeypatch, **BOTH)
    with pytest.raises(RunError, match=r"the weights of Z2, N = 100, seed 0 are not in"):
        publish(RUN, minimum_seeds=3, add=True, with_weights=True)
    Store(paths.store()).weights_path("Z21000").write_bytes(b"anew")
    folder = publish(RUN, minimum_seeds=3, add=True, with_weights=True) / "weights"
    assert (folder / "Z2.safetensors").read_bytes() == b"anew"
    shutil.rmtree(paths.store())
    publish(RUN, minimum_seeds=3, add=True, with_weights=True)
    assert (folder / "Z2.safetensors").read_bytes() == b"anew"
    (folder / "Z2.safetensors").write_bytes(b"anow")
    with pytest.raises(RunError, match="is damaged"):
        publish(RUN, minimum_seeds=3, add=True, with_weights=True)


@pytest.mark.parametrize(
    ("code", "changed", "why"),
    [
        ("c1de", {}, "was trained with other code"),
        ("c0de", {"steps": 240}, "was trained with other steps"),
        ("c0de", {"width": 4}, "was trained with other width"),
        ("c0de", {"learning_rates": [3.0e-3]}, "was trained with other learning_rate"),
        ("c0de", {"learning_rates": [1.0e-3, 3.0e-3]}, "was trained with other learning_rates"),
        ("c0de", {"arms": {"Z2": [100], "centre": [30]}}, "is not in the grid"),
        ("c0de", {"arms": {"p4m": [100], "Z2": [100]}}, "is not in the grid"),
    ],
)
def test_nothing_is_added_to_what_was_made_otherwise(project, monkeypatch, code, changed, why):
    grown(project, monkeypatch, code=code, **BOTH | changed)
    with pytest.raises(RunError, match=f"arm Z2, N = 30, seed 0 {why}; .* without --add"):
        publish(RUN, minimum_seeds=3, add=True)


def test_nothing_is_added_to_what_another_device_made_or_an_older_grid_names(project, monkeypatch):
    grown(project, monkeypatch, **BOTH)
    records = project / "runs" / f"{RUN}.records.json"
    old = records.read_text()
    records.write_text(old.replace('"device": "cpu"', '"device": "NVIDIA H100"'))
    with pytest.raises(RunError, match="seed 0 was trained with other device"):
        publish(RUN, minimum_seeds=3, add=True)
    records.write_text(old)
    monkeypatch.setattr(publishing, "load_published", lambda *asked: replace(
        load_published(*asked), about=load_published(*asked).about | {"params": {"gone": 1}}
    ))  # fmt: skip
    with pytest.raises(RunError, match="unknown key 'gone'.* publish the whole grid, without --add"):
        publish(RUN, minimum_seeds=3, add=True)


def test_columns_that_the_new_table_lacks_stay_in_the_history(project, monkeypatch):
    grown(project, monkeypatch, **BOTH)
    had = load_published("gcnn", "luna16-patches-twin")
    more = replace(had, history=had.history.assign(noise=0.5))
    monkeypatch.setattr(publishing, "load_published", lambda *asked: more)
    folder = publish(RUN, minimum_seeds=3, add=True)
    kept_noise = pd.read_parquet(folder / "history.parquet").set_index("n_train")["noise"]
    assert (kept_noise[30] == 0.5).all() and kept_noise[100].isna().all()


def test_weights_that_are_no_longer_the_best_are_removed(project, monkeypatch):
    grown(project, monkeypatch, **BOTH)
    folder = project / "reports" / "published" / "gcnn" / "luna16-patches-twin" / "weights"
    assert folder.exists()
    publish(RUN, minimum_seeds=3, add=True)
    assert not folder.exists()
