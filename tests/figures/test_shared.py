"""Figures and tables that several results share: the same bytes for the same tables, nothing cut off or left out."""

import dataclasses
import io
import json
import math

import matplotlib
import pytest
from PIL import Image

from fewscans import claims, experiments
from fewscans.figures import curves, froc, tables
from fewscans.figures.style import columns_for
from fewscans.scorecard import Row
from fewscans.stats import Estimate

from .worlds import SIZES, world

MARKERS = ("o", "s", "^", "D", "v")
SPACE = ("Z3", "D4", "D4h", "O", "Oh")


@pytest.fixture(scope="module")
def plane():
    return world()


@pytest.fixture(scope="module")
def scans():
    return world("luna16", SPACE, real=False)


def draw(results):
    """Several kinds of panels in one figure, with as much text as there is anywhere."""
    table = claims.load().table("winkels-cohen-2019", "Table 2")
    paper = curves.paper_table(table, {arm: results.arm(arm) for arm in table}, "overall FROC score")
    arms = [arm for arm in ("p4", "p4m", *SPACE[1:]) if arm in results.arms]
    plain = next(arm for arm in ("Z2", "Z3") if arm in results.arms)
    panels = [kind(results, arms, plain) for kind in (curves.gains, curves.factors)]
    return curves.over_n([paper, *panels], "The paper, gains and factors", "A note. " * 30)


@pytest.fixture(scope="module")
def drawn(plane, scans):
    return {"plane": draw(plane), "scans": draw(scans)}


@pytest.mark.parametrize("dataset", ["plane", "scans"])
def test_the_same_tables_give_the_same_bytes(dataset, drawn, request):
    results = request.getfixturevalue(dataset)
    again = dataclasses.replace(results, _resampled={})
    assert drawn[dataset].png == draw(again).png
    shown = [froc.froc(some, SPACE[:2], [30], "FROC").png for some in (results, again) if some.reference is not None]
    assert len(set(shown)) <= 1


def test_a_user_s_own_matplotlib_settings_change_no_byte(plane, drawn):
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.bbox": "tight"}):
        assert draw(plane).png == drawn["plane"].png


def test_a_saved_figure_says_what_it_was_made_from_and_not_when(plane, drawn, tmp_path):
    path = drawn["plane"].save(tmp_path / "sub" / "a.png")
    text, before = Image.open(path).text, path.stat().st_mtime_ns
    (source,) = {json.dumps(source) for source in json.loads(text["fewscans"])["sources"]}
    assert json.loads(source) == plane.provenance | {"n_bootstrap": 100}
    assert text["Title"] == "The paper, gains and factors" and not {"Creation Time", "Software"} & set(text)
    assert drawn["plane"].save(path).stat().st_mtime_ns == before, "the same bytes are not written again"


def test_what_a_notebook_shows_is_what_is_saved(drawn):
    picture = drawn["plane"]
    png, size = picture._repr_png_()
    assert png == picture.png and size["alt"] == picture.title
    assert Image.open(io.BytesIO(png)).size[0] / size["width"] > 1.5, "fine enough for a screen with small pixels"


def test_ours_are_filled_and_a_paper_s_are_hollow(drawn):
    panels = drawn["plane"].figure.axes[:2]
    paper, ours = (
        {line.get_markerfacecolor() for line in axes.lines if line.get_marker() in MARKERS} for axes in panels
    )
    assert paper == {"white"} and "white" not in ours


@pytest.mark.parametrize("dataset", ["plane", "scans"])
def test_no_text_and_no_marker_is_cut_off(dataset, drawn):
    figure = drawn[dataset].figure
    assert drawn[dataset].png, "drawn, so that everything has its place"
    width, height = figure.get_size_inches() * figure.dpi
    renderer = figure.canvas.get_renderer()
    texts = [figure._suptitle, *figure.texts, *figure.legends]
    texts += [text for axes in figure.axes for text in (axes._left_title, axes.yaxis.label, axes.xaxis.label)]
    for text in texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text
    for axes in figure.axes:
        left, right = axes.get_xlim()
        assert all(left < x < right for line in axes.lines if line.get_marker() in MARKERS for x in line.get_xdata())


def test_a_legend_too_wide_for_three_columns_has_fewer():
    assert columns_for(["a", "b", "c"]) == 3 and columns_for(["a"]) == 1
    assert columns_for(["G-CNN Oh (48, mirrors too)"] * 6) == 2 and columns_for(["x" * 60] * 2) == 1


def test_an_interval_that_the_data_do_not_bound_ends_in_an_arrow():
    far = world(strength=lambda arm, n: 0.4 + 0.3 * math.log10(n) + 2.0 * (arm == "p4m"))
    table = curves.factors(far, ("p4m",), "Z2").table
    assert list(table["n_train"]) == [30, 100], "at its own largest size the baseline can show nothing above 1"
    assert set(table["censored"]) == {"high"} and table["high"].map(math.isinf).all()
    (axes,) = curves.over_n([curves.factors(far, ("p4m",), "Z2")], "Factors").figure.axes
    assert sum(line.get_marker() == "^" for line in axes.lines) == 2
    assert not any(len(line.get_xdata()) == 2 and line.get_linestyle() == "-" and len(set(line.get_xdata())) == 2
                   for line in axes.lines), "bounds are not joined by a line"  # fmt: skip


def test_a_figure_of_nothing_is_an_error(plane):
    with pytest.raises(ValueError, match="nothing to draw for 'Empty'"):
        curves.over_n([curves.scores(plane, ["Oh"])], "Empty")


def test_an_asterisk_marks_an_interval_that_excludes_0():
    assert tables.text(Estimate(0.02, 0.01, 0.03), star=True) == "0.020* (0.010 to 0.030)"
    assert tables.text(Estimate(-0.02, -0.03, 0.01), 2, star=True) == "−0.02 (−0.03 to 0.01)"
    assert tables.text(Estimate(6.2, 6.2, math.inf, censored="high"), 1) == "> 6.2 (6.2 to ∞)"


def test_a_table_has_a_row_an_arm_and_a_column_a_size_in_the_order_asked_for(plane):
    shown = tables.scores(plane, ["p4m", "Z2", "absent"])
    assert list(shown.index) == ["G-CNN p4m (turns, mirrors)", "plain CNN"]
    assert list(shown.columns) == [f"N = {n}" for n in SIZES]
    assert shown.loc["plain CNN", "N = 30"] == tables.text(plane.score("Z2", 30))
    assert tables.gains(plane, ["p4m"], "Z2").map(lambda cell: "*" in cell).all(axis=None)


def test_seconds_are_shown_of_published_runs_alone(plane):
    assert "CPU seconds a run" in tables.cost(plane)
    assert "CPU seconds a run" not in tables.cost(dataclasses.replace(plane, published=False))


def test_epochs_are_those_of_the_baseline_s_best_loss_with_an_interval_where_the_seeds_give_one(plane):
    few, many = (tables.speed(some, ["p4m", "absent"], "Z2") for some in (plane, world(arms=("Z2", "p4m"), seeds=6)))
    assert few.loc["G-CNN p4m (turns, mirrors)", "N = 30"] == "0.50 (0.00 to ∞); 100%"
    assert many.loc["G-CNN p4m (turns, mirrors)", "N = 30"] == "0.50 (0.50 to 0.50); 100%"


def test_metrics_are_json_without_infinities(plane):
    metrics = tables.metrics(plane, ["p4", "p4m"], "Z2")
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert metrics["auc"]["p4m"]["30"]["value"] > metrics["auc"]["Z2"]["30"]["value"]
    assert set(metrics["factor"]["p4m"]) == {"30", "100"}


def test_detection_needs_to_know_where_the_lesions_are(plane, scans):
    d = froc.density(scans)
    assert (d["scans"], d["lesions"]) == (21, 61)
    assert d["false candidates a scan"] == pytest.approx(60 / 21)
    with pytest.raises(ValueError, match="hold no reference"):
        froc.froc(plane, ["Z2"], [30], "FROC")


def test_no_two_arms_of_a_figure_look_the_same():
    for name in experiments.names():
        arms = experiments.get(name).ARMS
        drawn = [arm for arm in arms if not arm.startswith(("Z2", "p4"))]  # plane and space are never drawn together
        for some in (drawn, [arm for arm in arms if arm not in drawn]):
            looks = {(arms[arm].colour, arms[arm].marker, arms[arm].line) for arm in some}
            assert len(looks) == len(some), name


def test_p_values_of_claims_follow_from_their_intervals_and_are_corrected_for_their_number():
    fields = {f.name: None for f in dataclasses.fields(Row)} | {"kind": "ordering", "metric": "auc", "line": 0.0}
    gain = Row(**fields | {"value": 0.2, "low": 0.0, "high": 0.4})
    factor = dataclasses.replace(gain, metric="data_efficiency:auc", line=1.0, value=2.0, low=1.0, high=4.0)
    others = [dataclasses.replace(gain, kind="value"), dataclasses.replace(factor, high=None), Row(**fields)]
    others.append(dataclasses.replace(factor, low=0.0))
    table = tables.corrected([gain, factor, *others])
    assert table["p"].tolist() == [0.05, 0.05] and table["p, Holm"].tolist() == [0.1, 0.1]
    assert tables.corrected(others).empty
