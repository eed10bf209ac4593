"""Figures say what the tables say, look alike, and come out the same bytes wherever they are drawn."""

import dataclasses
import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fewscans import paths
from fewscans.data.luna16_patches import Patches
from fewscans.experiments import arms, gcnn
from fewscans.figures import (
    calibration,
    comparisons,
    cost,
    curves,
    demonstration,
    efficiency,
    equivariance,
    filters,
    published,
    sources,
    wording,
    workbook,
)
from fewscans.figures import patches as pictures
from fewscans.figures.arms import ARM_COLOURS, filled, hollow
from fewscans.figures.sources import Source
from fewscans.groups import Group
from fewscans.nn.gcnn import NoduleNet
from fewscans.nn.gconv import GroupConv
from fewscans.stats import Estimate
from fewscans.verdicts import Tables

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = (30, 100, 300)
SEEDS = 3
PAPER = pd.DataFrame({"Z3": [0.3, 0.6], "D4": [0.4, 0.7], "D4h": [0.5, 0.8]}, index=[30, 300])


PLANE = ("Z2", "p4", "p4m", "Z2-tta-p4m", "p4m-sham", "histogram")
SPACE = ("Z3", "D4", "D4h", "O", "Oh", "Z3-tta-D4", "D4-sham", "volume")
GROUPS = ("p4", "p4m", "D4", "D4h", "O", "Oh")
CASES = 180


def source(strength=None, real: bool = True, seeds: int = SEEDS, dataset="luna16-patches", of=None) -> Source:
    """Tables of a world in which an arm separates the classes by `strength(arm, N)` standard deviations.

    of: its arms.   A twin of LUNA16 in space comes with the reference that FROC needs.
    """
    strength = strength or (lambda arm, n: 0.4 * np.log10(n) + (0.8 if arm in GROUPS else 0.0))
    of = of or (PLANE if dataset == "luna16-patches" else SPACE)
    rng = np.random.default_rng(0)
    y = np.repeat((0.0, 1.0), CASES // 2)
    group = np.array([f"scan{i % 30:02d}" for i in range(CASES)])
    hard = rng.normal(size=CASES)
    tables, history, records = [], [], []
    for arm in of:
        for n in SIZES:
            for seed in range(seeds):
                own = np.random.default_rng([seed, n, list(ARM_COLOURS).index(arm)])
                logit = strength(arm, n) * (2 * y - 1) + hard + 0.5 * own.normal(size=CASES)
                for split in ("test", "test-small-val"):
                    rows = {
                        "arm": arm,
                        "n_train": n,
                        "seed": seed,
                        "split": split,
                        "case": [f"c{i}" for i in range(CASES)],
                    }
                    rows |= {"group": group, "target": y, "prediction": 1 / (1 + np.exp(-logit))}
                    tables.append(pd.DataFrame(rows))
                speed = 2.0 if arm in GROUPS else 1.0
                key = {"arm": arm, "n_train": n, "seed": seed}
                losses = [(10 * i, float(i), 0.1, float(np.exp(-speed * i / 5))) for i in range(1, 9)]
                names = ("step", "epoch", "train_loss", "val_loss")
                history += [key | dict(zip(names, row, strict=True)) for row in losses]
                network = {"parameters": 9, "macs": 1e6, "convolution_parameters": 8, "steps": 80}
                records.append(key | network | {"seconds_cpu": 1.5, "device": "cpu", "torch": "2"})
    run = f"gcnn-{dataset}" + "-twin" * (not real)
    about = {"run": run, "real": real, "profile": "paper", "code": "c0de", "data": "da7a", "seeds": list(range(seeds))}
    reference = nodules(y, group) if dataset == "luna16" else None
    made = Tables(pd.concat(tables), pd.DataFrame(history), 200, reference)
    return Source(run, real, True, "paper", made, records, about)


def nodules(y: np.ndarray, group: np.ndarray) -> pd.DataFrame:
    """Every positive case marks a nodule of its own, each third of them malignant; one nodule has no mark."""
    scans = [*np.unique(group), "scan without a candidate"]
    rows = [("scan", scan, "", "", np.nan) for scan in scans] + [("nodule", scans[0], "missed", "", 0.0)]
    for i in np.flatnonzero(y):
        rows += [("nodule", group[i], f"n{i}", "", float(i % 3 == 0)), ("hit", group[i], f"n{i}", f"c{i}", np.nan)]
    return pd.DataFrame(rows, columns=["kind", "scan", "nodule", "case", "malignant"])


@pytest.fixture(scope="module")
def made() -> Source:
    return source()


@pytest.fixture(scope="module")
def again() -> Source:
    return source()


FIGURES = {
    "learning curves": lambda s: curves.learning_curves(s, PAPER),
    "sensitivity": curves.sensitivities,
    "small validation": curves.small_validation,
    "data efficiency": efficiency.factors,
    "gains": comparisons.gains,
    "calibration": calibration.reliabilities,
    "epochs": lambda s: cost.epochs(s, PAPER),
}


@pytest.mark.parametrize("name", FIGURES)
def test_the_same_tables_give_the_same_bytes(name, made, again):
    assert FIGURES[name](made).png == FIGURES[name](again).png


def test_a_user_s_own_matplotlib_settings_change_no_byte(made):
    import matplotlib

    plain = curves.small_validation(made).png
    with matplotlib.rc_context(
        {"font.size": 30, "axes.facecolor": "red", "savefig.bbox": "tight", "lines.linewidth": 9}
    ):
        assert curves.small_validation(made).png == plain


def test_a_figure_does_not_hang_on_the_last_bits_of_arithmetic(made):
    """Another processor sums in another order; what cannot be seen must not change the file that git keeps."""
    shaken = made.tables.predictions.assign(prediction=made.tables.predictions["prediction"] * (1 - 1e-13))
    other = dataclasses.replace(made, tables=Tables(shaken, made.tables.history, 200))
    assert curves.learning_curves(other, PAPER).png == curves.learning_curves(made, PAPER).png


def test_a_saved_figure_says_in_its_file_what_it_was_made_from_and_not_when(made, tmp_path):
    path = curves.learning_curves(made, PAPER).save(tmp_path / "sub" / "a.png")
    text = Image.open(path).text
    about = json.loads(text["fewscans"])
    assert about["run"] == "gcnn-luna16-patches" and about["profile"] == "paper" and about["real"] is True
    assert about["code"] == "c0de" and about["data"] == "da7a"
    assert text["Title"] == curves.finding(made)
    assert "Creation Time" not in text and "Software" not in text


def test_saving_again_leaves_the_file_alone(made, tmp_path):
    path = curves.small_validation(made).save(tmp_path / "a.png")
    before = path.stat().st_mtime_ns
    assert curves.small_validation(made).save(path).stat().st_mtime_ns == before


def test_what_a_notebook_shows_is_what_is_saved(made):
    picture = curves.small_validation(made)
    png, size = picture._repr_png_()
    assert png == picture.png and size["alt"] == picture.title
    assert Image.open(io.BytesIO(png)).size[0] / size["width"] > 1.5, "fine enough for a screen with small pixels"


def test_a_twin_is_called_one_in_the_title_and_below_the_figure():
    for real, words in ((True, "Real CT"), (False, "Synthetic twin, profile paper")):
        picture = curves.learning_curves(source(real=real))
        assert picture.title.startswith(words)
        assert ("synthetic" in picture.figure._supxlabel.get_text()) is not real


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        (1.0, "is ahead of a plain CNN at every size"),
        (0.0, "cannot be told apart"),
        (-0.5, "is behind a plain CNN at"),
    ],
)
def test_the_title_follows_from_the_interval(gain, expected):
    world = source(lambda arm, n: 0.8 + 0.02 * np.log10(n) + gain * (arm == "p4m"))
    assert expected in curves.finding(world)


def test_a_title_names_the_sizes_on_either_side():
    world = source(lambda arm, n: 0.8 + (1.0 if n == 300 else 0.0) * (arm == "p4m"))
    assert curves.finding(world).endswith("p4m is ahead of a plain CNN at N = 300, not surely at N = 30 and 100")
    world = source(lambda arm, n: 0.8 + (1.0 if n > 30 else 0.0) * (arm == "p4m"))
    assert curves.finding(world).endswith("p4m is ahead of a plain CNN from N = 100 on")


def test_a_title_says_when_a_rival_draws_level():
    level = source(lambda arm, n: 0.8 + 1.0 * (arm in ("p4m", "Z2-tta-p4m")))
    assert "8 turned copies" in curves.drawn_level(level)
    assert curves.drawn_level(source(lambda arm, n: 0.8 + 1.0 * (arm == "p4m"))) == ""


def test_the_note_gives_every_factor_and_picks_none(made):
    said = curves.factors_in_words(made)
    assert all(f"N = {n}: {wording.factor(made.factor('p4m', n))}" in said for n in (30, 100))


def test_ours_are_filled_and_the_paper_s_are_hollow_and_never_share_axes(made):
    left, right = curves.learning_curves(made, PAPER).figure.axes
    faces = [{line.get_markerfacecolor() for line in axes.lines if len(line.get_xdata()) > 1} for axes in (left, right)]
    assert "white" not in faces[0] and faces[1] == {"white"}
    assert left.get_ylabel() != right.get_ylabel()


def test_an_arm_has_one_colour_and_no_two_arms_of_a_figure_share_colour_and_marker():
    assert all(filled(arm)["color"] == hollow(arm)["color"] == colour for arm, colour in ARM_COLOURS.items())
    assert set(gcnn.ARMS) <= set(ARM_COLOURS), "every arm of the experiment has its look"
    assert set(gcnn.arm_names(gcnn.Grid({"Z3": (30,)}, 1, 1, 1, (0.1,), patch=(12, 12, 12)))) <= set(ARM_COLOURS)
    numbers = {arm for arm in ARM_COLOURS if arm.startswith(("base", "hydra")) or arm.endswith("mixup")}
    families = (set(arms.SPACE) | numbers, set(arms.PLANE) | numbers, set(arms.SPACE) | set(arms.PLANE))
    for others in families:  # plane, space and numbers are never drawn together
        together = [arm for arm in ARM_COLOURS if arm.partition("-tta-")[0] not in others]
        looks = [(filled(arm)["color"], filled(arm)["marker"], filled(arm)["linestyle"]) for arm in together]
        assert len(set(looks)) == len(looks)


def test_texts_stay_inside_the_figure(made):
    for draw in FIGURES.values():
        picture = draw(made)
        picture.png  # noqa: B018  draws it
        renderer = picture.figure.canvas.get_renderer()
        width, height = picture.figure.get_size_inches() * picture.figure.dpi
        texts = [picture.figure._suptitle, picture.figure._supxlabel]
        texts += [text for axes in picture.figure.axes for text in (axes.title, axes._left_title, axes.yaxis.label)]
        for text in (text for text in texts if text.get_text()):
            box = text.get_window_extent(renderer)
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
            assert inside, f"{picture.title}: {text.get_text()!r} is cut off"


def test_a_censored_factor_is_drawn_as_an_arrow_and_named():
    world = source(lambda arm, n: 0.4 + 0.3 * np.log10(n) + 2.0 * (arm == "p4m"))
    axes = efficiency.factors(world, ("p4m",)).figure.axes[0]
    assert any(text.get_text().startswith("> ") for text in axes.texts)
    assert any(line.get_marker() == "^" and line.get_clip_on() is False for line in axes.lines)


def test_sizes_at_which_no_factor_above_one_could_show_are_left_out(made):
    assert list(efficiency.estimates(made, "p4m")) == [30, 100]
    assert "300" not in efficiency.factor_table(made).split("N = 100")[1]


def test_a_claim_beyond_the_baseline_s_curve_is_said_to_be_untestable(made):
    said = efficiency.tenfold(made)
    assert "N = 100" in said.partition(" At N = ")[2] or "cannot be tested" in said or "N = 100" in said


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(8.94, 5.3, 17.2), "8.9 (5.3 to 17)"),
        (Estimate(18.56, 9.1, float("inf"), censored="high"), "> 19 (at least 9.1)"),
        (Estimate(0.3, 0.0, 1.4, censored="low"), "< 0.3 (at most 1.4)"),
        (Estimate(2.0, 0.0, float("inf")), "2.0 (no bound either way)"),
    ],
)
def test_factors_are_worded_with_what_the_data_do_not_reach(estimate, text):
    assert wording.factor(estimate) == text


def test_words_for_sides_and_lists():
    assert [wording.side(Estimate(x, x - 1, x + 1)) for x in (-2, 0.5, 2)] == [-1, 0, 1]
    assert (
        wording.listed(["a"]) == "a"
        and wording.listed(["a", "b", "c"]) == "a, b and c"
        and wording.listed([]) == "none"
    )
    assert wording.number(-0.0004) == "0.000" and wording.number(-0.5, 1) == "−0.5"


def test_metrics_are_json_without_infinities(made):
    metrics = published.metrics(made)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert metrics["auc"]["p4m"]["30"]["value"] > metrics["auc"]["Z2"]["30"]["value"]


def test_nothing_published_nothing_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "published", lambda: tmp_path / "nothing")
    assert sources.published("gcnn", "luna16-patches") is None
    assert published.redraw(folder=tmp_path / "figures") == [] and not (tmp_path / "figures").exists()


def test_a_twin_s_results_are_never_drawn_as_published_ones(tmp_path):
    assert published.redraw(source(real=False), folder=tmp_path) == []


def test_published_figures_are_what_git_s_tables_give(tmp_path):
    kept = paths.reports() / "figures"
    if sources.published("gcnn", "luna16-patches") is None or not kept.is_dir():
        pytest.skip("nothing is published")
    drawn = published.redraw(folder=tmp_path)
    assert {path.name for path in drawn} == {path.name for path in kept.glob("*_*.png")}
    for path in drawn:
        old, new = Image.open(kept / path.name), Image.open(path)
        assert old.text == new.text and old.size == new.size, f"{path.name}: python -m fewscans.figures"
        differ = (np.asarray(old, int) != np.asarray(new, int)).any(axis=-1).mean()
        assert differ < 1e-3, f"{path.name}: {differ:.1%} of its pixels differ; python -m fewscans.figures"


# The demonstration of part 1: what is measured must be able to fail.


def bar() -> np.ndarray:
    """A patch without symmetry."""
    image = np.full((50, 50), 40, np.uint8)
    image[20:24, 12:34] = 200
    image[24:32, 30:34] = 160
    image += np.random.default_rng(0).integers(0, 20, (50, 50)).astype(np.uint8)
    return image


@pytest.fixture(scope="module")
def errors():
    return demonstration.measured(demonstration.nets(0, width=4), bar())


def test_every_network_follows_a_shift_by_the_total_stride_and_none_a_smaller_one(errors):
    for arm in errors:
        assert max(errors[arm]["shift by 8"].values()) < 1e-5
        assert errors[arm]["shift by 1"]["conv 1"] < 1e-5 and errors[arm]["shift by 1"]["pool 1"] > 0.01


def test_each_group_follows_its_own_elements_and_no_others(errors):
    exact = {arm: set(demonstration.exact(by_move)) for arm, by_move in errors.items()}
    assert exact["Z2"] == {"shift by 8"}
    assert exact["p4"] == {"shift by 8", "turn by 90°"}
    assert exact["p4m"] == {"shift by 8", "turn by 90°", "mirror"}


def test_an_odd_size_at_a_pool_breaks_the_law_and_an_even_one_does_not():
    found = []
    for size in (48, 50):
        net = NoduleNet("p4m", (size, size), 4)
        net.reset_parameters(torch.Generator().manual_seed(0))  # left to chance, one in many has maps of zeros alone
        found.append(equivariance.errors_of_window(net, bar(), size))
    even, odd = found
    assert max(even.values()) < 1e-4
    assert odd["pool 1"] < 1e-4 < 0.01 < odd["pool 2"]


def test_a_pooling_head_does_not_waver_and_the_paper_s_does():
    x = torch.randn(4, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    wavering = {}
    for head in ("paper", "invariant"):
        net = NoduleNet("p4m", (48, 48), 4, head=head)
        net.reset_parameters(torch.Generator().manual_seed(0))
        wavering[head] = equivariance.wavering(net, x)
    assert wavering["invariant"] < 1e-3 < 0.1 < wavering["paper"]


def test_elements_are_named_by_what_they_do_to_a_picture():
    image = torch.zeros(1, 1, 3, 3)
    image[0, 0, 1, 2] = 1  # to the right of the centre
    for g in range(8):
        degrees, mirrored = equivariance.describe(equivariance.P4M.elements[g])
        turned = equivariance.act_on_image(equivariance.P4M, g, image)[0, 0].numpy()
        assert np.array_equal(
            turned, np.rot90(np.fliplr(image[0, 0].numpy()) if mirrored else image[0, 0].numpy(), degrees // 90)
        )


def test_the_demonstration_is_drawn_from_any_patch():
    nets = demonstration.nets(0, width=4)
    assert demonstration.one_look(bar(), nets["Z2"], nets["p4m"], "A bar").png
    assert filters.copies(torch.randn(3, 3), Group.named("p4m"), torch.rand(8, 9, 9)).png
    assert filters.second_layer(GroupConv("p4", 1, 1, 3, bias=False)).png


def test_a_gallery_shows_each_set_and_a_map_is_drawn():
    n = 60
    images = np.random.default_rng(0).integers(0, 255, (n, 50, 50)).astype(np.uint8)
    labels, text = np.arange(n) % 2, np.array(["train"] * n)
    patches = Patches(images, labels, np.arange(n), text, text, text, text, "f" * 64, None)
    assert pictures.gallery({"twin": patches, "real LUNA16": patches}).provenance["data"] == {
        "twin": "f" * 64,
        "real LUNA16": "f" * 64,
    }
    assert workbook.workbook_map().png


def test_verdicts_are_counted_real_and_twin_apart():
    rows = [type("Row", (), {"real": real, "verdict": verdict}) for real, verdict in
            ((True, "reproduced"), (True, "not tested"), (False, "contradicted"))]  # fmt: skip
    assert workbook.states(rows).title == "1 of 2 tests on real data are done, 1 of them reproduced"
