"""Tables and figures of metastases on slides say what the tables hold, and are drawn without slides at hand."""

import re

import numpy as np
import pandas as pd
import pytest

from fewscans import results
from fewscans.experiments import camelyon16 as experiment
from fewscans.experiments.camelyon16.arms import SMALL
from fewscans.figures import camelyon16
from fewscans.figures.camelyon16 import AVERAGED
from fewscans.results import Results

from ..experiments import toy_slides
from ..slides.fake import tissue_slide, write_tiff

SKILL = {SMALL: 1.0, AVERAGED: 1.5, "40x": 2.0, "40x20x-small": 2.0, "overview": 0.5}
N, SIZES, SLIDES, SEEDS = 24, (12, 24), 24, 2
SHAPE = (7, 9)  # cells of a heatmap; the first row shows no tissue
KINDS = ("itc", "micro", "macro")
LESIONS = {
    f"test_{i:03d}": [f"test_{i:03d}/{size} {k}" for k, size in enumerate(KINDS[: 1 + i % 3], 1)]
    for i in range(0, SLIDES, 2)
}


def made_up() -> Results:
    """Made-up predictions; `SKILL` is how many standard deviations lie between lesions and other places."""
    names, parts = [f"test_{i:03d}" for i in range(SLIDES)], []
    for arm, skill in SKILL.items():
        for n in SIZES:
            for seed in range(SEEDS):
                rng = np.random.default_rng([seed, n, len(arm)])
                rows = []
                for slide in names:
                    cancer = slide in LESIONS
                    rows.append(("test", slide, slide, cancer, rng.normal(skill * cancer)))
                    if arm != "overview":
                        rows += [("test-lesions", slide, name, 1, rng.normal(skill)) for name in LESIONS.get(slide, [])]
                        rows += [
                            ("test-lesions", slide, f"{slide}/false alarm {k:03d}", 0, rng.normal()) for k in range(3)
                        ]
                    if arm != "overview" and seed == 0 and slide in names[:3]:
                        cells = [(row, column) for row in range(1, SHAPE[0]) for column in range(SHAPE[1])]
                        rows += [
                            ("test-cells", slide, f"{slide}/{r},{c}", r > 4 and cancer, rng.normal()) for r, c in cells
                        ]
                part = pd.DataFrame(rows, columns=["split", "group", "case", "target", "prediction"])
                part["prediction"] = 1 / (1 + np.exp(-part["prediction"]))
                part.loc[(part["split"] == "test-lesions") & (part["prediction"] < 0.5), "prediction"] = 0.0
                parts.append(part.assign(arm=arm, n_train=n, seed=seed, target=part["target"].astype(float)))
    truth = [("scan", slide, "", "") for slide in names]
    for slide, lesions in LESIONS.items():
        truth += [("excluded", slide, "", lesion) for lesion in lesions if "itc" in lesion]
        scored = [lesion for lesion in lesions if "itc" not in lesion]
        truth += [(kind, slide, le, case) for le in scored for kind, case in (("nodule", ""), ("hit", le))]
    reference = pd.DataFrame(truth, columns=["kind", "scan", "nodule", "case"]).assign(malignant=np.nan)
    about = {"run": "camelyon16-camelyon16-twin", "experiment": "camelyon16", "dataset": "camelyon16", "real": False,
             "profile": "paper", "grid": {"patch": 40, "stride": 16}}  # fmt: skip
    return Results(pd.concat(parts, ignore_index=True), pd.DataFrame(), [], about, reference, n_bootstrap=100)


@pytest.fixture(scope="module")
def run():
    return made_up()


def test_a_heatmap_holds_what_its_rows_say_and_nan_where_there_are_none(run):
    maps, truth = (camelyon16.heatmaps(run, SMALL, N, column) for column in ("prediction", "target"))
    assert list(maps) == list(truth) == ["test_000", "test_001", "test_002"]
    rows = run.predictions.query("split == 'test-cells' and arm == @SMALL and n_train == @N").set_index("case")
    for name, heatmap in maps.items():
        assert heatmap.shape == SHAPE and np.isnan(heatmap[0]).all() and np.isfinite(heatmap[1:]).all()
        assert heatmap[3, 5] == rows["prediction"][f"{name}/3,5"] and truth[name][5, 2] == (name != "test_001")
    assert camelyon16.heatmaps(run, "overview", N) == {}


def test_git_keeps_three_figures_with_the_same_bytes_and_no_text_outside(monkeypatch):
    monkeypatch.setattr(results, "published", lambda experiment, name: made_up())
    drawn, again = camelyon16.kept(), camelyon16.kept()
    assert list(drawn) == ["camelyon16_learning_curves", "camelyon16_froc", "camelyon16_heatmaps"]
    for name, picture in drawn.items():
        assert picture.png == again[name].png
        width, height = picture.figure.bbox.size
        for text in (picture.figure._suptitle, *picture.figure.texts, *(axes.title for axes in picture.figure.axes)):
            box = text.get_window_extent()
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()
    headings = [axes.title.get_window_extent() for axes in drawn["camelyon16_heatmaps"].figure.axes[:4]]
    assert all(left.x1 < right.x0 for left, right in zip(headings, headings[1:], strict=False)), "none hides another"


def test_git_keeps_nothing_where_nothing_is_published(monkeypatch):
    monkeypatch.setattr(results, "published", lambda experiment, name: None)
    assert camelyon16.kept() == {}


def test_heatmaps_side_by_side_are_those_of_the_table(run, tmp_path):
    picture = camelyon16.side_by_side(run, [SMALL, "overview", "40x"], N, "heatmaps")
    panels = np.array(picture.figure.axes[:9]).reshape(3, 3)  # the last pair of axes is the bar of colours
    assert [panel.get_title() for panel in panels[0]] == ["lesions", "40X-small", "40X, full width"]
    for line, name in zip(panels, ("test_000", "test_001", "test_002"), strict=True):
        assert line[0].get_ylabel() == name
        for panel, arm, column in zip(line, (SMALL, SMALL, "40x"), ("target", *["prediction"] * 2), strict=True):
            shown = panel.images[0].get_array().filled(np.nan)
            np.testing.assert_array_equal(shown, camelyon16.heatmaps(run, arm, N, column)[name])
    assert picture.provenance["arms"] == [SMALL, "40x"], "one that sees whole slides has no heatmap"
    slide = write_tiff(tmp_path / "a.tif", tissue_slide(448, 400))
    beside = camelyon16.side_by_side(
        run, [SMALL], N, "with slides", paths=dict.fromkeys(("test_000", "test_001", "test_002"), slide)
    )
    assert beside.figure.axes[0].images[0].get_array().shape == (400, 448, 3)


def test_the_share_of_lesions_found_is_listed_by_size(run):
    table = camelyon16.by_size(run, ["40x", SMALL, "tissue"], N)
    sizes = [name.rpartition("/")[2].split()[0] for names in LESIONS.values() for name in names]
    assert list(table.index) == ["40X, full width", "40X-small"]
    names = (("isolated cells", "itc"), ("micrometastases", "micro"), ("macrometastases", "macro"))
    assert list(table.columns) == [f"{name} ({sizes.count(size)})" for name, size in names]
    rows = run.predictions.query("split == 'test-lesions' and arm == @SMALL and n_train == @N")
    found = rows[rows["case"].str.contains("/macro")]["prediction"] > 0
    assert table.loc["40X-small"].iloc[2] == round(found.mean(), 2) and 0 < found.mean() < 1


def test_false_alarms_are_counted_a_slide_over_seeds(run):
    table = camelyon16.false_alarms(run, [SMALL, "overview", AVERAGED], N)
    assert list(table.index) == ["40X-small", "40X-small, mean over 8 orientations"]
    rows = run.predictions.query("split == 'test-lesions' and target == 0 and arm == @SMALL and n_train == @N")
    counts = [(rows.query("seed == @seed")["prediction"] > 0).sum() / SLIDES for seed in range(SEEDS)]
    assert table.loc["40X-small"].tolist() == [round(x, 1) for x in (min(counts), np.mean(counts), max(counts))]


def test_steadiness_lists_the_differences_and_the_slides_that_would_show_them(run):
    table = camelyon16.steadiness(run, [("40x", SMALL), (AVERAGED, SMALL)], N)
    assert len(table) == 6 and table["score"].tolist()[:3] == ["FROC score", "FROC score, negative slides", "AUC"]
    assert table.index[0] == "40X, full width − 40X-small" and set(table["slides"]) == {SLIDES}
    gain = run.gain("40x", SMALL, N, "lesion_froc")
    first = table["difference (95 % interval)"].iloc[0]
    assert float(re.match(r"[−\d.]+", first)[0].replace("−", "-")) == pytest.approx(gain.value, abs=0.01)
    for needed, difference in zip(table["slides needed"], table["difference (95 % interval)"], strict=True):
        assert needed == "more seeds" or (needed <= SLIDES) == ("*" in difference)


def test_slides_are_drawn_in_order_with_outlines_and_a_scale(tmp_path):
    image, scale = camelyon16.overview(write_tiff(tmp_path / "a.tif", tissue_slide(448, 400)), pixels=200)
    assert image.shape == (200, 224, 3) and scale == 2.0
    square = np.array([[10.0, 10], [60, 10], [60, 50], [10, 50]])
    named = {f"slide {k}": image for k in range(3)}
    picture = camelyon16.slides(named, "slides", columns=2, outlines={"slide 1": [square]}, bar=(50, "100 µm"))
    axes = picture.figure.axes
    assert [len(panel.images) for panel in axes] == [1, 1, 1, 0] and picture.provenance["shown"] == list(named)
    assert [len(panel.patches) for panel in axes] == [0, 1, 0, 0]
    np.testing.assert_array_equal(axes[1].patches[0].get_xy()[:4], square)
    assert np.ptp(axes[0].lines[0].get_xdata()) == 50 and axes[0].texts[0].get_text() == "100 µm"
    assert picture.png.startswith(b"\x89PNG")


def test_examples_are_cut_where_the_table_has_hits_misses_and_false_alarms(tmp_path):
    """With a detector that finds the smaller lesion of test_001 and cries once elsewhere."""
    slides = toy_slides.read(tmp_path)
    i = slides.case.tolist().index("test_001")
    heatmap = {k: np.where(slides.cells[k] >= 0, 0.0, np.nan) for k in experiment._tested(slides)}
    hit = tuple(np.argwhere(slides.lesion[i] == 2)[4])
    heatmap[i][hit], heatmap[i][20, 8] = 0.9, 0.8
    run = Results(experiment._tables(toy_slides.run_of(SMALL), SMALL, heatmap, slides), pd.DataFrame(), [], {})
    made = camelyon16.examples(slides, run, SMALL, toy_slides.N, side=32)
    kinds = ["hit, 0.90", "missed micro 2", "missed micro 1", "missed micro 1", "false alarm, 0.80"]
    assert sorted(label.partition("\n")[0] for label in made) == sorted(kinds)
    assert list(made)[0].startswith(kinds[0]) and list(made)[-1].startswith(kinds[-1])
    for kind, (row, column) in ((kinds[0], hit), (kinds[-1], (20, 8))):
        y, x = (16 * place + 8 for place in (row, column))
        expected = toy_slides.image("test_001")[y - 16 : y + 16, x - 16 : x + 16]
        np.testing.assert_array_equal(made[f"{kind}\ntest_001, {row},{column}"], expected)


def test_a_scan_is_shown_dark_where_it_is_sure_of_none_and_grey_where_it_did_not_look(tmp_path):
    heatmap = np.array([[np.nan, 0.0], [0.5, 1.0]], np.float16)
    np.savez_compressed(tmp_path / "a.heatmap.npz", heatmap=heatmap)
    image = camelyon16.scanned(tmp_path / "a.heatmap.npz")
    assert image.shape == (2, 2, 3) and image.dtype == np.uint8 and (image[0, 0] == 232).all()
    brightness = image.sum(axis=2)
    assert brightness[0, 1] < 20 < brightness[1, 0] < brightness[1, 1]
