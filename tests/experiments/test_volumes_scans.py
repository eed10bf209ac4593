"""Scans in files: the labels of a network lie where the scan lies, whatever its order, angle and voxels."""

import sys
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from fewscans import cli, transfer
from fewscans.data.base import quantised
from fewscans.data.formats import nifti
from fewscans.errors import DataError
from fewscans.experiments.volumes import TWICE, Grid, networks, scans, segmented
from fewscans.experiments.volumes.arms import ARMS, VOLUME
from fewscans.experiments.volumes.batches import standardised

CPU = torch.device("cpu")
GRID = Grid(arms={"3D": (4,)}, seeds=1, steps=1, eval_every=1, learning_rates=(1e-3,), patch=(16, 16, 16), width=2)
SHAPE = (18, 22, 20)  # z y x


@pytest.fixture(scope="module")
def weights():
    """Of untrained networks on volumes and on axial slices, which draw all three classes."""
    found = {}
    for name in (VOLUME, "z"):
        state = networks.build(name, 3, GRID.width, seed=1).state_dict()
        found |= {f"{name}.{key}": value for key, value in state.items() if not key.startswith(TWICE)}
    return found


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    z, y, x = np.indices(SHAPE)
    return (200 * np.exp(-((z - 9) ** 2 + (y - 8) ** 2 + (x - 12) ** 2) / 40) + 3 * y).astype(np.float32)


def stored(path, image, order="RAS", spacing=(1.0, 1.0, 1.0), turn=None):
    """A file of the image (z, y, x), its voxels in another order, and perhaps turned."""
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = (4.0, -7.0, 20.0)
    if turn is not None:
        affine[:3] = turn @ affine[:3]
    from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

    way = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(order))
    nibabel.save(nibabel.Nifti1Image(apply_orientation(image.T, way), affine @ inv_ornt_aff(way, image.T.shape)), path)
    return path


def drawn(path, out, weights, arm="3D", **options):
    (written,) = scans.segment([path], out, weights, GRID, arm, CPU, **options)
    return written, nifti.read_mask(written)


@pytest.mark.parametrize("arm", ["3D", "2D", "ensemble", "3D-filtered"])
def test_a_scan_of_the_training_voxels_is_drawn_as_a_case_is(arm, weights, image, tmp_path):
    source = stored(tmp_path / "scan.nii.gz", image)
    _, mask = drawn(source, tmp_path / "out", weights, arm)
    seen = standardised(torch.from_numpy(quantised(nifti.unit(image))))
    nets = {name: networks.build(name, 3, GRID.width, seed=1).eval() for name in (VOLUME, "z")}
    with torch.inference_mode():
        wanted = segmented(nets, {arm: ARMS[arm]}, seen, GRID)[arm]
    assert np.array_equal(mask.array, wanted) and len(np.unique(wanted)) > 1


@pytest.mark.parametrize("order", ["LPS", "PIR"])
@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_the_frame_of_the_labels_is_that_of_the_scan(order, angle, weights, image, tmp_path):
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    upright, _ = drawn(stored(tmp_path / "a.nii", image), tmp_path / "out", weights)
    source = stored(tmp_path / "b.nii.gz", image, order, turn=turn)
    written, mask = drawn(source, tmp_path / "out", weights)
    a, b = nibabel.load(source), nibabel.load(written)
    assert a.shape == b.shape and np.array_equal(a.affine, b.affine)
    assert nibabel.aff2axcodes(a.affine) == nibabel.aff2axcodes(b.affine) == tuple(order)
    assert np.array_equal(mask.array, nifti.read_mask(upright).array)


def test_a_scan_of_other_voxels_is_seen_at_those_of_training_and_answered_on_its_own(weights, image, tmp_path):
    fine = np.repeat(image, 2, axis=2)
    source = stored(tmp_path / "fine.nii.gz", fine, "LPS", spacing=(1.0, 1.0, 0.5))
    _, mask = drawn(source, tmp_path / "out", weights)
    nifti.same_grid(nifti.read(source), mask)
    _, coarse = drawn(stored(tmp_path / "coarse.nii.gz", image), tmp_path / "out", weights)
    agree = mask.array == np.repeat(coarse.array, 2, axis=2)
    assert agree.mean() > 0.85  # an untrained network's labels are brittle
    _, blind = drawn(source, tmp_path / "blind", weights, spacing_mm=(1.0, 1.0, 0.5))
    assert (blind.array == np.repeat(coarse.array, 2, axis=2)).mean() < agree.mean()


def test_volumes_are_those_of_the_written_labels(weights, image, tmp_path):
    source = stored(tmp_path / "scan.nii.gz", image)
    ((written, ml),) = scans.segment([source], tmp_path / "out", weights, GRID, "3D", CPU).items()
    for label, volume in ml.items():
        assert volume == pytest.approx((nifti.read_mask(written).array == label).sum() / 1000)


def test_what_cannot_be_drawn_is_one_clear_error_and_files_of_macos_are_passed_over(weights, image, tmp_path):
    source = stored(tmp_path / "scan.nii.gz", image)
    (tmp_path / "._scan.nii.gz").write_bytes(b"\0\5\26\7")
    (tmp_path / "more").mkdir()
    twin = stored(tmp_path / "more" / "scan.nii.gz", image)
    ask = [tmp_path / "out", weights, GRID]
    with pytest.raises(DataError, match="scan.nii.gz: two scans of this name"):
        scans.segment([source, twin], *ask, "3D", CPU)
    with pytest.raises(DataError, match="atlas cannot draw labels: it has no network"):
        scans.segment([source], *ask, "atlas", CPU)
    with pytest.raises(DataError, match="2D-vote cannot draw labels: the run has no network on x, y"):
        scans.segment([source], *ask, "2D-vote", CPU)
    plane = nibabel.Nifti1Image(image[0].T, np.eye(4))
    nibabel.save(plane, tmp_path / "plane.nii")
    with pytest.raises(DataError, match="plane.nii: its shape is .*; a scan has three axes"):
        scans.segment([tmp_path / "plane.nii"], *ask, "3D", CPU)
    assert list(scans.segment(sorted(tmp_path.glob("*scan*")), *ask, "3D", CPU)) == [tmp_path / "out" / "scan.nii.gz"]


def called(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["fewscans", "segment", "--profile", "smoke", "--device", "cpu", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    said = capsys.readouterr()
    return left.value.code or 0, said.out, said.err


def test_the_command_writes_a_file_a_scan_and_says_what_is_wrong(weights, image, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(transfer, "weights_of", lambda *which: asked.append(which) or (None, weights))
    source = stored(tmp_path / "scan.nii.gz", image, "LPS")
    code, out, _ = called(monkeypatch, capsys, source, "--out", tmp_path / "out", "--arm", "2D", "--seed", 1)
    assert code == 0 and f"wrote {tmp_path / 'out' / 'scan.nii.gz'}: label 1 " in out
    assert asked[0][2:] == ("3D", None, 1)  # the arm that is trained for this one
    for words, said in (
        (["--arm", "4D"], "--arm 4D: unknown; it is one of 3D, 2D"),
        (["--run", "gcnn-luna16-twin"], "its networks draw no labels"),
    ):
        code, _, err = called(monkeypatch, capsys, source, "--out", tmp_path / "out", *words)
        assert code == 1 and said in err and err.count("\n") == 1


def test_half_precision_is_that_of_the_grid(weights, image, tmp_path):
    source = stored(tmp_path / "scan.nii.gz", image)
    options = [source], tmp_path / "out", weights
    assert scans.segment(*options, replace(GRID, half=True), "3D", CPU)
