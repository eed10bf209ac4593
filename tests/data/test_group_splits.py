"""Subsets and splits hold whole groups, as many cases as asked for, and grow by added cases only."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewscans.data.group_splits import fold_of_group, nested_by_group, part_of_fold, split_by_group, uniform_by_label
from fewscans.errors import DataError

GRID = (12, 25, 50, 100, 150)


def people(singles=70, pairs=60, seed=0) -> np.ndarray:
    """Groups of one and two cases, their cases anywhere in the order."""
    groups = np.concatenate([np.arange(singles), np.repeat(np.arange(singles, singles + pairs), 2)])
    return np.random.default_rng(seed).permutation(np.array([f"person{g:03d}" for g in groups]))


def whole(groups, index) -> bool:
    return set(np.flatnonzero(np.isin(groups, groups[index]))) == set(index)


@given(seed=st.integers(0, 10_000), singles=st.integers(20, 90), pairs=st.integers(60, 90))
@settings(max_examples=60, deadline=None)
def test_every_draw_of_the_grid_is_whole_people_exactly_n_and_begins_the_next(seed, singles, pairs):
    groups = people(singles, pairs)
    grid = [n for n in GRID if n <= 0.8 * len(groups)]
    draws = [nested_by_group(groups, n, seed, grid=grid) for n in grid]
    for n, draw in zip(grid, draws, strict=True):
        assert len(draw) == len(set(draw)) == n and whole(groups, draw)
        assert np.array_equal(draws[-1][:n], draw)


def test_without_a_grid_any_size_is_exact():
    groups = people()
    for n in (1, 2, 7, len(groups) - 1, len(groups)):
        draw = nested_by_group(groups, n, 3)
        assert len(set(draw)) == n and whole(groups, draw)


def test_only_the_pool_is_drawn_from_and_its_order_does_not_matter():
    groups = people()
    pool = np.flatnonzero(split_by_group(groups, {"test": 40}, 0) == "train")
    draw = nested_by_group(groups, 25, 1, pool, GRID[:3])
    assert np.isin(draw, pool).all()
    assert np.array_equal(draw, nested_by_group(groups, 25, 1, pool[::-1], GRID[:3]))


def test_seeds_draw_different_people_and_all_are_drawn_alike():
    groups = people(40, 40)
    drawn = np.zeros(len(groups))
    for seed in range(2000):
        drawn[nested_by_group(groups, 12, seed, grid=(12, 25))] += 1
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    share = drawn / 2000
    assert abs(share.mean() - 12 / len(groups)) < 1e-9
    for size in (1, 2):  # within a size of group, chance alone: 4.5 standard errors
        of_size = share[sizes[index] == size]
        assert np.abs(of_size - of_size.mean()).max() < 4.5 * np.sqrt(0.1 * 0.9 / 2000)


def test_parting_people_would_be_noticed():
    groups = people()
    assert not whole(groups, np.random.default_rng(0).permutation(len(groups))[:25])


@pytest.mark.parametrize(
    "n, grid, words",
    [
        (0, (), "from 1 to 190"),
        (191, (), "from 1 to 190"),
        (25, (12, 24), "not among the sizes to be nested, 12, 24"),
        (12, (12, 500), "500 cases is impossible"),
    ],
)
def test_impossible_sizes_are_refused(n, grid, words):
    with pytest.raises(DataError, match=words):
        nested_by_group(people(), n, 0, grid=grid)


def test_sizes_that_whole_groups_cannot_make_are_refused():
    with pytest.raises(DataError, match=r"subsets of 3 cases .* whole groups \(5 of 2\)"):
        nested_by_group(np.repeat(np.arange(5), 2), 3, 0)
    assert len(nested_by_group(np.array([0, 0, 0, 1, 1, 2, 2]), 4, 0)) == 4  # an order that begins with the three fails


def test_shares_are_of_the_stratum_that_has_the_fewest_groups_and_at_least_one_group():
    groups, strata = np.arange(30), np.repeat(["a", "b"], [10, 20])
    split = split_by_group(groups, {"test": 0.5, "val": 0.01}, 0, strata)
    assert [(split[strata == s] == what).sum() for s in "ab" for what in ("test", "val")] == [5, 1, 5, 1]
    assert np.array_equal(split, split_by_group(groups, {"test": 5, "val": 1}, 0, strata))


@pytest.mark.parametrize(
    "pool, words",
    [
        ([], "empty"),
        ([0, 0], "names 1 cases twice"),
        ([0, 10], "holds index 10; there are 10"),
        ([-1, 0], "holds index -1"),
        ([0.0, 1.0], "must be integer indices"),
        ([0, 1, 2], "some cases of 1, not all"),
    ],
)
def test_a_pool_that_is_none_is_refused(pool, words):
    with pytest.raises(DataError, match=words):
        nested_by_group(np.repeat(np.arange(5), 2), 2, 0, np.array(pool))


def test_a_split_never_parts_a_person_and_has_as_many_of_each_scanner():
    rng = np.random.default_rng(2)
    person = np.repeat(np.arange(90), rng.integers(1, 4, 90))
    scanner = np.array(["A", "B", "C"])[person % 3]
    split = split_by_group(person, {"test": 10, "val": 2}, 5, scanner)
    for name in np.unique(scanner):
        here = {what: set(person[(split == what) & (scanner == name)]) for what in ("train", "val", "test")}
        assert [len(here[what]) for what in ("train", "val", "test")] == [18, 2, 10]
        assert not (here["train"] & here["val"] or here["train"] & here["test"] or here["val"] & here["test"])
    assert np.array_equal(split, split_by_group(person, {"test": 10, "val": 2}, 5, scanner))
    assert not np.array_equal(split, split_by_group(person, {"test": 10, "val": 2}, 6, scanner))


def test_a_split_that_leaves_nobody_to_train_on_is_refused():
    with pytest.raises(DataError, match="5 groups in 0 are too few for 3 for test, 2 for val"):
        split_by_group(np.arange(5), {"test": 3, "val": 2}, 0)
    with pytest.raises(DataError, match="3 is both in A and in B"):
        split_by_group(np.array([3, 3, 4, 5]), {"test": 1}, 0, np.array(["A", "B", "A", "B"]))


def skewed(total=200, seed=0) -> np.ndarray:
    """Counts, most of them small."""
    return np.random.default_rng(seed).negative_binomial(1.5, 0.15, total)


def unevenness(labels) -> float:
    """How far the shares of labels below each value are from those of a uniform spread over 0 to 1, at most."""
    labels = np.sort((labels - labels.min()) / np.ptp(labels))
    return np.abs(labels - np.linspace(0, 1, len(labels))).max()


@given(seed=st.integers(0, 10_000), count=st.integers(1, 7), groups=st.integers(7, 60))
@settings(max_examples=40, deadline=None)
def test_folds_hold_whole_groups_and_as_many_as_each_other(seed, count, groups):
    group = np.random.default_rng(seed).permutation(np.repeat(np.arange(groups), 3))
    fold = fold_of_group(group, count, seed)
    of = {g: set(fold[group == g]) for g in range(groups)}
    assert all(len(one) == 1 for one in of.values()) and set(fold) == set(range(count))
    sizes = np.bincount([one.pop() for one in of.values()])
    assert sizes.max() - sizes.min() <= 1 and np.array_equal(fold, fold_of_group(group, count, seed))


def test_seeds_make_other_folds_and_too_few_groups_none():
    assert (fold_of_group(np.arange(50), 5, 0) != fold_of_group(np.arange(50), 5, 1)).any()
    with pytest.raises(DataError, match="4 groups are too few for 5 folds"):
        fold_of_group(np.repeat(np.arange(4), 3), 5, 0)
    assert part_of_fold(np.arange(5), 5).tolist() == ["test", "val", "train", "train", "train"]
    assert part_of_fold(np.arange(5), 5, seed=9).tolist() == ["val", "train", "train", "train", "test"]


@given(seed=st.integers(0, 10_000), n=st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_a_uniform_draw_is_n_different_cases_of_the_pool(seed, n):
    pool = np.random.default_rng(3).permutation(300)[:200]
    draw = uniform_by_label(skewed(300), n, seed, pool)
    assert len(draw) == len(set(draw)) == n and np.isin(draw, pool).all()
    assert np.array_equal(draw, uniform_by_label(skewed(300), n, seed, pool[::-1]))


def test_a_uniform_draw_covers_the_range_where_a_random_one_has_mostly_small_labels():
    labels = skewed()
    uniform = [labels[uniform_by_label(labels, 25, seed)] for seed in range(20)]
    random = [labels[nested_by_group(np.arange(200), 25, seed)] for seed in range(20)]
    assert np.mean([unevenness(draw) for draw in uniform]) < 0.6 * np.mean([unevenness(draw) for draw in random])
    assert np.mean(uniform) > 1.5 * np.mean(random)
    assert min(draw.max() for draw in uniform) > 0.8 * labels.max()


def test_where_labels_are_even_each_part_of_the_range_gives_one_case():
    labels = np.random.default_rng(1).permutation(1000)
    for seed in range(20):
        parts = np.sort(labels[uniform_by_label(labels, 10, seed)] // 100)
        assert np.array_equal(parts, np.arange(10))


def test_seeds_draw_different_uniform_subsets_even_where_no_two_labels_are_alike():
    labels = np.random.default_rng(1).exponential(size=400)
    draws = {frozenset(uniform_by_label(labels, 12, seed).tolist()) for seed in range(20)}
    assert len(draws) == 20


def test_of_equal_labels_the_seed_chooses():
    drawn = np.concatenate([uniform_by_label(np.repeat([0, 10], 5), 2, seed) for seed in range(200)])
    assert set(drawn) == set(range(10)) and np.bincount(drawn).min() > 15
    assert len(set(uniform_by_label(np.full(6, 3), 6, 0))) == 6


def test_a_uniform_draw_that_parts_a_person_is_refused():
    labels, person = np.array([0, 1, 9, 10]), np.array(["a", "b", "c", "c"])
    with pytest.raises(DataError, match="has some cases of c, not all"):
        uniform_by_label(labels, 2, 0, groups=person)
    assert len(uniform_by_label(labels, 4, 0, groups=person)) == 4
    assert len(uniform_by_label(labels, 2, 0, candidates=np.array([0, 1]), groups=person)) == 2


@pytest.mark.parametrize(
    "labels, n, pool, words",
    [
        (np.arange(5), 0, None, "from 1 to 5"),
        (np.arange(5), 4, [0, 1, 2], "4 cases is impossible: n must be from 1 to 3"),
        (np.array([0, np.nan]), 1, None, "not all finite"),
        (np.zeros((4, 2)), 1, None, r"labels are \(4, 2\)"),
        (np.arange(5), 1, [0, 7], "holds index 7"),
    ],
)
def test_impossible_uniform_draws_are_refused(labels, n, pool, words):
    with pytest.raises(DataError, match=words):
        uniform_by_label(labels, n, 0, None if pool is None else np.array(pool))
