"""Notebooks in real JupyterLab, in a real browser: Run all ends without an error, widgets answer to their controls."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import nibabel
import numpy as np
import pytest
from PIL import Image

from fewscans import paths

from .browser import chromium

slow = pytest.mark.slow  # `make test` opens notebook 00 alone; `pytest -m slow tests/test_jupyterlab.py` the others

SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},  # tests leave the working tree as it is
    "notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
}
RUN_SECONDS = 600  # of a notebook, and of what a busy machine takes to show it; each wait ends with what it waits for
PROMPTS = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(p => p.innerText)"
LOOKED_AT = ".fewscans-by-hand img"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab of this environment on the project's notebooks, with settings of its own."""
    folder = tmp_path_factory.mktemp("jupyter")
    for name, content in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = {"SETTINGS": "settings", "WORKSPACES": "workspaces"}
    environment = os.environ | {f"JUPYTERLAB_{name}_DIR": str(folder / end) for name, end in names.items()}
    environment |= {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment |= {"IPYTHONDIR": str(folder / "ipython"), "FEWSCANS_ROOT": str(paths.root()), "PYTHONWARNINGS": ""}
    options = [f"--port={port}", f"--notebook-dir={paths.root()}", "--IdentityProvider.token=", "--no-browser"]
    command = [sys.executable, "-m", "jupyterlab", *options, "--allow-root", "--ServerApp.port_retries=0"]
    with (folder / "log.txt").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}/api", server, folder / "log.txt")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def _wait(address: str, server: subprocess.Popen, log) -> None:
    for _ in range(720):  # three minutes; seconds on an idle machine
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.25)
    pytest.fail(f"JupyterLab does not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


def ran(browser, lab: str, file: str, folder: str = "notebooks", told: list[str] | None = None):
    """The page of a notebook, all of whose cells have run; nothing is saved.   told: takes the console's errors."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    if told is not None:
        page.on("console", lambda message: message.type == "error" and told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
    page.set_default_timeout(RUN_SECONDS * 1000)
    page.goto(f"{lab}/lab/workspaces/{file[:2]}/tree/{folder}/{file}?reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.get_by_text("| Idle").wait_for()  # of the status bar: the kernel has answered
    for _ in range(20):  # a command is lost while the kernel connects
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.wait_for_timeout(1000)
        if page.evaluate(f"{PROMPTS}.some(text => text != '[ ]:')"):
            break
    done = f"{PROMPTS}.every(text => !text.includes('*')) && /\\d/.test({PROMPTS}[0])"  # an error leaves the rest empty
    for _ in range(RUN_SECONDS):
        if page.evaluate(done):
            return page
        page.wait_for_timeout(1000)
    pytest.fail(f"{file} did not end in {RUN_SECONDS} s; its cells: {page.evaluate(PROMPTS)}, {errors(page)}")


def errors(page) -> list[str]:
    """What cells wrote to the error stream, and the errors that stopped them."""
    kinds = ("stderr", "error")
    return page.locator(", ".join(f"[data-mime-type='application/vnd.jupyter.{k}']" for k in kinds)).all_inner_texts()


def changed_by(page, change) -> tuple[str, str]:
    """What the widget's picture says before and after; the picture itself must change, too."""
    picture = page.locator(LOOKED_AT)
    picture.wait_for()
    before, source = picture.get_attribute("alt"), picture.get_attribute("src")
    change(page.locator(".fewscans-by-hand"))
    new = "([css, old]) => document.querySelector(css).src != old"
    page.wait_for_function(new, arg=[LOOKED_AT, source])
    return before, picture.get_attribute("alt")


def step(page, widget) -> None:
    """Moves the first slider by one step."""
    widget.locator(".noUi-handle").first.focus()
    page.keyboard.press("ArrowRight")


def numbers(text: str) -> list[float]:
    return [float(x) for x in re.findall(r"-?\d+\.\d+", text.replace("−", "-"))]


def test_learning_curves_follow_the_chosen_size_and_data(browser, lab):
    page = ran(browser, lab, "00_start_here.ipynb")
    assert errors(page) == []

    before, after = changed_by(page, lambda widget: step(page, widget))
    assert "N = 30" in before and "N = 60" in after and numbers(before) != numbers(after)
    other = changed_by(page, lambda widget: widget.locator("select").first.select_option("real hippocampal volumes"))
    assert other[1].startswith("ICC") and other[0] == after


@slow
def test_a_quarter_turn_moves_the_answer_of_the_plain_network_alone(browser, lab):
    page = ran(browser, lab, "01_gcnn_data_efficiency.ipynb")
    assert errors(page) == []
    first, _ = changed_by(page, lambda widget: step(page, widget))
    plain, group = numbers(first)
    assert first.startswith("Turned by 90°") and abs(plain) > 0.01 and group == 0


@slow
def test_a_set_is_composed_anew_and_its_gradient_with_it(browser, lab):
    page = ran(browser, lab, "04_hydranet_icc.ipynb")
    assert errors(page) == []
    before, after = changed_by(page, lambda widget: widget.locator("select").first.select_option("black"))
    assert before.startswith("Error of the set") and numbers(before) != numbers(after)


@slow
def test_volumes_and_labels_are_drawn_in_space_without_a_word_in_the_console(browser, lab, tmp_path):
    pytest.importorskip("ipyniivue")
    ball = sum(axis**2 for axis in np.mgrid[-1:1:24j, -1:1:24j, -1:1:24j]) < 0.5
    for name, values in (("scan", 200 * ball + 20), ("truth", ball)):
        nibabel.save(nibabel.Nifti1Image(values.astype(np.uint8), np.eye(4)), tmp_path / f"{name}.nii.gz")
    cell = f"from pathlib import Path\nfrom fewscans.figures import thread\nhere = Path({str(tmp_path)!r})\n"
    cell += "thread.in_space(here / 'scan.nii.gz', {'truth': here / 'truth.nii.gz'})"
    place, told = paths.build() / "in_space.ipynb", []
    place.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)]), place)
    try:
        page = ran(browser, lab, place.name, "build", told)
        canvas = page.locator(".jp-OutputArea canvas").first
        canvas.wait_for()
        for _ in range(RUN_SECONDS):  # the volumes come after the canvas
            picture = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")).astype(int)
            coloured = (np.ptp(picture, axis=2) > 40).mean()
            if coloured > 0.01:
                break
            page.wait_for_timeout(1000)
        assert 0.01 < coloured < 0.9, "the label lies in colour on a grey scan"
        assert errors(page) == [] and told == []
    finally:
        place.unlink(missing_ok=True)


@slow
def test_a_higher_threshold_leaves_fewer_detections_on_the_slide(browser, lab):
    page = ran(browser, lab, "03_camelyon16_froc.ipynb")
    assert errors(page) == []
    before, after = changed_by(page, lambda widget: step(page, widget))
    assert "threshold 0.90" in before and "threshold 0.91" in after
    assert numbers(before)[-1] > numbers(after)[-1] > 0, "false positives a slide"
    _, lowest = changed_by(page, lambda widget: page.keyboard.press("Home"))
    marks = [sum(map(int, re.findall(r"(\d+) detections in lesions, (\d+)", text)[0])) for text in (lowest, after)]
    assert "threshold 0.50" in lowest and marks[0] > marks[1] > 0
    _, other = changed_by(page, lambda widget: widget.locator("select").first.select_option("test_001"))
    assert other.startswith("test_001, threshold 0.50: 0 detections in lesions"), "a slide without tumour"
