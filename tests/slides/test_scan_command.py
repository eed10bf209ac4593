"""`fewscans scan`: a trained network says of a slide what its run says; what is asked wrongly is one line."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from fewscans import cli
from fewscans.sweep import engine

from ..experiments import toy_slides
from ..toy import Inline
from .fake import read_csv, tissue_slide, write_tiff

RUN = "camelyon16-camelyon16-twin"
PARAMS = """
profile: smoke
data_root: data
twins:
  camelyon16:
    smoke: {train: 4, test: 4, independent: 2, tumour_share: 0.5, side: 640, microns_per_pixel: 1.944, seed: 0}
runs:
  camelyon16-camelyon16-twin: {experiment: camelyon16, dataset: camelyon16, twin: true, data: build/twins/camelyon16}
grids:
  camelyon16-camelyon16-twin:
    smoke: {arms: {40x-small: [4, 6], tissue: [4]}, seeds: 1, steps: 4, eval_every: 2, learning_rates: [1.0e-2],
      patch: 40, stride: 16, microns_per_pixel: 1.944, network: dense, small: 4, full: 6, optimiser: adam,
      batch_size: 4, validation: 8, overview: 48}
  camelyon16-camelyon16-patches:
    smoke: {arms: {40x-small: [4]}, seeds: 1, steps: 4, eval_every: 2, learning_rates: [1.0e-2]}
notebooks: {}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory, one_thread):
    """A project with a run trained on toy slides."""
    folder = tmp_path_factory.mktemp("project")
    toy_slides.write(folder / "build/twins/camelyon16")
    (folder / "params.yaml").write_text(PARAMS)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("FEWSCANS_STORE", "FEWSCANS_DATA_ROOT", "DVC_STAGE"):
            patch.delenv(name, raising=False)
        patch.setenv("FEWSCANS_ROOT", str(folder))
        patch.setattr(engine, "LocalEngine", lambda slots: Inline())
        patch.setattr(sys, "argv", ["fewscans", "train", RUN, "--device", "cpu"])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert not left.value.code
        yield folder


@pytest.fixture
def scan(project, monkeypatch, capsys, tmp_path):
    """slides and options → exit code, stdout, stderr of the command that writes into tmp_path / "out"."""

    def called(*arguments):
        words = ["fewscans", "scan", "--out", str(tmp_path / "out"), "--device", "cpu", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code or 0, *capsys.readouterr()

    return called


def slides_of(project, *names):
    return [project / "build/twins/camelyon16/testing/images" / f"{name}.tif" for name in names]


def test_a_scan_says_of_a_test_slide_what_the_table_of_the_run_says(project, scan, tmp_path):
    names, out = ("test_001", "test_002", "test_003"), tmp_path / "out"
    code, said, err = scan(*slides_of(project, *names), "--threshold", "0.01")
    assert (code, said, err) == (0, f"wrote 3 slides to {out}; summary.csv lists them\n", "")
    summary = pd.read_csv(out / "summary.csv").set_index("slide")
    table = pd.read_parquet(project / "runs" / f"{RUN}.parquet").query("split == 'test' and arm == '40x-small'")
    by_size = {n: rows.set_index("case")["prediction"][list(names)] for n, rows in table.groupby("n_train")}
    np.testing.assert_allclose(summary["max_probability"], by_size[6], atol=1e-3)
    assert not np.allclose(by_size[4], by_size[6], atol=1e-2)
    for name in names:
        found = read_csv(out / f"{name}.csv")
        with np.load(out / f"{name}.heatmap.npz") as kept:
            heatmap = kept["heatmap"]
        assert len(found) == summary["detections"][name] > 2 and found["probability"].is_monotonic_decreasing
        row, column = (found[axis].to_numpy(int) // 16 for axis in "yx")
        np.testing.assert_allclose(heatmap[row, column], found["probability"], atol=1e-3)
        features = json.loads((out / f"{name}.geojson").read_text())["features"]
        assert sum(feature["geometry"]["type"] == "Point" for feature in features) == len(found)


def test_another_size_and_averaging_over_orientations_change_the_answer(project, scan, tmp_path):
    scores = []
    for options in ([], ["--n-train", "4"], ["--orientations", "8"]):
        assert scan(*slides_of(project, "test_001"), *options)[0] == 0
        scores.append(pd.read_csv(tmp_path / "out" / "summary.csv")["max_probability"][0])
    assert len(set(scores)) == 3
    table = pd.read_parquet(project / "runs" / f"{RUN}.parquet").query("split == 'test' and case == 'test_001'")
    own = table.query("arm == '40x-small-averaged' and n_train == 6")["prediction"].item()
    assert scores[2] == pytest.approx(own, abs=1e-3)


def test_the_size_of_pixels_may_be_given_where_a_slide_does_not_say_it(scan, tmp_path):
    slide = write_tiff(tmp_path / "x.tif", tissue_slide(320, 256), mpp=None)
    code, _, err = scan(slide)
    assert code == 1 and "1 of 1 slides failed" in err and "does not say how large its pixels are" in err
    assert scan(slide, "--mpp", "1.944")[0] == 0
    assert pd.read_csv(tmp_path / "out" / "summary.csv")["tissue_cells"][0] > 50


WRONG = {
    # options, what the line must hold
    "unknown arm": (["--arm", "Z9"], [f"{RUN} has no network Z9 with N = any and seed 0", "40x-small (N = 4)"]),
    "arm without a network": (["--arm", "tissue"], ["has no network tissue"]),
    "arm computed along": (["--arm", "40x-small-averaged"], ["has no network 40x-small-averaged"]),
    "unknown N": (["--n-train", "8"], ["has no network 40x-small with N = 8 and seed 0", "40x-small (N = 6)"]),
    "unknown seed": (["--seed", "5"], ["with N = any and seed 5"]),
    "unknown run": (["--run", "camelyon16-x"], ["unknown run 'camelyon16-x'"]),
    "run on patches": (["--run", "camelyon16-camelyon16-patches"], ["do not see slides", "camelyon16-camelyon16-twin"]),
    "unknown profile": (["--profile", "huge"], ["has no profile 'huge'; it has smoke"]),
    "orientations": (["--orientations", "4"], ["--orientations must be 1 or 8, got 4"]),
    "mpp": (["--mpp", "0"], ["0: test_001 has 0 µm; --mpp takes a number of µm above 0, or a CSV file"]),
    "device": (["--device", "tpu"], ["unknown device 'tpu'"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_one_line_and_nothing_is_written(project, scan, tmp_path, monkeypatch, case):
    options, words = WRONG[case]
    code, out, err = scan(*slides_of(project, "test_001"), *options)
    assert (code, out) == (1, "") and err.startswith("fewscans: ") and err.count("\n") == 1, err
    assert [word for word in words if word not in err] == [], err
    assert not (tmp_path / "out").exists()


def test_a_run_that_was_not_trained_names_the_command(project, scan, monkeypatch, tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS)
    monkeypatch.setenv("FEWSCANS_ROOT", str(tmp_path))
    code, _, err = scan(*slides_of(project, "test_001"))
    assert code == 1 and f"runs/{RUN}.records.json does not exist; `fewscans train {RUN}` makes it" in err
