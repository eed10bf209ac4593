"""Figures of the experiment in space: titles follow many comparisons, arms may be missing, pools end symmetries."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from fewscans.data import luna16
from fewscans.data.lidc_nodules import LidcNodules
from fewscans.data.samples import Samples
from fewscans.figures import (
    budgets,
    comparisons,
    cost,
    curves,
    detection,
    efficiency,
    filters,
    published,
    questions,
    sources,
    symmetry,
    tasks,
    volumes,
)
from fewscans.groups import Group
from fewscans.stats import Estimate
from fewscans.verdicts import Tables

from .malformed import luna16 as folders
from .test_figures import SIZES, source

pytestmark = pytest.mark.usefixtures("one_thread")

PAPER = pd.DataFrame({arm: [0.3 + 0.1 * (arm != "Z3"), 0.8] for arm in curves.GROUPS}, index=[30, 300])


@pytest.fixture(scope="module")
def glands():
    return source(dataset="adrenalmnist3d")


@pytest.fixture(scope="module")
def scans():
    return source(dataset="luna16", real=False)


SHAPES = {
    "learning curves": curves.learning_curves,
    "gains": comparisons.gains,
    "factors": efficiency.factors,
    "epochs": lambda s: cost.epochs(s, PAPER),
    "small validation": curves.small_validation,
}
DETECTION = {
    "froc": detection.froc_curves,
    "malignant": lambda s: detection.malignant(s, PAPER, 10),
    "learning curves of froc": curves.learning_curves,
}


@pytest.mark.parametrize("name", SHAPES | DETECTION)
def test_the_same_tables_give_the_same_bytes_and_texts_that_fit(name, glands, scans):
    one = glands if name in SHAPES else scans
    draw = (SHAPES | DETECTION)[name]
    picture = draw(one)
    tables = Tables(one.tables.predictions, one.tables.history, 200, one.tables.reference)
    assert draw(dataclasses.replace(one, tables=tables)).png == picture.png
    renderer = picture.figure.canvas.get_renderer()
    width, height = picture.figure.get_size_inches() * picture.figure.dpi
    for text in (picture.figure._suptitle, picture.figure._supxlabel):
        box = text.get_window_extent(renderer)
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text.get_text()


@pytest.mark.parametrize("arms", [("Z3",), ("O",), ("Z3", "O"), ("Z3", "D4", "D4h", "volume")])
@pytest.mark.parametrize("name", SHAPES | DETECTION)
def test_arms_that_are_not_there_yet_leave_a_figure_or_a_reason(name, arms):
    kind = {"dataset": "adrenalmnist3d"} if name in SHAPES else {"dataset": "luna16", "real": False}
    found = sources.drawn((SHAPES | DETECTION)[name], source(of=arms, **kind))
    assert getattr(found, "png", None) or found._repr_markdown_().startswith("*Not drawn.")


@pytest.mark.parametrize("table", [
    comparisons.gain_table, comparisons.rivals, efficiency.factor_table, efficiency.tenfold, cost.epochs_table,
    cost.cost_table, cost.budget_is_enough, cost.longer, budgets.rates_of, published.metrics,
])  # fmt: skip
@pytest.mark.parametrize("arms", [("Z3", "O"), ("Z3", "D4", "D4h", "O", "Oh", "Z3-long")])
def test_tables_are_made_of_what_is_there(table, arms):
    one = source(of=arms, dataset="adrenalmnist3d")
    one.records[:] = [record | {"learning_rate": 0.001} for record in one.records]
    assert table(one)


def world(**gains):
    """Glands on which each arm is so much better than the plain network."""
    return source(
        lambda arm, n: 0.8 + gains.get(arm, gains.get("every", 0.0)) * (arm != "Z3"), dataset="adrenalmnist3d"
    )


def test_a_title_counts_every_comparison_and_picks_none():
    assert "every group is ahead of a plain CNN at every size (12 comparisons)" in curves.finding(world(every=1.0))
    assert "no group can be told from a plain CNN, in 12 comparisons" in curves.finding(world(every=0.0))
    only = curves.finding(world(O=1.0))
    assert "of 12 comparisons" in only and "ahead of a plain CNN in 3 (O at N = 30, 100 and 300)" in only
    assert "behind a plain CNN in 3 (D4 at N" in curves.finding(world(D4=-0.6))


def test_a_figure_of_many_comparisons_says_how_many_come_out_sure_by_chance(glands):
    assert "12 comparisons: if nothing were there, 0.3 would" in curves.by_chance(glands)
    assert curves.by_chance(source()) == "", "on the plane one group was named in advance"


def test_beside_the_paper_ours_are_filled_and_each_has_axes_of_its_own(glands, scans):
    picture = curves.in_space(PAPER, [glands, scans])
    paper, *ours = picture.figure.axes
    faces = [
        {line.get_markerfacecolor() for line in axes.lines if len(line.get_xdata()) > 1} for axes in (paper, *ours)
    ]
    assert faces[0] == {"white"} and all("white" not in found for found in faces[1:])
    assert [axes.get_ylabel() for axes in ours] == ["AUC", "overall FROC score"]
    assert "real glands surely in" in picture.title and "the twin surely in" in picture.title
    assert curves.in_space(PAPER, []).title.endswith("nothing to set beside it yet")


def test_factors_of_many_groups_are_counted(glands):
    title = efficiency.factors(glands).title
    every = [e for arm in glands.task.methods for e in efficiency.estimates(glands, arm).values()]
    assert f"of {len(every)} comparisons" in title and f"fewer shapes in {sum(e.low > 1 for e in every)}" in title


def test_few_seeds_are_drawn_as_dots_and_their_interval_is_not_made_up(glands):
    picture = cost.epochs(glands, PAPER)
    assert "medians" in picture.title and "no 95 % interval" in picture.figure._supxlabel.get_text()
    many = source(seeds=6, dataset="adrenalmnist3d", of=("Z3", "D4", "D4h", "O"))
    assert "surely need fewer epochs in 9" in cost.epochs(many, PAPER).title


def test_a_gain_that_rivals_have_too_is_said_to_be_no_gain_over_them(glands):
    title = comparisons.gains(glands).title
    assert "surely better than a plain CNN, the mean over 8 turned copies and a sham group" in title
    level = source(lambda arm, n: 0.8 + 1.0 * (arm in ("D4", "D4-sham")), dataset="adrenalmnist3d")
    assert comparisons.gains(level).title.endswith("not than a sham group")


def test_cells_with_seeds_to_come_are_left_out(glands):
    rows = glands.tables.predictions
    early = rows[(rows["arm"] != "O") | (rows["n_train"] != 100) | (rows["seed"] == 0)]
    kept = set(map(tuple, sources.whole(early)[["arm", "n_train"]].drop_duplicates().to_numpy()))
    assert ("O", 100) not in kept and len(kept) == len(rows[["arm", "n_train"]].drop_duplicates()) - 1


def test_words_are_those_of_the_data_set(glands, scans):
    assert "shapes" in efficiency.factors(glands).figure.axes[0].get_xlabel() and "glands together" in glands.note
    assert scans.score_name == "froc" and glands.score_name == "auc"
    assert dataclasses.replace(scans, tables=source().tables).score_name == "auc", "without a reference"
    assert tasks.task_of("gcnn-unheard-of").title == "unheard-of"


def test_a_froc_figure_says_how_dense_the_candidates_are_and_where_it_must_end(scans):
    d = detection.density(scans)
    assert (d.scans, d.nodules, d.malignant) == (31, 91, 30)
    assert d.false_positives == pytest.approx(90 / 31) and d.ceiling == pytest.approx(90 / 91)
    note = detection.froc_curves(scans).figure._supxlabel.get_text().replace("\n", " ")
    assert "2.9 false candidates a scan" in note and "98.9 % of the nodules" in note


def test_without_a_reference_detection_is_not_drawn(glands):
    for draw in DETECTION.values():
        if draw is not curves.learning_curves:
            assert "reference" in sources.drawn(draw, glands).text


def test_real_cubes_are_called_an_illustration():
    said = detection.real_cubes(source(dataset="lidc-nodules"))
    assert "illustration" in said and "over seeds and patients" in said


# What is left of the symmetry: measured, and able to fail.


def test_the_paper_s_pools_keep_d4_and_lose_o_and_an_odd_size_loses_all():
    slab = symmetry.Window("slab", (4, 16, 16))
    cube = symmetry.Window("cube", (8, 8, 8))
    odd = symmetry.Window("odd", (12, 12, 12), symmetry.CUBE)
    whole = symmetry.Window("whole", (8, 8, 8), symmetry.CUBE)
    found = symmetry.measured([slab, cube, odd, whole])
    assert [[k.whole for k in by_group.values()] for by_group in found.values()] == [
        [True, True, False, False], [True, True, False, False], [False] * 4, [True] * 4,
    ]  # fmt: skip
    assert found["slab"]["O"].fitting == 8 and found["cube"]["O"].map_error is None
    assert found["odd"]["D4"].map_error > 0.1
    assert symmetry.in_words(found).endswith("slab: D4 and D4h; cube: D4 and D4h; odd: none; whole: all groups.")


def test_the_paper_s_networks_are_as_large_as_its_rule_makes_them():
    table = budgets.paper_networks()
    for parameters in ("214,704", "217,242", "214,380", "219,753", "213,894"):
        assert parameters in table
    assert "25 to 72 % more parameters" in budgets.equal_in_words()


def test_turns_of_the_cube_are_named_and_each_is_drawn_once():
    names = [filters.turn_called(m) for m in Group.named("O").elements]
    assert names.count("120°") == 8 and names.count("as it is") == 1 and names.count("90° z") == 2
    kernel = torch.arange(27.0).view(3, 3, 3)
    panels = filters.copies_in_space(kernel, Group.named("O"), Group.named("D4")).figure.axes
    drawn = {panel.images[0].get_array().filled(-1).tobytes() for panel in panels}
    assert len(drawn) == 24
    assert panels[0].get_title() == "as it is" and panels[8].get_ylabel() == "only O"


# Pictures of the data.


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures") / "luna16"
    folders.write(folder)
    return luna16.read(folder)


def test_a_scan_is_drawn_with_what_lies_in_each_plane(copy):
    picture = volumes.three_planes(copy, "twin")
    assert picture.png and "2 nodules among" in picture.title
    assert all(axes.patches for axes in picture.figure.axes), "each plane goes through a nodule"


def test_a_flipped_file_gives_the_same_picture_of_the_patient(copy):
    assert volumes.three_planes(copy, "twin", folders.uid(1)).png


def test_places_drawn_at_random_are_of_both_classes_and_of_training_folds(copy):
    cubes = volumes.draw_cubes(copy, each=3)
    assert cubes.hu.shape == (6, 36, 36, 36) and cubes.labels.tolist() == [1, 1, 1, 0, 0, 0]
    hu = np.random.default_rng(0).integers(-1000, 300, (20, 48, 48, 48)).astype(np.int16)
    text = np.array(["a"] * 20)
    known = np.arange(20) < 4
    lidc = LidcNodules(hu, known, np.ones(20), np.ones(20), text, text, text, "f" * 64, None)
    picture = volumes.gallery({"real LIDC": volumes.lidc_cubes(lidc), "twin": cubes})
    assert picture.png and len(picture.figure.axes) == 12 * volumes.SHOWN
    assert "LIDC-IDRI" in picture.figure._supxlabel.get_text()


def gland_samples(turned: bool) -> Samples:
    """Rods along one axis, or along any."""
    rng = np.random.default_rng(0)
    images = np.zeros((60, 28, 28, 28), np.uint8)
    for image in images:
        image[12:16, 12:16, 4:24] = 255
        if turned:
            image[:] = np.transpose(image, rng.permutation(3))
    text = np.array(["train"] * 60)
    return Samples(images, np.arange(60) % 2, text, text, text, "f" * 64, None)


def test_shapes_that_lie_alike_are_said_to_and_others_are_not():
    assert "they lie alike" in volumes.alignment_in_words(gland_samples(False))
    assert "no orientation is special" in volumes.alignment_in_words(gland_samples(True))
    assert volumes.glands(gland_samples(True)).png


def test_a_scan_table_counts_each_split(copy):
    table = volumes.scan_table({"twin": copy})
    assert all(f"twin, {split}" in table for split in ("train", "val", "test"))


def test_verdicts_are_counted_by_question_and_data_set():
    def row(where, dataset, verdict, real=True):
        return type("Row", (), {"where": where, "dataset": dataset, "verdict": verdict, "real": real})

    table = questions.by_question([
        row("Table 2", "a", "reproduced"), row("Table 2 and abstract", "a", "contradicted"),
        row("control", "b-twin", "inconclusive", False), row("Table 2", "b-twin", "not tested", False),
    ])  # fmt: skip
    assert "| a (real) | b-twin (twin) |" in table and "| 1 ✓  1 ✗ |  |" in table and "| 1 ? |" in table


def test_a_control_names_what_is_the_label_and_who_sees_it():
    world = source(
        lambda arm, n: 2.5 * (arm == "O-invariant"), False, 6, "handedness", ("O-invariant", "D4h-invariant")
    )
    title = comparisons.control(world).title
    assert title.startswith(
        "Synthetic control: where handedness is the label, O, pooling head: above chance; D4h, pooling head: at chance"
    )
    assert isinstance(sources.drawn(comparisons.control, source()), sources.Reason)


def test_every_size_of_the_world_is_used():
    assert source(dataset="adrenalmnist3d").sizes("Z3", "O") == list(SIZES)


def test_a_bar_that_would_dwarf_the_others_leaves_the_frame_and_the_note_says_so(glands):
    bars = [Estimate(0.8, 0.79, 0.81), Estimate(0.82, 0.81, 0.83), Estimate(0.7, 0.0, 1.0)]
    low, high = curves.frame(bars)
    assert 0.6 < low < 0.7 and 0.83 < high < 0.9
    assert curves.frame(bars[:2]) is None
    assert curves.LEAVES.strip() not in curves.learning_curves(glands).figure._supxlabel.get_text()
    level = source(lambda arm, n: 3.0 if arm != "Oh" else 0.1, dataset="adrenalmnist3d")
    note = curves.learning_curves(level).figure._supxlabel.get_text().replace("\n", " ")
    assert curves.LEAVES.strip() in note


def test_networks_below_what_needs_no_network_are_counted():
    said = comparisons.stragglers_in_words(
        source(lambda arm, n: {"Oh": 0.1, "volume": 0.5}.get(arm, 1.5), dataset="adrenalmnist3d")
    )
    assert "Oh at N = 30, 3 of 3 seeds" in said and "O at" not in said.replace("Oh at", "")
    assert "Every seed" in comparisons.stragglers_in_words(
        source(lambda arm, n: 0.1 if arm == "volume" else 1.5, dataset="adrenalmnist3d")
    )


def test_networks_trained_on_permuted_labels_are_held_to_chance():
    def world(of):
        return source(
            lambda arm, n: 2.0 * (arm == of), dataset="adrenalmnist3d", of=("Z3", "O-shuffled", "Z3-shuffled")
        )

    assert "nothing leaks" in comparisons.shuffled(world("Z3"))
    assert "Not at chance: **O-shuffled at N = 30" in comparisons.shuffled(world("O-shuffled"))
    assert comparisons.shuffled(source()) == ""


def test_rivals_of_a_group_are_its_own_and_the_plain_network_s():
    one = source(dataset="adrenalmnist3d", of=("Z3", "D4", "O", "D4-sham", "O-sham", "D4h-invariant", "Z3-long"))
    table = comparisons.rivals(one)
    assert "sham group of order 8" in table and "4 times" in table
    assert "order 24" not in table and "D4h, pooling" not in table
