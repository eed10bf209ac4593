"""The eight groups are groups, are the ones their names promise, and lie inside one another as they should."""

import numpy as np
import pytest

from fewscans.groups import NAMES, Group

ORDERS = {"Z2": 1, "p4": 4, "p4m": 8, "Z3": 1, "D4": 8, "D4h": 16, "O": 24, "Oh": 48}
ROTATIONS_ONLY = ("Z2", "p4", "Z3", "D4", "O")


def matrices(name: str) -> set[bytes]:
    return {element.tobytes() for element in Group.named(name).elements}


def test_the_named_groups_are_the_papers():
    assert {name: Group.named(name).order for name in NAMES} == ORDERS
    assert {name: Group.named(name).dim for name in NAMES} == {n: 2 if n in ("Z2", "p4", "p4m") else 3 for n in NAMES}


def test_an_unknown_name_is_refused_and_the_known_ones_listed():
    with pytest.raises(ValueError, match="unknown group 'p6'.*p4m"):
        Group.named("p6")


@pytest.mark.parametrize("name", NAMES)
def test_elements_are_distinct_signed_permutations_and_the_first_is_the_identity(name):
    group = Group.named(name)
    assert group.elements.shape == (group.order, group.dim, group.dim)
    assert np.array_equal(group.elements[0], np.eye(group.dim))
    assert len(matrices(name)) == group.order
    for axis in (1, 2):
        assert (np.abs(group.elements).sum(axis) == 1).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_product_table_says_what_multiplying_the_matrices_says(name):
    group = Group.named(name)
    for i, a in enumerate(group.elements):
        for j, b in enumerate(group.elements):
            assert np.array_equal(group.elements[group.product[i, j]], a @ b)


@pytest.mark.parametrize("name", NAMES)
def test_the_product_is_a_groups(name):
    group = Group.named(name)
    every = np.arange(group.order)
    assert np.array_equal(group.product[0], every) and np.array_equal(group.product[:, 0], every)
    for table in (group.product, group.product.T):
        assert (np.sort(table, axis=1) == every).all()  # each row and column holds every element once
    left = group.product[group.product[:, :, None], every]  # (a b) c
    right = group.product[every[:, None, None], group.product[None]]  # a (b c)
    assert np.array_equal(left, right)


@pytest.mark.parametrize("name", NAMES)
def test_inverses_undo(name):
    group = Group.named(name)
    every = np.arange(group.order)
    assert (group.product[every, group.inverse] == 0).all() and (group.product[group.inverse, every] == 0).all()
    assert np.array_equal(group.elements[group.inverse], group.elements.transpose(0, 2, 1))


@pytest.mark.parametrize("name", NAMES)
def test_reflections_are_in_the_groups_that_have_them_and_follow_the_rotations(name):
    signs = np.round(np.linalg.det(Group.named(name).elements)).astype(int)
    if name in ROTATIONS_ONLY:
        assert (signs == 1).all()
    else:
        half = len(signs) // 2
        assert (signs[:half] == 1).all() and (signs[half:] == -1).all()


@pytest.mark.parametrize(("small", "large"), [("p4", "p4m"), ("D4", "D4h"), ("D4h", "Oh"), ("O", "Oh"), ("D4", "O")])
def test_smaller_groups_lie_in_larger_ones(small, large):
    assert matrices(small) < matrices(large)


def test_the_reflections_of_D4h_are_not_all_in_O():
    assert not matrices("D4h") <= matrices("O")


@pytest.mark.parametrize("name", ["D4", "D4h"])
def test_D4_and_D4h_keep_the_z_axis(name):
    elements = Group.named(name).elements
    assert (np.abs(elements[:, 0, 0]) == 1).all()
    assert {int(z) for z in elements[:, 0, 0]} == {-1, 1}  # it may be turned upside down


def test_a_quarter_turn_takes_y_to_x():
    """The convention of all that follows: columns are offsets (y, x)."""
    turns = [m for m in Group.named("p4").elements if np.array_equal(m @ [1, 0], [0, 1])]
    assert len(turns) == 1 and np.array_equal(turns[0] @ [0, 1], [-1, 0])


@pytest.mark.parametrize("name", NAMES)
def test_taps_are_an_action_on_the_kernel(name):
    """Turning by b and then by a is turning by ab: taps_ab[t] = taps_b[taps_a[t]], as each reads from g⁻¹t."""
    group = Group.named(name)
    taps = group.taps((3,) * group.dim)
    every = np.arange(taps.shape[1])
    assert np.array_equal(taps[0], every)
    assert (np.sort(taps, axis=1) == every).all()
    for a in range(group.order):
        for b in range(group.order):
            assert np.array_equal(taps[group.product[a, b]], taps[b][taps[a]])


def test_taps_turn_a_kernel_like_numpy_does():
    kernel = np.arange(25).reshape(5, 5)
    group = Group.named("p4")
    turned = {kernel.flatten()[taps].tobytes() for taps in group.taps((5, 5))}
    assert turned == {np.ascontiguousarray(np.rot90(kernel, k)).tobytes() for k in range(4)}


@pytest.mark.parametrize(
    ("name", "kernel", "message"),
    [
        ("p4", (2, 2), "every size must be odd"),
        ("D4", (2, 3, 3), "every size must be odd"),
        ("Z3", (3, 3, 4), "every size must be odd"),
        ("p4", (3, -3), "every size must be odd"),
        ("p4", (3, 5), "changes shape under p4"),
        ("O", (1, 3, 3), "changes shape under O"),
        ("D4", (3, 1, 3), "changes shape under D4"),
        ("p4", (3, 3, 3), "p4 acts on 2 axes"),
        ("Oh", (3, 3), "Oh acts on 3 axes"),
    ],
)
def test_kernels_without_a_centre_or_that_change_shape_are_refused(name, kernel, message):
    with pytest.raises(ValueError, match=message):
        Group.named(name).taps(kernel)


@pytest.mark.parametrize(("name", "kernel"), [("D4", (1, 3, 3)), ("D4h", (5, 3, 3)), ("Z2", (3, 5)), ("Z3", (1, 3, 5))])
def test_kernels_need_not_be_cubes_where_the_group_keeps_their_shape(name, kernel):
    assert Group.named(name).taps(kernel).shape == (Group.named(name).order, np.prod(kernel))


def test_a_sham_group_keeps_order_and_product_but_scrambles_taps():
    true = Group.named("p4m")
    sham = true.sham(seed=1)
    assert sham.order == true.order and np.array_equal(sham.product, true.product)
    taps = sham.taps((3, 3))
    assert np.array_equal(taps, true.sham(seed=1).taps((3, 3)))  # the seed decides
    assert not np.array_equal(taps, true.sham(seed=2).taps((3, 3)))
    assert np.array_equal(taps[0], np.arange(9)) and (np.sort(taps, axis=1) == np.arange(9)).all()
    turned = {t.tobytes() for t in true.taps((3, 3))}
    assert sum(t.tobytes() in turned for t in taps) < true.order / 2


def test_a_groups_elements_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        Group.named("p4").elements[0, 0, 0] = 5
