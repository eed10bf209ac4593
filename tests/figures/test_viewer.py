"""The slide viewer: what the widget is given, and what JupyterLab in Chromium then draws."""

import base64
import io
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from contextlib import closing, contextmanager

import numpy as np
import pytest
import tifffile
from PIL import Image

from fewscans.data.formats.asap import Annotation
from fewscans.errors import DataError
from fewscans.figures.viewer import view
from fewscans.slides.heatmap import Geometry

pytest.importorskip("islide", reason="jupyter-islide is not installed: pip install -e .[workbook]")
WIDTH, HEIGHT, STRIDE = 2000, 1500, 128  # not whole numbers of cells
HOT = (5, 9)  # the cell with probability 1: x from 1152, y from 640
SQUARE = np.array([[1152.0, 640], [1280, 640], [1280, 768], [1152, 768]])  # the same cell
GEOMETRY = Geometry(patch=256, stride=STRIDE)
CHROMIUM = """chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
    --disable-background-networking --disable-component-update --remote-debugging-port=0 --remote-allow-origins=*
    --window-size=1200,900""".split()
LAB = """-m jupyterlab --no-browser --allow-root --expose-app-in-browser --ServerApp.port=0 --ServerApp.ip=127.0.0.1
    --IdentityProvider.token=none""".split()
CELL = """
from types import SimpleNamespace
import numpy as np
from fewscans.figures.viewer import view
heatmap = np.zeros({shape}); heatmap[{hot}] = 1
geometry = SimpleNamespace(stride={stride}, shape=lambda width, height: {shape})  # no torch to import
view("slide.tif", heatmap, geometry, SimpleNamespace(tumour=[np.array({square})], excluded=[]))
"""
# Left, top, right, bottom, in pixels of the canvas, of the overlay (yellow) and of the outline (cyan), the share of the
# canvas that is dark (a stripe), and the canvas's size.
SEEN = """(() => {
    const canvas = name => { const drawn = document.querySelector(name), {width, height} = drawn;
        return [drawn.getContext('2d').getImageData(0, 0, width, height).data, width, height]; };
    const box = ([data, width], inside) => { const xs = [], ys = [];
        for (let i = 0; i < data.length; i += 4)
            if (inside(...data.slice(i, i + 4))) { xs.push(i / 4 % width); ys.push(Math.floor(i / 4 / width)); }
        return [Math.min(...xs), Math.min(...ys), Math.max(...xs) + 1, Math.max(...ys) + 1]; };
    const slide = canvas('.islide-canvas'), [data, width, height] = slide; let dark = 0;
    for (let i = 0; i < data.length; i += 4) dark += data[i + 3] == 255 && data[i] < 130;
    return {hot: box(slide, (r, g, b, a) => r - b > 60), dark: dark / width / height, size: [width, height],
            outline: box(canvas('.islide-annotations'), (r, g, b, a) => a > 127 && b - r > 127)}; })()"""


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """Grey tissue; level 0 has stripes of two pixels, which level 1 has averaged away."""
    path = tmp_path_factory.mktemp("slide") / "slide.tif"
    stripes = np.where(np.arange(WIDTH) // 2 % 2, 190, 110).astype(np.uint8)
    with tifffile.TiffWriter(path) as writer:
        for level in range(3):
            row = stripes if level == 0 else np.full(WIDTH >> level, 150, np.uint8)
            pixels = np.broadcast_to(row[:, None], (HEIGHT >> level, WIDTH >> level, 3))
            writer.write(pixels, tile=(256, 256), compression="jpeg", photometric="rgb", subfiletype=int(level > 0))
    return path


@pytest.fixture
def heatmap():
    cells = np.full(GEOMETRY.shape(WIDTH, HEIGHT), np.nan)
    cells[:, :12] = 0.05
    cells[HOT] = 1
    return cells


@pytest.fixture
def shown(slide):
    """`view` of the slide; its widget is closed after the test."""
    widgets = []
    yield lambda *args, **keywords: widgets.append(view(slide, *args, **keywords)) or widgets[-1]
    for widget in widgets:
        widget.close()


def test_overlay_covers_its_cells_and_is_transparent_where_nan_or_low(shown, heatmap):
    widget = shown(heatmap, GEOMETRY)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(widget.overlay_img.split(",")[1]))))
    scale = picture.shape[1] / WIDTH
    assert picture.shape[0] / HEIGHT == pytest.approx(scale, rel=1e-3)
    rows, columns = np.nonzero(picture[..., 3])
    assert np.unique(picture[rows, columns], axis=0).tolist() == [[253, 231, 37, 255]]  # the last of viridis
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / scale
    np.testing.assert_allclose(box, [*SQUARE[0], *SQUARE[2]], atol=1 / scale)


def test_polygons_keep_their_coordinates_and_excluded_parts_look_different(shown):
    hole = SQUARE[:3] / 2
    document = shown(annotation=Annotation(tumour=(SQUARE, SQUARE + 300), excluded=(hole,)), height=321)
    features = document.annotations["features"]
    assert [f["geometry"]["coordinates"] for f in features] == [[p.tolist()] for p in (SQUARE, SQUARE + 300, hole)]
    looks = [f["properties"]["color"] for f in features]
    assert looks[0] == looks[1] != looks[2]
    assert (document.canvas_h, document.overlay_img) == (321, "")


def test_heatmap_that_does_not_fit_the_slide_is_refused(shown, heatmap):
    with pytest.raises(ValueError, match=r"\(12, 16\), got \(11, 16\)"):
        shown(heatmap[1:], GEOMETRY)
    with pytest.raises(ValueError, match="geometry"):
        shown(heatmap)
    with pytest.raises(ValueError, match="from 0 to 1"):
        shown(heatmap * 255, GEOMETRY)


def test_missing_file_other_file_and_missing_package_are_named(tmp_path, monkeypatch):
    text = tmp_path / "notes.tif"
    text.write_text("no slide")
    for path in (text, tmp_path / "absent.tif"):
        with pytest.raises(DataError, match=path.name):
            view(path)
    monkeypatch.setitem(sys.modules, "islide", None)
    with pytest.raises(ImportError, match="pip install"):
        view(text)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_heatmap_and_outline_lie_on_the_same_place_of_the_slide_while_it_is_panned_and_zoomed(slide, tmp_path):
    shutil.copy(slide, tmp_path)
    source = CELL.format(shape=GEOMETRY.shape(WIDTH, HEIGHT), hot=HOT, stride=STRIDE, square=SQUARE.tolist())
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    cell = {"cell_type": "code", "id": "a", "source": source, "metadata": {}, "outputs": [], "execution_count": None}
    notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "slide.ipynb").write_text(json.dumps(notebook))
    with lab_in_chromium(tmp_path, "slide.ipynb") as page:
        page.until(
            "[...jupyterapp.shell.widgets('main')][0].sessionContext.session.kernel.connectionStatus == 'connected'"
        )
        page.javascript("jupyterapp.commands.execute('notebook:run-all-cells').then(() => 1)")
        page.until(f"[{SEEN}].every(seen => seen.hot[2] > 0 && seen.outline[2] > 0)")
        x, y, *_ = page.javascript("document.querySelector('.islide-canvas').getBoundingClientRect().toJSON()").values()

        seen = page.javascript(SEEN)  # the whole slide, in the middle
        zoom = min(seen["size"][0] / WIDTH, seen["size"][1] / HEIGHT)
        expected = (np.array([SQUARE[0], SQUARE[2]]) - [WIDTH / 2, HEIGHT / 2]) * zoom + np.array(seen["size"]) / 2
        expected = expected.ravel()
        assert_boxes(seen, expected)
        assert seen["dark"] < 0.01

        at = np.round(expected[:2] + [x + 20, y + 20])
        page.mouse("mousePressed", at, button="left", clickCount=1)
        page.mouse("mouseMoved", at + [60, -40], button="left", buttons=1)
        page.mouse("mouseReleased", at + [60, -40], button="left", clickCount=1)
        expected += [60, -40, 60, -40]
        page.until(f"Math.abs({SEEN}.hot[0] - {expected[0]}) < 3")
        assert_boxes(page.javascript(SEEN), expected)

        at = np.round(expected[:2] + [x, y])
        for _ in range(2):  # the point under the mouse stays; islide's factor for 400 pixels of wheel is exp(0.8)
            page.mouse("mouseWheel", at, deltaX=0, deltaY=-400)
        stays = np.tile(at - [x, y], 2)
        expected = stays + (expected - stays) * np.exp(1.6)
        page.until(f"{SEEN}.dark > 0.2")  # the stripes of level 0, read by the kernel
        assert_boxes(page.javascript(SEEN), expected)


def assert_boxes(seen, expected):
    np.testing.assert_allclose(seen["hot"], expected, atol=2)
    np.testing.assert_allclose(seen["outline"], expected, atol=2)


class Page:
    """A page of Chromium, steered through its DevTools."""

    def __init__(self, port):
        import websocket

        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            address = next(tab["webSocketDebuggerUrl"] for tab in json.load(answer) if tab["type"] == "page")
        self.socket, self.calls = websocket.create_connection(address, timeout=120), 0

    def call(self, method, **parameters):
        self.calls += 1
        self.socket.send(json.dumps({"id": self.calls, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv())).get("id") != self.calls:
            pass  # an event
        assert "error" not in answer, answer
        return answer["result"]

    def javascript(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, condition):
        wait = "await new Promise(resolve => setTimeout(resolve, 50))"
        self.javascript(f"(async () => {{ for (;;) {{ try {{ if ({condition}) return }} catch {{ }} {wait} }} }})()")

    def mouse(self, kind, at, **parameters):
        self.call("Input.dispatchMouseEvent", type=kind, x=float(at[0]), y=float(at[1]), **parameters)


@contextmanager
def lab_in_chromium(folder, notebook):
    """JupyterLab on a free port, with no settings of the user's, and a browser that shows a notebook."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed: pip install -e .[workbook]")
    own = {f"JUPYTER_{kind}_DIR": str(folder / kind) for kind in ("CONFIG", "DATA", "RUNTIME")} | {"HOME": str(folder)}
    started = []

    def start(command, announced):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder, env=os.environ | own)
        started.append(process)
        return next(found[1] for line in process.stderr if (found := re.search(announced, line)))

    try:
        lab = start([sys.executable, *LAB], r"http://127\.0\.0\.1:(\d+)/lab")
        page = Page(
            start([*CHROMIUM, f"--user-data-dir={folder / 'chromium'}", "about:blank"], r"ws://127\.0\.0\.1:(\d+)")
        )
        with closing(page.socket):
            page.call("Page.navigate", url=f"http://127.0.0.1:{lab}/doc/tree/{notebook}?token=none")
            yield page
    finally:
        for process in reversed(started):
            process.terminate()
            process.communicate()
