"""Many slides are scanned as one would be, may be interrupted at any moment, and fail alone."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch

from fewscans.errors import DataError, RunError
from fewscans.slides.detections import suppress
from fewscans.slides.heatmap import Geometry
from fewscans.slides.scan import scan_slides

from .fake import Darkness, read_csv, tissue_slide, write_tiff

pytestmark = pytest.mark.usefixtures("one_thread")
GEOMETRY = Geometry(24, 16)
TUMOURS = {"a": [(192, 256)], "b": [], "c": [(96, 96), (480, 320)]}  # x, y of their first pixel


class Scanner(Darkness):
    """Counts its sweeps, and raises `error` before the one numbered `fails_at`."""

    def __init__(self, fails_at=None, error=None, geometry=GEOMETRY):
        super().__init__(geometry, 16)
        self.sweeps, self.fails_at, self.error = 0, fails_at, error

    def sweep(self, *regions):
        self.sweeps += 1
        if self.sweeps == self.fails_at:
            raise self.error
        return super().sweep(*regions)


@pytest.fixture(scope="module", autouse=True)
def _small_blocks():
    """A slide is four blocks of 24 cells or fewer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fewscans.slides.heatmap.REGION", 24 + 23 * 16)
        yield


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    return [write_tiff(folder / f"{name}.tif", tissue_slide(640, 512, at)) for name, at in TUMOURS.items()]


def scan(slides, out, network=None, **settings):
    settings = {"geometry": GEOMETRY, "trained_mpp": 1.0, "show": False} | settings
    return scan_slides(slides, network or Scanner(), out=out, **settings)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def whole(slides, tmp_path_factory):
    """What an uninterrupted scan leaves."""
    out = tmp_path_factory.mktemp("whole")
    scan(slides, out)
    return contents(out)


def test_each_slide_has_its_files_and_all_a_summary(slides, tmp_path):
    summary = scan(reversed(slides), tmp_path)
    endings = [".csv", ".geojson", ".heatmap.npz", ".json"]
    assert sorted(contents(tmp_path)) == sorted(["summary.csv"] + [name + end for name in "abc" for end in endings])
    assert summary["slide"].tolist() == ["a", "b", "c"] and summary["error"].isna().all()
    assert summary["detections"].tolist() == [len(at) for at in TUMOURS.values()]
    assert (summary["max_probability"] > 0.5).tolist() == [True, False, True]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "summary.csv"), summary, check_dtype=False)
    for name, places in TUMOURS.items():
        found = read_csv(tmp_path / f"{name}.csv")
        inside = [((found["x"] - x).between(0, 31) & (found["y"] - y).between(0, 31)).sum() for x, y in places]
        assert inside == [1] * len(places)


def test_the_kept_heatmap_gives_the_detections_again(slides, tmp_path):
    scan(slides, tmp_path)
    with np.load(tmp_path / "c.heatmap.npz") as kept:
        again = Geometry(int(kept["patch"]), int(kept["stride"]), tuple(kept["levels"].tolist()))
        found = suppress(kept["heatmap"], again)
        assert again == GEOMETRY and kept["mpp"] == pytest.approx(1.0) and kept["downsample"] == 1.0
    table = read_csv(tmp_path / "c.csv")
    np.testing.assert_array_equal(found[["x", "y"]], table[["x", "y"]])
    np.testing.assert_allclose(found["probability"], table["probability"], atol=1e-3)


def test_a_second_scan_computes_nothing_and_changes_nothing(slides, tmp_path, whole):
    scan(slides, tmp_path)
    network = Scanner()
    again = scan(slides, tmp_path, network)
    assert network.sweeps == 0 and contents(tmp_path) == whole
    assert again["detections"].tolist() == [1, 0, 2]


def test_a_scan_that_is_killed_goes_on_where_it_was_with_equal_results(slides, tmp_path, whole):
    first = Scanner(fails_at=4, error=KeyboardInterrupt())  # in the first slide
    with pytest.raises(KeyboardInterrupt):
        scan(slides, tmp_path, first)
    assert not contents(tmp_path)
    second = Scanner(fails_at=7, error=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        scan(slides, tmp_path, second)
    assert {name.partition(".")[0] for name in contents(tmp_path)} == {"a"}
    third = Scanner()
    scan(slides, tmp_path, third)
    assert contents(tmp_path) == whole and third.sweeps == 8, "the first slide is not scanned again"


def test_a_slide_that_fails_ends_no_other_and_is_tried_again(slides, tmp_path, whole):
    folder, out = tmp_path / "slides", tmp_path / "out"
    copies = [folder / slide.name for slide in slides]
    folder.mkdir()
    for slide, copy in zip(slides, copies, strict=True):
        copy.write_bytes(slide.read_bytes())
    copies[1].write_text("no slide")
    with pytest.raises(RunError, match=r"1 of 3 slides failed.*\n  b: .*b.tif: .*OpenSlide cannot read") as caught:
        scan(copies, out)
    assert len(str(caught.value).splitlines()) == 2
    summary = pd.read_csv(out / "summary.csv")
    assert summary["error"].notna().tolist() == [False, True, False]
    assert "OpenSlide" in json.loads((out / "b.json").read_text())["error"]
    copies[1].write_bytes(slides[1].read_bytes())
    network = Scanner()
    scan(copies, out, network)
    assert network.sweeps == 4 and contents(out) == whole


def test_any_fault_of_a_slide_is_recorded_with_its_kind_and_its_old_results_go(slides, tmp_path):
    scan(slides, tmp_path)
    with pytest.raises(RunError, match="a: ZeroDivisionError: by zero$"):
        scan(slides, tmp_path, Scanner(fails_at=1, error=ZeroDivisionError("by zero\nin block 3")), threshold=0.6)
    assert [name for name in contents(tmp_path) if name.startswith("a.")] == ["a.json"]
    with pytest.raises(RunError, match="1 of 1 slides failed.*\n  gone: FileNotFoundError"):
        scan([slides[0].with_name("gone.tif")], tmp_path)


def test_whatever_decides_a_result_has_it_computed_anew(slides, tmp_path, monkeypatch):
    def sweeps(network, **settings):
        before = network.sweeps
        scan(slides[:1], tmp_path, network, **settings)
        return network.sweeps - before

    weighted, other = Scanner(), Scanner(geometry=Geometry(22, 16))
    weighted.weight = torch.nn.Parameter(torch.zeros(1))
    changes = [{"threshold": 0.6}, {"orientations": 8}, {"mpp": 1.01}, {"trained_mpp": 1.02},
               {"network": other, "geometry": Geometry(22, 16)}, {"network": weighted}]  # fmt: skip
    for change in changes:
        sweeps(Scanner())
        assert sweeps(Scanner()) == 0
        assert sweeps(**{"network": Scanner()} | change) > 0, change
    with torch.no_grad():
        weighted.weight += 1
    assert sweeps(weighted) > 0 and sweeps(weighted) == 0, "the last change"
    monkeypatch.setattr("fewscans.closure.fingerprint", lambda modules: "changed code")
    assert sweeps(weighted) > 0 and sweeps(weighted) == 0
    (tmp_path / "a.json").write_text("[]")
    assert sweeps(weighted) > 0 and sweeps(weighted) == 0
    (tmp_path / "a.heatmap.npz").unlink()
    assert sweeps(weighted) > 0 and sweeps(weighted) == 0


def test_the_level_with_the_pixels_of_the_training_stands_for_level_0(tmp_path):
    image = np.kron(tissue_slide(640, 512, TUMOURS["c"]), np.ones((2, 2, 1), np.uint8))
    fine = write_tiff(tmp_path / "fine.tif", image, mpp=0.45)
    coarse = write_tiff(tmp_path / "coarse.tif", tissue_slide(640, 512, TUMOURS["c"]), mpp=0.9)
    scan([fine, coarse], tmp_path / "out")
    tables = [read_csv(tmp_path / "out" / f"{name}.csv") for name in ("fine", "coarse")]
    np.testing.assert_array_equal(tables[0]["probability"], tables[1]["probability"])
    assert len(tables[0]) == 2 and (tables[0][["x", "y"]] == 2 * tables[1][["x", "y"]]).all(axis=None)
    with pytest.raises(RunError, match=r"trained at 0.3 µm a pixel, and the slide's levels have 0.45, 0.9, 1.8"):
        scan([fine], tmp_path / "out", trained_mpp=0.3)


def test_where_no_level_has_such_pixels_means_over_whole_numbers_of_finer_ones_stand_for_them(tmp_path):
    small = tissue_slide(640, 512, TUMOURS["c"])
    coarse = write_tiff(tmp_path / "coarse.tif", small, mpp=0.9)
    alone = write_tiff(tmp_path / "alone.tif", np.kron(small, np.ones((3, 3, 1), np.uint8)), mpp=0.3)
    scan([coarse, alone], tmp_path / "out")
    tables = [read_csv(tmp_path / "out" / f"{name}.csv") for name in ("alone", "coarse")]
    assert len(tables[0]) == 2 and (np.abs(tables[0] - 3 * tables[1])[["x", "y"]] <= 1).all(axis=None)


def test_the_size_of_pixels_comes_from_a_number_or_a_table_where_a_slide_lacks_it(tmp_path):
    slides = [write_tiff(tmp_path / f"{n}.tif", tissue_slide(640, 512, TUMOURS["c"]), mpp=None) for n in ("x", "y.1")]
    with pytest.raises(RunError, match=r"2 of 2 slides failed(.|\n)*x: .*x.tif: does not say .* add --mpp"):
        scan(slides, tmp_path / "out")
    assert scan(slides, tmp_path / "number", mpp="1.0")["detections"].tolist() == [2, 2]
    table = tmp_path / "mpp.csv"
    table.write_text("slide,mpp,note\nx,1.0,\ny.1.tif,0.5,\nanother,7,\n")
    assert scan(slides, tmp_path / "table", mpp=table)["detections"].tolist() == [2, 2]
    with np.load(tmp_path / "table" / "y.1.heatmap.npz") as kept:
        assert kept["downsample"] == 2.0 and kept["mpp"] == 1.0


@pytest.mark.parametrize("text, wrong", [
    ("slide;mpp\na;0.25\n", "the columns are slide,mpp"), ("slide,mpp\na,\n", "the columns are slide,mpp"),
    ("slide,mpp\na,-1\n", "a has -1 µm; --mpp takes"), ("slide,mpp\na,x\n", "could not convert.*slide,mpp"),
    ("slide,mpp\na\n", "the columns are slide,mpp"), ("slide,mpp\na,0.25\na.tif,0.5\n", "gives a both 0.25 and 0.5"),
])  # fmt: skip
def test_a_wrong_table_of_pixel_sizes_is_refused_before_anything_is_scanned(slides, tmp_path, text, wrong):
    (tmp_path / "mpp.csv").write_text(text)
    with pytest.raises(DataError, match=wrong):
        scan(slides, tmp_path / "out", mpp=tmp_path / "mpp.csv")
    with pytest.raises(DataError, match="0: a has 0 µm; --mpp takes a number of µm above 0, or a CSV file"):
        scan(slides, tmp_path / "out", mpp="0")
    with pytest.raises(DataError, match="nowhere.csv: no such file; --mpp takes"):
        scan(slides, tmp_path / "out", mpp="nowhere.csv")
    assert not (tmp_path / "out").exists()


def test_slides_of_one_name_or_none_are_refused(slides, tmp_path):
    with pytest.raises(DataError, match="b/a.svs: its results would be named as those of .*a.tif; rename one"):
        scan([*slides, tmp_path / "b" / "a.svs"], tmp_path)
    with pytest.raises(DataError, match="summary.tif: its results would be named as those of summary.csv"):
        scan([tmp_path / "summary.tif"], tmp_path)
    with pytest.raises(DataError, match="no slides to scan"):
        scan([], tmp_path)
    assert len(scan([slides[1], slides[1]], tmp_path)) == 1


def test_a_folder_that_cannot_be_written_is_said_so(slides, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(RunError, match="out cannot be written"):
        scan(slides, tmp_path / "out")


def test_a_slide_of_one_colour_throughout_is_refused_by_its_name(tmp_path):
    glass = write_tiff(tmp_path / "glass.tif", tissue_slide(640, 512, corner=300))
    with pytest.raises(RunError, match="glass.tif: every pixel has the same colour"):
        scan([glass], tmp_path / "out")


def test_without_a_terminal_only_failures_are_printed_as_they_happen(slides, tmp_path, capsys):
    scan(slides, tmp_path, show=True)
    assert capsys.readouterr().err == ""
    with pytest.raises(RunError):
        scan(slides, tmp_path, Scanner(fails_at=1, error=ValueError("odd")), threshold=0.7, show=True)
    assert re.fullmatch(r"failed: a: ValueError: odd\n", capsys.readouterr().err)
