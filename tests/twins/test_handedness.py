"""The control in which handedness is the label: rotations cannot undo it, reflections can."""

import numpy as np
import pytest

from fewscans import twins
from fewscans.data import registry
from fewscans.errors import DataError
from fewscans.groups import Group
from fewscans.twins import handedness

SPEC = {"cases": 300, "noise": 0.02, "seed": 0}
SHAPE = handedness.corner(handedness.ARMS, (0, 0, 0))


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twins") / "handedness"
    return registry.dataset("handedness").read(twins.write("handedness", folder, twins.spec("handedness", SPEC)))


def test_the_rotations_are_those_of_the_cube():
    grid = np.arange(27).reshape(3, 3, 3)
    ours = {handedness.turned(grid, r, False).tobytes() for r in range(len(handedness.ROTATIONS))}
    assert len(handedness.ROTATIONS) == len(ours) == Group.named("O").order
    both = ours | {handedness.turned(grid, r, True).tobytes() for r in range(len(handedness.ROTATIONS))}
    assert len(both) == Group.named("Oh").order, "with a reflection there are twice as many, none of them a rotation"


def test_no_rotation_maps_the_shape_onto_its_mirror_image_or_itself():
    copies = {(r, m): handedness.turned(SHAPE, r, m) for r in range(24) for m in (False, True)}
    overlap = {key: (copy & SHAPE).sum() / SHAPE.sum() for key, copy in copies.items() if key != (0, False)}
    assert (copies[0, False] == SHAPE).all() and max(overlap.values()) < 0.75


def test_the_shape_stays_within_the_volume_however_it_is_jittered():
    sizes = [handedness.corner(tuple(a + d for a in handedness.ARMS), (s, s, s)) for d in (-1, 1) for s in (-1, 1)]
    for volume in sizes:
        assert not volume[0].any() and not volume[:, 0].any() and not volume[..., 0].any()
        assert not volume[-1].any() and not volume[:, -1].any() and not volume[..., -1].any()


def test_the_label_is_the_mirror_and_nothing_else(samples):
    """Volumes of either label have the same mean over all rotations and reflections, to first order the same pixels."""
    assert samples.images.shape[1:] == (28, 28, 28) and set(np.unique(samples.images)) == {0, 255}
    mean = [samples.images[samples.target == label].mean() for label in (0, 1)]
    assert mean[0] == pytest.approx(mean[1], rel=0.02)
    assert abs(samples.target.mean() - 0.5) < 0.01
    for split in ("train", "val", "test"):
        assert set(samples.target[samples.indices(split)]) == {0, 1}


def test_averaging_blocks_commutes_with_turning():
    def halved(volume):
        return volume.reshape(14, 2, 14, 2, 14, 2).mean(axis=(1, 3, 5))

    for r in range(0, 24, 5):
        assert np.array_equal(halved(handedness.turned(SHAPE, r, True)), handedness.turned(halved(SHAPE), r, True))


def test_equal_settings_give_equal_bytes_and_another_seed_others(tmp_path):
    paths = [handedness.write(_made(tmp_path / str(i)), twins.spec("handedness", {**SPEC, "cases": 100, "seed": seed}))
             for i, seed in enumerate((0, 0, 1))]  # fmt: skip
    one, same, other = (path.read_bytes() for path in paths)
    assert one == same != other


@pytest.mark.parametrize(("name", "value"), [("cases", 10), ("noise", 0.5), ("noise", float("nan")), ("seed", -1)])
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(DataError, match=f"twin: {name} is"):
        twins.spec("handedness", {**SPEC, name: value})


def _made(folder):
    folder.mkdir()
    return folder
