"""What the twin of LUNA16 is drawn from: shapes of the right size, in no preferred direction, and their grades."""

import numpy as np
import pytest

from fewscans import twins
from fewscans.stats.auc import auc
from fewscans.twins import findings, luna16, vessels
from fewscans.twins.marks import _error
from fewscans.twins.space import Grid, Outline, at, blob, directions, refined, smooth_noise, tubes


def grid(spacing=(1.0, 1.0, 1.0), half=20.0):
    return Grid.box(np.full(3, -half), np.full(3, half), np.array(spacing))


@pytest.mark.parametrize("radius", [0.4, 1.0, 4.0])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 1.5, 1.5)])
def test_a_tube_holds_its_volume_in_every_direction_even_if_thinner_than_a_voxel(radius, spacing):
    rng = np.random.default_rng(0)
    space, volumes = grid(spacing), []
    for along in directions(12, rng):
        layer, middle = np.zeros(space.shape, np.float32), rng.uniform(-1, 1, (1, 3))
        tubes(layer, space, middle - 12 * along, middle + 12 * along, *np.full((2, 1), radius), 1.0)
        volumes.append(layer.sum() * np.prod(spacing))
    expected = np.pi * radius**2 * 24 + 4 / 3 * np.pi * radius**3
    assert np.mean(volumes) == pytest.approx(expected, rel=0.15)
    assert np.std(volumes) < 0.15 * expected


def test_a_tube_drawn_in_pieces_is_the_tube_and_one_outside_the_grid_leaves_no_trace():
    space = grid()
    whole, pieces = np.zeros((2, *space.shape), np.float32)
    line = np.linspace([-9, -7, -5], [8, 6, 9], 6)
    radius = np.linspace(1, 3, 6)
    tubes(whole, space, line[:1], line[-1:], radius[:1], radius[-1:], 1.0)
    tubes(pieces, space, line[:-1], line[1:], radius[:-1], radius[1:], 1.0)
    assert np.abs(whole - pieces).max() < 0.02 and whole.max() == pytest.approx(1, abs=0.1)
    before = whole.copy()
    tubes(whole, space, line[:1] + 60, line[-1:] + 60, radius[:1], radius[-1:], 1.0)
    assert np.array_equal(whole, before)


def test_a_refined_field_is_the_coarse_one_at_its_points_and_straight_between():
    coarse, fine = grid((4, 4, 4)), grid((1, 2, 1))
    field = smooth_noise(coarse, 10, np.random.default_rng(0))
    assert refined(field, coarse, fine)[::4, ::2, ::4] == pytest.approx(field, abs=1e-5)
    points = np.random.default_rng(1).uniform(-15, 15, (50, 3))
    plane = coarse.axes()[0] + 2 * coarse.axes()[1] - coarse.axes()[2]
    assert at(plane, coarse, points) == pytest.approx(points @ [1, 2, -1], abs=1e-3)


def drawn(outline, half=14.0):
    space = grid(half=half)
    layer = np.zeros(space.shape, np.float32)
    blob(layer, space, np.zeros(3), outline, 1.0)
    return layer, space


def nodules(n, rng, diameter=None):
    sizes = findings.draw_diameters_mm(n, rng) if diameter is None else np.full(n, diameter)
    return [findings.draw_nodule(np.zeros(3), float(d), findings.FREE, rng) for d in sizes]


def test_a_nodule_has_about_the_volume_its_diameter_says():
    rng = np.random.default_rng(0)
    ratio = [drawn(n.outline, 20)[0].sum() / (np.pi / 6 * n.diameter**3) for n in nodules(60, rng, 12.0)]
    assert np.mean(ratio) == pytest.approx(1.1, abs=0.15)
    assert min(ratio) > 0.8


def longest_axis(outline):
    layer, space = drawn(outline)
    z, y, x = (np.broadcast_to(axis, space.shape) for axis in space.axes())
    points = np.stack([z, y, x], -1)
    spread = np.einsum("zyx,zyxi,zyxj->ij", layer, points, points)
    return np.linalg.eigh(spread)[1][:, -1]


def direction_bias(axes):
    """How many standard errors the mean of u uᵀ is from that of directions uniform over the sphere, at most."""
    outer = np.einsum("ni,nj->nij", axes, axes)
    return (np.abs(outer.mean(axis=0) - np.eye(3) / 3) / (outer.std(axis=0) / np.sqrt(len(axes)) + 1e-9)).max()


def test_no_orientation_is_special():
    rng = np.random.default_rng(0)
    both = {
        "nodules": [n.outline for n in nodules(150, rng, 10.0)],
        "look-alikes": [findings.draw_look_alike(np.zeros(3), 8.0, rng).outline for _ in range(150)],
    }
    for outlines in both.values():
        assert direction_bias(np.array([longest_axis(one) for one in outlines])) < 4
    upright = [Outline(o.radius, np.eye(3), np.sort(o.stretch), o.bulges[:0], o.heights[:0], 1.0)
               for o in both["nodules"]]  # fmt: skip
    assert direction_bias(np.array([longest_axis(one) for one in upright])) > 4  # the check sees what is not turned
    spicules = np.concatenate([n.spicules for n in nodules(150, rng, 10.0)])
    assert direction_bias(spicules) < 4


def test_look_alikes_are_longer_or_flatter_than_nodules_and_else_alike():
    rng = np.random.default_rng(0)
    alike = [findings.draw_look_alike(np.zeros(3), 8.0, rng) for _ in range(200)]
    round_ones = nodules(200, rng, 8.0)
    ratio = (
        [np.ptp(np.log(one.outline.stretch)) for one in alike],
        [np.ptp(np.log(n.outline.stretch)) for n in round_ones],
    )
    assert np.quantile(ratio[0], 0.05) > np.quantile(ratio[1], 0.95)
    solid = [[f.density for f in those if f.density > 550] for those in (alike, round_ones)]
    assert np.mean(solid[0]) == pytest.approx(np.mean(solid[1]), abs=15)


def test_sizes_lie_in_luna16s_range_and_most_are_small():
    sizes = findings.draw_diameters_mm(4000, np.random.default_rng(0))
    assert sizes.min() >= 3 and sizes.max() <= 30
    assert 6 < np.median(sizes) < 8


def test_a_grade_depends_on_size_and_spicules_and_on_luck():
    those = [n for n in nodules(3000, np.random.default_rng(0)) if np.isfinite(n.malignant)]
    grade = np.array([n.malignant for n in those])
    size = np.array([n.diameter for n in those])
    spiculated = np.array([n.surface == findings.SPICULATED for n in those])
    middling = (size > 8) & (size < 14)
    assert 0.05 < grade.mean() < 0.25
    assert 0.7 < auc(grade, size) < 0.95
    assert grade[middling & spiculated].mean() > 2 * grade[middling & ~spiculated].mean() > 0
    share = findings.malignant_share
    assert share(20, "solid", "smooth") > share(8, "solid", "smooth") < share(8, "solid", "lobulated")
    assert share(8, "solid", "lobulated") < share(8, "solid", "spiculated")


def test_a_tree_ends_at_its_targets_and_thins_towards_them():
    rng = np.random.default_rng(0)
    targets = rng.uniform(-40, 40, (64, 3))
    tree = vessels.grow(np.zeros(3), np.array([0.0, 0, 1]), targets, 5.0, 0.5, rng)
    order = np.lexsort(np.round(tree.tips, 6).T), np.lexsort(np.round(targets, 6).T)
    assert tree.tips[order[0]] == pytest.approx(targets[order[1]], abs=1e-6)
    assert tree.radius.max() == pytest.approx(5, rel=0.2) and np.median(tree.tip_radius) < 1
    starts = {tuple(np.round(p, 6)) for p in tree.start}
    assert all(tuple(np.round(p, 6)) in starts for p in tree.forks)  # nothing hangs in the air
    along = (tree.end - tree.start)[tree.radius < 1.2]
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    assert np.abs(np.einsum("ni,nj->ij", along, along) / len(along) - np.eye(3) / 3).max() < 0.1
    with pytest.raises(ValueError, match="2, 4, 8"):
        vessels.grow(np.zeros(3), np.array([0.0, 0, 1]), targets[:50], 5.0, 0.5, rng)


@pytest.fixture(scope="module")
def cases():
    settings = {"scans": 60, "nodules_per_scan": 8, "negatives_per_scan": 12, "field_of_view_mm": 120}
    spec = twins.spec("luna16", settings | {"spacing": "coarse", "seed": 5})
    return [luna16.draw_case(spec, number) for number in range(13)]


def test_nodules_lie_in_lung_apart_from_each_other_and_from_the_border(cases):
    for case in cases:
        scene = case.scene
        centres = np.array([n.centre for n in scene.nodules]).reshape(-1, 3)
        assert (scene.depth_at(centres) > 0).all() and scene.within(centres).all()
        for k, one in enumerate(scene.nodules):
            for other in scene.nodules[:k]:
                assert np.linalg.norm(one.centre - other.centre) > (one.diameter + other.diameter) / 2
    places = {n.place for case in cases for n in case.scene.nodules}
    assert places == {findings.FREE, findings.PLEURAL, findings.VASCULAR}


def test_marks_tempt_by_many_things_and_miss_a_few_nodules_at_most(cases):
    what = np.concatenate([case.marks.what for case in cases])
    assert {"nodule", "look-alike", "fork", "bend", "crossing", "excluded"} <= set(what)
    assert cases[12].marks.labels.sum() == 0 and not cases[12].scene.nodules  # the scan without nodules
    total = sum(len(case.scene.nodules) for case in cases)
    assert 0.95 * total < (what == "nodule").sum() < 1.7 * total


def test_marks_miss_what_they_mean_by_as_much_for_either_class(cases):
    away = {"nodule": [], "look-alike": []}
    for case in cases:
        meant = {"nodule": case.scene.nodules, "look-alike": case.scene.look_alikes}
        for name, point in zip(case.marks.what, case.marks.points, strict=True):
            if name in away:
                away[name].append(min(np.linalg.norm(point - f.centre) for f in meant[name]))
    positive, negative = np.array(away["nodule"]), np.array(away["look-alike"])
    error = np.hypot(positive.std() / np.sqrt(len(positive)), negative.std() / np.sqrt(len(negative)))
    assert abs(positive.mean() - negative.mean()) < 4 * error
    rng = np.random.default_rng(0)
    assert max(np.linalg.norm(_error(3.0, rng)) for _ in range(500)) < 1.5
