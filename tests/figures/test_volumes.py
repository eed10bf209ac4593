"""Tables and figures of slices against volumes say what the tables hold."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fewscans import claims
from fewscans.experiments.volumes.arms import ARMS
from fewscans.figures import tables, volumes
from fewscans.figures.style import Picture
from fewscans.results import Results

SKILL = {"3D": 0.05, "2D": 0.02, "ensemble": 0.06, "3D-thick": 0.01, "2D-thick": 0.03, "atlas": -0.1}


@pytest.fixture(scope="module")
def results() -> Results:
    """Made-up measures of 20 cases of 10 people: an arm's Dice is 0.8 and its skill, less on thick slices."""
    rows, records = [], []
    for arm in SKILL:
        for n in (8, 32, 128):
            for seed in range(3):
                rng = np.random.default_rng([seed, n, len(arm)])
                records.append({"arm": arm, "n_train": n, "seed": seed, "learning_rate": 1e-3, "failed": False})
                if arm in ("3D", "3D-thick"):
                    one = {"parameters": 350_000, "macs": 1.2e9, "seconds": 100.0 + seed}
                    records[-1] |= {
                        f"{key}_{net}": v * (1 + (net == "z")) for net in ("volume", "z") for key, v in one.items()
                    }
                for split in ("test", "test-thick"):
                    for case in range(20):
                        dice = 0.8 + SKILL[arm] + rng.normal(0, 0.02) - 0.1 * (split == "test-thick")
                        of = {"dice": (1.0, dice), "consistency-z": (0.75, 0.75 + SKILL[arm] - 0.06)}
                        for part, ml in (("anterior", 1.7), ("posterior", 1.5)):
                            of |= {f"dice-{part}": (1.0, dice), f"hd95-{part}": (0.0, 5 * (1 - dice))}
                            of |= {f"surface-{part}": (1.0, dice), f"volume-{part}": (ml, ml + rng.normal(0, 0.1))}
                        rows += [(arm, n, seed, split, f"c{case:02d}/{k}", f"p{case // 2}", *v) for k, v in of.items()]
    columns = ["arm", "n_train", "seed", "split", "case", "group", "target", "prediction"]
    about = {"run": "volumes-msd-hippocampus", "experiment": "volumes", "dataset": "msd-hippocampus", "real": True,
             "profile": None, "seeds": [0, 1, 2]}  # fmt: skip
    history = pd.DataFrame(columns=["arm", "n_train", "seed", "step", "epoch", "train_loss", "val_loss"])
    return Results(pd.DataFrame(rows, columns=columns), history, records, about, n_bootstrap=100)


def test_the_table_has_a_row_an_arm_and_every_measure_with_its_interval(results):
    table = volumes.measures(results, ["3D", "2D", "no arm"], 128)
    assert list(table.index) == ["3D U-Net", "2D U-Net (axial)"]
    shown = table[("Dice", "anterior")].iloc[0]
    assert float(shown.partition(" ")[0]) == pytest.approx(0.85, abs=0.01) and " to " in shown
    assert len(table.columns) == 9 and not table.isna().any().any()


def test_sizes_of_the_test_set_are_cases_not_rows(results):
    assert results.test_set == {"cases": 20, "groups": 10, "seeds": 3}
    assert results.score_name == "mean:dice"


def test_costs_are_told_network_by_network_and_seconds_only_of_what_is_published(results):
    columns = ["parameters", "multiply-adds", "CPU seconds of training"]
    assert volumes.costs(results).columns.tolist() == columns[:2]
    table = volumes.costs(replace(results, published=True))
    thick = ARMS["3D-thick"].label
    assert table.index.tolist() == [(arm, on) for arm in ("3D U-Net", thick) for on in ("volumes", "axial slices")]
    assert table.columns.tolist() == columns
    assert table.loc[("3D U-Net", "axial slices")].tolist() == [700_000, 2.4e9, 202]


def test_power_is_told_for_measures_of_masks_too(results):
    test = claims.Test("volumes-msd-hippocampus", "3D", 32, "mean:dice-anterior", 0.0, claimed="above", baseline="2D")
    shown = tables.power(results, {"anterior": test}, {"anterior": 5}, 10)
    gain = results.gain("3D", "2D", 32, "mean:dice-anterior")
    assert float(shown.iloc[0, 0].partition(" ")[0]) == pytest.approx(gain.value, abs=1e-3)


def test_gains_over_n_are_drawn_for_each_label(results):
    picture = volumes.gain_over_n(results)
    assert isinstance(picture, Picture) and [axes.get_title(loc="left") for axes in picture.figure.axes] == [
        "anterior", "posterior"
    ]  # fmt: skip


def test_thick_slices_are_drawn_for_the_pairs_that_were_scored(results):
    panels = volumes.thick(results).figure.axes
    headings = [panel.get_title(loc="left") or panel.get_title() for panel in panels]
    assert headings == ["trained on 1 mm\nN = 128", "trained on 1 mm\nN = 32", "trained on 3 mm\nN = 32"]
    bare = Results(results.predictions.query("split == 'test'"), results.history, results.records, results.about)
    with pytest.raises(ValueError, match="no pair of arms"):
        volumes.thick(bare)


def test_consistency_has_a_line_an_arm(results):
    (axes,) = volumes.consistency(results, 128).figure.axes
    assert len(axes.get_yticklabels()) == len(SKILL)


def test_planes_outline_truth_and_prediction(results):
    truth = np.zeros((12, 16, 10), int)
    truth[3:8, 3:8, 3:8], truth[3:8, 8:12, 3:8] = 1, 2
    masks = {"2D": np.roll(truth, 1, 0), "3D": truth}
    picture = volumes.planes(np.random.default_rng(0).normal(size=truth.shape), truth, masks, "One case")
    assert len(picture.figure.axes) == 6 and len(picture.png) > 1000
