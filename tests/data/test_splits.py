"""Subsets are balanced, nested, decided by the seed alone; what cannot be drawn is refused with what can."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewscans.data import splits
from fewscans.errors import DataError

LABELS = (np.arange(400) % 5 == 0).astype(np.int64)  # 80 positives
POOL = np.arange(40, 360)  # 64 of them
sizes = st.integers(1, 64).map(lambda half: 2 * half)
seeds = st.integers(0, 2**32)


@settings(deadline=None)
@given(sizes, seeds)
def test_a_subset_is_balanced_and_of_the_pool(n, seed):
    drawn = splits.nested_balanced(LABELS, POOL, n, seed)
    assert len(set(drawn.tolist())) == n
    assert LABELS[drawn].sum() == n // 2
    assert np.isin(drawn, POOL).all()


@settings(deadline=None)
@given(sizes, sizes, seeds)
def test_a_smaller_subset_is_the_beginning_of_a_larger_one(n, m, seed):
    small, large = sorted((n, m))
    one, other = (splits.nested_balanced(LABELS, POOL, size, seed) for size in (small, large))
    assert np.array_equal(one, other[:small])


@settings(deadline=None)
@given(sizes, seeds, st.randoms())
def test_the_order_of_the_pool_does_not_matter(n, seed, random):
    shuffled = POOL.tolist()
    random.shuffle(shuffled)
    drawn = splits.nested_balanced(LABELS, np.array(shuffled), n, seed)
    assert np.array_equal(drawn, splits.nested_balanced(LABELS, POOL, n, seed))


def test_seeds_draw_different_subsets_and_every_case_has_a_turn():
    drawn = [splits.nested_balanced(LABELS, POOL, 30, seed) for seed in range(60)]
    assert len({tuple(sorted(d)) for d in drawn}) == 60
    assert set(np.concatenate(drawn)) >= set(POOL[LABELS[POOL] == 1])


@pytest.mark.parametrize("n", [-2, 0, 1, 31])
def test_an_odd_or_tiny_size_is_refused(n):
    with pytest.raises(DataError, match=f"{n} cases is impossible: n must be even"):
        splits.nested_balanced(LABELS, POOL, n, 0)


def test_a_size_larger_than_the_data_is_refused_with_the_largest_possible():
    with pytest.raises(DataError, match="130 cases is impossible.*64 positives.*largest balanced n is 128"):
        splits.nested_balanced(LABELS, POOL, 130, 0)


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        (np.array([], np.int64), "empty"),
        (LABELS == 1, "integer indices"),
        (np.array([3, 3, 5]), "twice"),
        (np.array([3, 400]), "index 400"),
        (np.array([-1, 3]), "index -1"),
    ],
)
def test_a_pool_that_is_none_is_refused(pool, words):
    with pytest.raises(DataError, match=words):
        splits.nested_balanced(LABELS, pool, 2, 0)


def test_a_label_other_than_0_or_1_is_refused():
    with pytest.raises(DataError, match="label 2"):
        splits.nested_balanced(np.array([0, 1, 2, 1]), np.arange(4), 2, 0)
