"""Tables and figures of chest X-rays say what the prediction tables hold; only images of the same copy are drawn."""

import numpy as np
import pandas as pd
import pytest

from fewscans import results
from fewscans.data import radiographs
from fewscans.data.base import Cases
from fewscans.data.radiographs import Box
from fewscans.experiments.curriculum import Grid, _folds
from fewscans.experiments.curriculum import places as scored
from fewscans.experiments.curriculum.arms import ARMS, CURRICULUM
from fewscans.figures import curriculum as cxr
from fewscans.results import Results
from fewscans.stats.auc import auc, delong_test
from fewscans.stats.cells import COLUMNS
from fewscans.widgets import maps

FINDINGS, SIZES, SEEDS, IMAGES, SIDE, N = ("nodule", "effusion"), (100, 300), 2, 60, 32, 300
REAL = ("opacity", "pneumonia")
SKILL = {"baseline": 1.0, CURRICULUM: 1.6, "baseline-compute": 1.1, "histogram": 0.2, "prior": 0.0}


def xrays(findings=FINDINGS) -> Cases:
    """Test images with a box a finding, but for pneumonia, in half of them; patients 0 to 9 have two images each."""
    rng = np.random.default_rng(0)
    labels = rng.random((IMAGES, len(findings))) < 0.5
    boxes = [[Box(f, 0.1 + 0.3 * k, 0.2, 0.3, 0.4) for k, f in enumerate(findings) if has[k] and f != "pneumonia"]
             for has in labels]  # fmt: skip
    case = np.array([f"image{i:02d}" for i in range(IMAGES)])
    group = np.array([f"patient{i % 50:02d}" for i in range(IMAGES)])
    about = radiographs.about(dict(zip(findings, labels.T, strict=True)), boxes)
    images = rng.integers(0, 256, (IMAGES, SIDE, SIDE)).astype(np.uint8)
    return Cases(
        images, labels.any(axis=1).astype(int), case, group, np.full(IMAGES, "test"), "da7a", None, about=about
    )


def made_up(arms=SKILL, findings=FINDINGS, seeds=SEEDS) -> Results:
    """Made-up predictions on `xrays`; `SKILL` is how many standard deviations lie between the classes."""
    cases, parts, history = xrays(findings), [], []
    labels = radiographs.labels(cases, findings)
    boxed = radiographs.boxed(cases, findings)
    boxes = radiographs.boxes(cases, boxed)
    names = scored.lesion_names(cases, boxes)
    for key in ((arm, n, seed) for arm in arms for n in SIZES for seed in range(seeds)):
        arm, n, seed = key
        skill, rng = arms[arm] * n / N, np.random.default_rng([seed, n, sum(map(ord, arm))])
        p = 1 / (1 + np.exp(-rng.normal(skill * (2 * labels - 1))))
        rows = []
        for i, k in np.ndindex(labels.shape):
            name = f"{cases.case[i]}/{findings[k]}"
            rows += [(split, name, cases.group[i], labels[i, k], p[i, k]) for split in ("test", "test-style", "val")]
            if findings[k] in boxed:
                rows.append(("test-lesions", f"{name} elsewhere 1", cases.case[i], 0, rng.random()))
            if findings[k] in boxed and labels[i, k]:
                rows.append(("test-pointing", name, cases.group[i], 1, float(rng.random() < 0.5)))
            if seed == 0 and i < 20 and not ARMS[arm].trivial:
                rows += [
                    ("test-cells", f"{name}/{r},{c}", cases.group[i], 0, rng.random()) for r, c in np.ndindex(2, 3)
                ]
        rows += [
            ("test-lesions", name, cases.case[i], 1, rng.random())
            for name, i in zip(names, boxes["image"], strict=True)
        ]
        part = pd.DataFrame(rows, columns=["split", "case", "group", "target", "prediction"]).astype({"target": float})
        parts.append(part.assign(arm=arm, n_train=n, seed=seed))
        if not ARMS[arm].trivial:
            for i in range(1, 9):
                scores = (20.0 * i, 0.6 + 0.02 * skill * i + 0.05 * seed, 0.5 + 0.03 * i)
                history.append((*key, 20 * i, i, 0.5, 0.7 - 0.02 * i, *scores))
    columns = "arm n_train seed step epoch train_loss val_loss compute val_auc val_accuracy".split()
    grid = {"patch_steps": 80, "patch": 32, "size": 64}
    about = {"run": "curriculum-vindr-cxr-twin", "experiment": "curriculum", "dataset": "vindr-cxr", "real": False}
    about |= {"profile": "long", "data": "da7a", "params": grid}
    reference = scored.truth(cases, findings)
    predictions = pd.concat(parts, ignore_index=True)[list(COLUMNS)]
    return Results(predictions, pd.DataFrame(history, columns=columns), [], about, reference, True, n_bootstrap=100)


@pytest.fixture(scope="module")
def run():
    return made_up()


@pytest.fixture(scope="module")
def cases():
    return xrays()


@pytest.fixture(scope="module")
def real():
    return made_up(findings=REAL)


def rows(run, split, arm, finding):
    table = run.predictions.query("split == @split and arm == @arm and n_train == @N")
    return table[table["case"].str.endswith(f"/{finding}")]


def test_patches_end_where_their_share_of_whole_images_is_used_up(run):
    assert cxr.patches_end(run) == 80 * (32 / 64) ** 2


def test_learning_curves_are_means_over_seeds_with_a_band_from_lowest_to_highest(run):
    panels = cxr.learning(run, N, ["baseline", CURRICULUM], "curves").figure.axes
    assert [panel.get_title(loc="left") for panel in panels] == list(cxr.MEASURED.values())
    table = run.history.query("arm == @CURRICULUM and n_train == @N").groupby("compute")["val_auc"]
    line = panels[2].lines[1]
    np.testing.assert_allclose(line.get_ydata(), table.mean(), atol=1e-4)
    np.testing.assert_allclose(line.get_xdata(), table.mean().index)
    band = panels[2].collections[1].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose((band.min(), band.max()), (table.min().min(), table.max().max()), atol=1e-4)
    assert [mark.get_xdata()[0] for mark in panels[0].lines if mark.get_linestyle() == ":"] == [cxr.patches_end(run)]


def test_aucs_have_a_panel_a_finding_and_their_mean_grey_for_arms_without_network_and_no_constant_arm(run, real):
    panels = cxr.aucs(run, N, [*SKILL, "joint"], "AUC").figure.axes
    assert [panel.get_title(loc="left") for panel in panels] == [*FINDINGS, "mean of findings"]
    for panel, score in zip(panels, ("auc:nodule", "auc:effusion", "mean_auc"), strict=True):
        dots = [line for line in panel.lines if len(line.get_xdata()) == 1]
        assert [dot.get_xdata()[0] for dot in dots] == [
            run.score(arm, N, score).value for arm in SKILL if arm != "prior"
        ]
        assert [dot.get_color() == cxr.GREY for dot in dots] == [False, False, False, True]
    panels = cxr.aucs(real, N, SKILL, "AUC").figure.axes
    assert [panel.get_title(loc="left") for panel in panels] == list(REAL), "two readings have no mean"
    assert cxr.main_score(real) == "auc:opacity" and cxr.main_score(run) == "mean_auc"


def test_examples_are_hits_then_misses_of_the_images_whose_maps_are_kept(run, cases):
    kept = cxr.maps(run, CURRICULUM, N)
    cell = run.predictions.query("split == 'test-cells' and arm == @CURRICULUM and n_train == @N").set_index("case")
    for (image, finding), coarse in kept.items():
        assert coarse.shape == (2, 3) and coarse[1, 2] == cell.loc[f"{image}/{finding}/1,2", "prediction"]
    for finding, chosen in cxr.examples(run, CURRICULUM, N).items():
        assert [hit for _, hit in chosen] == [True, True, False, False]
        hits = rows(run, "test-pointing", CURRICULUM, finding).query("seed == 0").set_index("case")["prediction"]
        assert all((image, finding) in kept and hits[f"{image}/{finding}"] == hit for image, hit in chosen)
    assert cxr.maps(run, "prior", N) == {}, "an arm without a network keeps none"


def test_a_finding_without_complete_boxes_has_maps_but_is_neither_an_example_nor_localised(real):
    assert {finding for _, finding in cxr.maps(real, CURRICULUM, N)} == set(REAL)
    assert list(cxr.examples(real, CURRICULUM, N)) == ["opacity"]
    picture = cxr.places(real, xrays(REAL), [CURRICULUM], N, "places")
    note = picture.figure.texts[-1].get_text().replace("\n", " ")
    hits = real.predictions.query("split == 'test-pointing' and arm == @CURRICULUM and n_train == @N")
    assert hits["case"].str.endswith("/opacity").all()
    assert (
        len(picture.figure.axes) == 4 and f": {100 * hits.groupby('seed')['prediction'].mean().mean():.0f} % (" in note
    )
    table = cxr.localisation(real, [CURRICULUM, "histogram"], N)
    assert table.iloc[0, 0].startswith(f"{1 - hits.groupby('seed')['prediction'].mean().mean():.2f} (")


def test_x_rays_are_drawn_with_boxes_where_readers_saw_the_finding_and_a_cross_at_the_peak(run, cases):
    picture, kept = cxr.places(run, cases, [CURRICULUM, "baseline"], N, "places"), cxr.maps(run, CURRICULUM, N)
    panels = np.array(picture.figure.axes).reshape(4, 4)
    assert [line[0].get_ylabel().partition("\n")[0] for line in panels] == [f for f in FINDINGS for _ in range(2)]
    assert [panel.get_title() for panel in panels[0]] == ["hit", "hit", "miss", "miss"]
    for line, finding in zip(panels[::2], FINDINGS, strict=True):
        for panel, image in zip(line, picture.provenance["shown"][finding], strict=True):
            i = list(cases.case).index(image)
            np.testing.assert_array_equal(panel.images[0].get_array(), cases.images[i])
            box = panel.patches[0].get_bbox()
            left = 0.1 + 0.3 * FINDINGS.index(finding)
            assert len(panel.patches) == 1 and box.x0 == pytest.approx(left * SIDE - 0.5)
            assert box.height == pytest.approx(0.4 * SIDE)
            row, column = np.argwhere(kept[image, finding] == kept[image, finding].max())[0]
            x, y = panel.lines[0].get_xydata()[0] + 0.5
            assert column * SIDE / 3 <= x <= (column + 1) * SIDE / 3 and row * SIDE / 2 <= y <= (row + 1) * SIDE / 2
            glow = panel.images[1].get_alpha()
            assert glow.min() == 0 and glow[int(y), int(x)] > 0.9 * glow.max()


def test_a_gallery_shows_all_images_at_one_scale_of_grey_with_the_boxes_of_the_findings_named(cases):
    chosen = [int(i) for i in np.flatnonzero(radiographs.labels(cases, FINDINGS).all(axis=1))[:6]]
    boxes = [cxr.boxes_of(cases, i, ["effusion"]) for i in chosen]
    panels = cxr.gallery(cases.images[chosen], [f"image {i}" for i in chosen], "X-rays", boxes=boxes).figure.axes
    assert [len(panel.images) for panel in panels] == [1] * 6 + [0] * 4
    assert len({panel.images[0].get_clim() for panel in panels[:6]}) == 1
    assert [panel.patches[0].get_bbox().x0 for panel in panels[:6]] == pytest.approx([0.4 * SIDE - 0.5] * 6)


def test_a_patch_is_the_window_around_the_first_single_box_and_grows_with_it(cases):
    for side, wide in ((0.6, 0.6), (0.2, 0.48)):
        picture = cxr.idea(cases, "effusion", side, "idea")
        whole, patch = picture.figure.axes
        i = list(cases.case).index(picture.provenance["shown"])
        assert len(cxr.boxes_of(cases, i, ["effusion"])) == 1 and len(whole.patches) == 2
        window, (left, right), (low, up) = whole.patches[1].get_bbox(), patch.get_xlim(), patch.get_ylim()
        assert (left, right, up, low) == pytest.approx((window.x0, window.x1, window.y0, window.y1))
        assert right - left == pytest.approx(wide * SIDE)
        assert left < 0.4 * SIDE - 0.5 and right > 0.7 * SIDE - 0.5 and left >= -0.5


def test_x_rays_of_another_copy_are_refused(run, cases):
    other = xrays()
    object.__setattr__(other, "fingerprint", "0ther")
    with pytest.raises(ValueError, match="not those"):
        cxr.places(run, other, [CURRICULUM], N, "places")
    with pytest.raises(ValueError, match="not those"):
        maps.browser(run, other, CURRICULUM, N)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_sliders_redraw_the_picture_and_draw_the_outline_only_where_the_map_crosses_the_threshold(run, cases):
    box = maps.browser(run, cases, CURRICULUM, N)
    image, finding, threshold, shown = box.children
    pictures = [shown.value]
    for control, value in ((image, image.options[1]), (finding, "effusion"), (threshold, 0.99)):
        control.value = value
        pictures.append(shown.value)
    assert len(set(pictures)) == 4
    coarse = np.array([[0.2, 0.4], [0.6, 0.8]])
    outlines = [len(cxr.single(cases, "image00", "nodule", coarse, t).figure.axes[0].collections) for t in (0.5, 0.9)]
    assert outlines == [1, 0]


def test_a_score_is_listed_for_the_splits_that_the_table_has(run):
    table = cxr.across(run, SKILL, N, "mean_auc", {"test": "seen", "test-AP": "AP", "test-style": "new"})
    assert list(table.columns) == ["seen", "new"] and list(table.index) == [ARMS[arm].label for arm in SKILL]
    assert table.loc["grey values", "new"].startswith(
        f"{run.score('histogram', N, 'mean_auc', 'test-style').value:.3f}"
    )


def test_differences_are_paired_and_stand_beside_those_of_single_seeds(run):
    scores = {"AUC": ("auc:nodule", "test"), "misses": ("mae", "test-pointing")}
    table = cxr.differences(run, CURRICULUM, ["baseline", "joint"], N, scores)
    assert table.index.tolist() == [("AUC", "minus whole images only"), ("misses", "minus whole images only")]
    for seed in range(SEEDS):
        some = [rows(run, "test", arm, "nodule") for arm in (CURRICULUM, "baseline")]
        one, two = (auc(*t[t["seed"] == seed][["target", "prediction"]].to_numpy().T) for t in some)
        assert float(table.iloc[0, 1 + seed].replace("−", "-")) == pytest.approx(one - two, abs=6e-4)
    gain = run.gain(CURRICULUM, "baseline", N, "mae", "test-pointing").value
    assert table.iloc[1, 0].startswith(f"{gain:.3f}".replace("-", "−"))


def test_pairs_within_a_part_are_those_that_one_network_scored(run, cases):
    grid = Grid(arms={"baseline": (N,)}, seeds=SEEDS, steps=1, eval_every=1, learning_rates=(0.1,), findings=FINDINGS,
                folds=3)  # fmt: skip
    shifted, means = run.predictions.copy(), []
    names = shifted["case"].astype(str).str.partition("/")[0]
    for seed in range(SEEDS):
        part = _folds(cases.group, radiographs.labels(cases, FINDINGS)[:, 0], 3, seed)
        of = names.map(dict(zip(cases.case, part, strict=True))).fillna(0)
        here = (shifted["seed"] == seed) & (shifted["split"] == "test")
        shifted.loc[here, "prediction"] = (shifted["prediction"] + of)[here] / 3  # networks at different levels
        mine = rows(run, "test", "baseline", "nodule").query("seed == @seed")
        y, p, k = *mine[["target", "prediction"]].to_numpy().T, of[mine.index].to_numpy()
        pairs = [(i, j) for i in np.flatnonzero(y == 1) for j in np.flatnonzero(y == 0) if k[i] == k[j]]
        means.append(np.mean([p[i] > p[j] for i, j in pairs]))
    other = Results(shifted, run.history, [], run.about, n_bootstrap=100)
    table = cxr.within_folds(other, cases, grid, ["baseline"], N)
    assert table.iloc[0, 1] == f"{np.mean(means):.3f}"
    assert table.iloc[0, 0].startswith(f"{other.score('baseline', N, 'auc:nodule').value:.3f} (")
    assert other.score("baseline", N, "auc:nodule").value < np.mean(means) - 0.05


def test_localisation_lists_misses_and_boxes_found(run):
    table = cxr.localisation(run, ["baseline", "prior", "centre"], N)
    assert list(table.index) == ["whole images only", "where boxes are most often"] and table.shape[1] == 4
    hits = run.predictions.query("split == 'test-pointing' and arm == 'prior' and n_train == @N").groupby("seed")
    assert table.iloc[1, 0].startswith(f"{1 - hits['prediction'].mean().mean():.2f} (")
    assert table.iloc[0, 3].startswith(f"{run.score('baseline', N, 'lesion_froc@0.2').value:.2f} (")


def test_speed_says_who_reached_the_goal(run):
    slow = made_up({"baseline": 1.0, CURRICULUM: 1.6, "joint": 0.1})
    table = cxr.speed(slow, [CURRICULUM, "joint", "random-patches"], "baseline", N, 0.7)
    assert table.iloc[0, 0].startswith("0.73 (") and table.iloc[0, 1:].tolist() == ["100%", "100%"]
    assert table.iloc[1, 1:].tolist() == ["0%", "100%"] and table.iloc[1, 0].startswith("> ")
    assert "too few seeds" in cxr.speed(slow, ["joint"], "joint", N, 0.9).iloc[0, 0]


def test_youden_s_threshold_is_the_best_of_all_and_keeps_ties_together():
    rng = np.random.default_rng(0)
    for _ in range(20):
        target, p = rng.integers(0, 2, 40), rng.integers(0, 8, 40) / 8
        gain = {t: (p[target == 1] >= t).mean() - (p[target == 0] >= t).mean() for t in np.unique(p)}
        assert gain[cxr.youden(target, p)] == pytest.approx(max(gain.values()))


def test_operating_points_come_from_validation_rows_and_are_scored_on_test_images(run):
    table = cxr.operating(run, CURRICULUM, N)
    assert list(table.index) == list(FINDINGS)
    for finding, row in table.iterrows():
        val, test = (rows(run, split, CURRICULUM, finding) for split in ("val", "test"))
        assert row["threshold"] == round(cxr.youden(val["target"].to_numpy(), val["prediction"].to_numpy()), 3)
        found = test["prediction"] >= cxr.youden(val["target"].to_numpy(), val["prediction"].to_numpy())
        assert row["sensitivity"] == round(found[test["target"] == 1].mean(), 3)
        assert row["specificity"] == round((~found[test["target"] == 0]).mean(), 3)
        assert row["images with it"] + row["without"] == IMAGES and 0 < row["sensitivity"] < 1
    without = Results(run.predictions[run.predictions["split"] != "val"], run.history, [], run.about)
    assert cxr.operating(without, CURRICULUM, N).empty


def test_delong_s_test_is_of_one_image_a_patient_with_p_corrected(run, cases):
    table = cxr.delong(run, CURRICULUM, "baseline", N)
    first = set(cases.case[:50])
    for finding in FINDINGS:
        means = {}
        for arm in (CURRICULUM, "baseline"):
            test = rows(run, "test", arm, finding)
            test = test[test["case"].str.rpartition("/")[0].isin(first)]
            means[arm] = test.groupby("case")[["target", "prediction"]].mean()
        expected = delong_test(means[CURRICULUM]["target"], *(m["prediction"] for m in means.values()))
        assert table.loc[finding, "patients"] == 50 and table.loc[finding, "p"] == round(expected[3], 4)
        assert table.loc[finding, ARMS[CURRICULUM].label] == round(auc(*means[CURRICULUM].to_numpy().T), 3)
    assert table["p, Holm"].max() <= 1 and table["p, Holm"].min() == pytest.approx(
        min(1, 2 * table["p"].min()), abs=1e-4
    )


def test_git_keeps_figures_with_the_same_bytes_and_no_text_outside(monkeypatch):
    monkeypatch.setattr(results, "published", lambda *args: made_up() if args[1] == "vindr-cxr-twin" else None)
    drawn, again = cxr.kept(), cxr.kept()
    assert list(drawn) == ["cxr_twin_learning", "cxr_twin_aucs", "cxr_twin_over_n"]
    for name, picture in drawn.items():
        assert picture.png == again[name].png
        width, height = picture.figure.bbox.size
        for text in (picture.figure._suptitle, *picture.figure.texts, *(axes.title for axes in picture.figure.axes)):
            box = text.get_window_extent()
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()
    monkeypatch.setattr(results, "published", lambda *args: None)
    assert cxr.kept() == {}
