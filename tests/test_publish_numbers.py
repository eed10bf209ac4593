"""Published numbers: what a regression predicts, kept to a step that no ICC feels, and never what is no number."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewscans import publish as publishing
from fewscans import scorecard
from fewscans.claims import Claim, Claims
from fewscans.claims import Test as ClaimTest
from fewscans.data import registry
from fewscans.data.base import Cases
from fewscans.errors import RunError
from fewscans.publish import publish, rounded_numbers, step_of
from fewscans.results import load_published, read_run
from fewscans.stats.icc import agreement
from fewscans.stats.resample import Resampled

from .test_publish import beside

RUN = "hydranet-msd-hippocampus"
PARAMS = """
profile: quick
data_root: data
twins: {}
runs: {}
grids:
  hydranet-msd-hippocampus:
    smoke: {arms: {crop: [12]}, seeds: 2, steps: 60, eval_every: 2, learning_rates: [1.0e-3], window: [12, 20, 16]}
    quick:
      arms: {base: [12, 25], hydra-4: [12, 25], hydra-2: [12, 25], crop: [25]}
      seeds: 3
      steps: 200
      eval_every: 40
      learning_rates: [1.0e-3]
      window: [12, 20, 16]
notebooks: {}
"""
CASES = 60
NAMES = [f"hippocampus_{i:03d}" for i in range(CASES)]
GROUPS = [f"person{i // 2:03d}" for i in range(CASES)]
SIZES = (*((arm, n) for arm in ("base", "hydra-4", "hydra-2") for n in (12, 25)), ("crop", 25))


def known(path, cut, cache) -> Cases:
    """The cases that the made-up runs are tested on."""
    blank, test = np.zeros((CASES, 2, 2, 2), np.uint8), np.full(CASES, "test")
    return Cases(blank, np.arange(CASES) / 10, np.array(NAMES), np.array(GROUPS), test, "da7a", path, "ml")


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.setenv("FEWSCANS_ROOT", str(tmp_path))
    real = registry.dataset
    monkeypatch.setattr(registry, "dataset", lambda name: replace(real(name), cases=known))
    monkeypatch.setattr(registry, "find", lambda name, root: root / name)
    return tmp_path


def finished(project, sizes=SIZES, steps=200, unit=1.0):
    """A finished run as a sweep leaves it: volumes in ml (times `unit`), both sides of 30 people."""
    rng = np.random.default_rng(0)
    target = np.round(3.3 + 0.4 * rng.normal(size=CASES), 3) * unit
    tables, history, records = [], [], []
    for arm, n in sizes:
        trivial, updates = arm == "crop", steps // 4 if arm == "base" else steps
        for seed in range(3):
            noise = unit * {"base": 0.5, "hydra-4": 0.25, "hydra-2": 0.3, "crop": 0.6}[arm] * rng.normal(size=CASES)
            noise[0] = -10 * unit if arm == "base" else 0.0  # nothing forbids a network a negative volume
            for split in ("test",) if trivial else ("test", "test-best"):
                key = {"arm": arm, "n_train": n, "seed": seed, "split": split, "case": NAMES, "group": GROUPS}
                tables.append(pd.DataFrame(key | {"target": target, "prediction": target + noise}))
            record = {"arm": arm, "n_train": n, "seed": seed, "run": RUN, "code": "c0de", "data": "da7a"}
            record |= {"device": "cpu", "torch": "2.13.0", "threads": 1, "parameters": 0 if trivial else 196418}
            if not trivial:
                record |= {"steps": updates, "seconds_wall": 1.5, "n_val": 20, "last_val_loss": 0.4}
                key = {"arm": arm, "n_train": n, "seed": seed, "train_loss": 0.5, "val_loss": 0.4}
                history += [key | {"step": s, "epoch": s / 10} for s in (40, 80)]
            records.append(record)
    (project / "runs").mkdir(exist_ok=True)
    table = project / "runs" / f"{RUN}.parquet"
    pd.concat(tables, ignore_index=True).to_parquet(table, index=False)
    beside(project, RUN, "quick", history, records)
    return table


@pytest.mark.parametrize(("unit", "step"), [(1.0, 1e-5), (1000.0, 0.01), (1e-6, 1e-11), (1e7, 100.0)])
def test_numbers_are_kept_to_a_step_of_their_own_spread(project, unit, step):
    table = pd.read_parquet(finished(project, unit=unit))
    folder = publish(RUN, minimum_seeds=3)
    assert folder == project / "reports" / "published" / "hydranet" / "msd-hippocampus"
    got = load_published("hydranet", "msd-hippocampus")
    assert got.about["step"] == step and "logit_step" not in got.about
    assert got.about["profile"] == "quick" and got.about["real"] and got.about["incomplete"] is None
    assert got.about["arms"] == ["base", "hydra-4", "hydra-2", "crop"]
    columns = ["arm", "n_train", "seed", "split", "case"]
    kept, made = (
        t.astype({c: str for c in ("arm", "split", "case", "group")}).sort_values(columns, ignore_index=True)
        for t in (got.predictions, table)
    )
    np.testing.assert_array_equal(kept["target"], made["target"])
    off = np.abs(kept["prediction"] - made["prediction"])
    assert 0 < off.max() <= step / 2 * (1 + 1e-9)
    assert (kept["prediction"] < 0).any()
    for arm, n in (("base", 12), ("hydra-2", 25), ("crop", 25)):
        there, here = (Resampled(t, "icc").values(arm, n) for t in (got.predictions, table))
        np.testing.assert_allclose(there, here, atol=1e-4)


@given(st.integers(0, 100_000), st.integers(5, 200), st.floats(0, 1.5), st.floats(0, 1), st.floats(-1, 1))
def test_an_icc_moves_by_less_than_a_ten_thousandth(rng, n, slope, noise, bias):
    """Good predictors and bad ones, off by up to a standard deviation, those that say the same of all among them."""
    rng = np.random.default_rng(rng)
    y = rng.lognormal(size=n)
    p = y.mean() + y.std() * (slope * (y - y.mean()) / y.std() + noise * rng.normal(size=n) + bias)
    table = pd.DataFrame({"split": "test", "case": np.arange(n), "target": y})
    step = step_of(table)
    assert y.std(ddof=1) / 100_000 * (1 - 1e-9) <= step <= y.std(ddof=1) / 10_000
    assert abs(agreement(y, rounded_numbers(p, step)) - agreement(y, p)) < 1e-4
    assert abs(agreement(y, rounded_numbers(p, step), "C,1") - agreement(y, p, "C,1")) < 1e-4


def test_a_coarse_step_would_move_it():
    """The bound above can fail."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=60)
    p = y + rng.normal(size=60)
    assert abs(agreement(y, rounded_numbers(p, 0.1)) - agreement(y, p)) > 1e-4


def test_rounding_twice_changes_nothing_and_no_zero_is_negative():
    x = np.array([-1e-9, 0.0, 2.34567, -2.34567, 1e6 + 0.00004])
    once = rounded_numbers(x, 1e-4)
    np.testing.assert_array_equal(rounded_numbers(once, 1e-4), once)
    assert math.copysign(1, once[0]) == 1 and once[2] == 2.3457


def test_publishing_twice_gives_the_same_bytes(project):
    path = finished(project)
    first = {f.name: f.read_bytes() for f in publish(RUN, minimum_seeds=3).iterdir()}
    table = pd.read_parquet(path).sample(frac=1, random_state=0)
    order = {arm: k for k, arm in enumerate(("base", "hydra-4", "hydra-2", "crop"))}
    table.sort_values("arm", key=lambda a: a.map(order), kind="stable").to_parquet(path, index=False)
    assert {f.name: f.read_bytes() for f in publish(RUN, minimum_seeds=3).iterdir()} == first


def test_the_readme_tells_numbers_not_labels_and_whose_they_are(project):
    finished(project)
    text = (publish(RUN, minimum_seeds=3) / "README.md").read_text()
    target = read_run(RUN).predictions["target"]
    assert f"| hydra-2 | 12, 25 | 3 | 60 ({target.min():.4g} to {target.max():.4g}) | 30 |" in text
    assert "test cases (labels)" in text and "positive" not in text and "AUC" not in text and "log-odds" not in text
    assert "predictions are kept to 0.00001 in the label's unit; a score moves by less than 0.0001" in text
    assert "`test-best`" in text and "21 runs, 18 of them networks" in text
    for word in ("CC BY-SA 4.0", "Antonelli", "10.1038/s41467-022-30695-9", "tables of this folder are under"):
        assert word in text, word


def test_a_label_made_from_the_same_masks_has_the_same_licence():
    assert registry.dataset("msd-hippocampus-fraction").attribution == registry.dataset("msd-hippocampus").attribution


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.assign(prediction=t["prediction"].where(t.index != 5, np.nan)), "prediction nan in row 5"),
        (lambda t: t.assign(prediction=t["prediction"].where(t.index != 5, np.inf)), "prediction inf in row 5"),
        (lambda t: t.assign(target=t["target"].where(t.index != 7, -np.inf)), "target -inf in row 7"),
        (lambda t: t.assign(target=t["target"].astype(str)), "column 'target' is .*; it must be numbers"),
        (lambda t: t.assign(target=3.0), "all test targets are 3.0; there is nothing to tell apart"),
        (lambda t: t[t["split"] != "test"], "there are no test cases"),
        (lambda t: t.assign(target=t["target"] + t["seed"]), "seeds 0 and 1 have different targets"),
    ],
)
def test_what_is_no_number_is_refused_and_nothing_is_written(project, change, complaint):
    path = finished(project)
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    with pytest.raises(RunError, match=complaint):
        publish(RUN, minimum_seeds=1)
    assert not (project / "reports").exists()


def claim(name, metric, kind="ordering", line=0.0, claimed="above", n=25, arm="hydra-4"):
    test = ClaimTest(RUN, arm, n, metric, line, claimed, baseline="base")
    return Claim(name, "them", "Table 1", "It is better.", kind, False, (test,))


CLAIMS = Claims(
    (
        claim("icc", "icc"),
        claim("mse", "mse", claimed="below"),
        claim("mae", "mae", claimed="below", arm="hydra-2"),
        claim("factor", "data_efficiency:icc", "ratio", 1.5, "at least", n=12),
        claim("spread", "seed_spread:icc", "ratio", 100.0, "below"),
    ),
    {},
)


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1000.0])
def test_numbers_reach_the_scorecard_whatever_their_unit(project, unit):
    finished(project, unit=unit)
    publish(RUN, minimum_seeds=3)
    rows = {row.id: row for row in scorecard.scorecard(claims=CLAIMS)}
    assert rows["icc"].verdict == "reproduced" and rows["icc"].source == "published, real, quick"
    assert rows["mse"].verdict == "reproduced" or rows["mse"].low < rows["mse"].value < 0
    kept = load_published("hydranet", "msd-hippocampus").predictions
    for score, arm in (("mse", "hydra-4"), ("mae", "hydra-2")):
        table = Resampled(kept, score)
        truth = float(table.values(arm, 25).mean() - table.values("base", 25).mean())
        row = rows[score]
        assert row.value == pytest.approx(truth, rel=1e-3)
        shown = row.ours()
        assert float(shown.split(" (")[0]) == pytest.approx(truth, rel=0.02), shown
        assert "e" not in shown and len(shown) < 60
    assert rows["factor"].ours().count(".") >= 1 and rows["spread"].verdict in ("reproduced", "inconclusive")
    assert rows["factor"].verdict != "not tested" or "the baseline does not gain" in rows["factor"].reason
    others = [row for name, row in rows.items() if name != "factor"]
    assert "were not tested" not in scorecard.markdown(others, CLAIMS)
    counted = scorecard.counts(others)
    assert counted.index.tolist() == [("hydranet, msd-hippocampus", "real", "claims of the paper")]
    assert counted["not tested"].sum() == 0 and counted.to_numpy().sum() == len(others)


def test_the_readme_counts_images_not_their_measures_and_names_the_split_of_an_arm_without_a_test(project):
    cases = [f"person/scan{i}/{measure}" for i in range(3) for measure in ("dice", "hd95")]
    rows = {"n_train": 8, "seed": 0, "case": cases, "group": [case[:12] for case in cases], "target": 1.0}
    arms = (("3D", "val"), ("3D", "test"), ("2D", "test-first"))
    table = pd.concat([pd.DataFrame(rows | {"arm": arm, "split": split}) for arm, split in arms])
    known = {key: ["1"] for key in ("device", "torch", "threads")}
    known |= {key: "x" for key in ("run", "experiment", "profile", "code", "data")}
    about = known | {"dataset": "msd-hippocampus", "twin": True, "arms": ["3D", "2D"], "step": 1e-5, "params": {}}
    text = publishing._readme(about | {"incomplete": None}, table, [{"last_val_loss": 0.1}])
    assert text.startswith("# x on msd-hippocampus-twin\n")
    assert "| 3D | 8 | 1 | 3 (each with 2 measures) | 3 |" in text
    assert "| 2D (test-first) | 8 | 1 | 3 (each with 2 measures) | 3 |" in text
    assert "- splits: `test` is of the network after the last update\n" in text
    nodules = table.assign(case=[f"person{i % 2}/{i}" for i in range(len(table))])
    text = publishing._readme(about | {"incomplete": None}, nodules, [{"last_val_loss": 0.1}])
    assert "measures" not in text, "numbers of nodules, two people"
