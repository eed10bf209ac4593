"""The strict notebook runner, on small notebooks made on the fly."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from fewscans import notebook, page
from fewscans.errors import NotebookError

from .pages import assert_needs_no_network

PARAMETERS = 'n_seeds = 3  # how many\nrate = 0.1\nname = "a"\nsizes = [1, 2]\nlimit = None\nsave = False'
TITLE = "# A *title* & more\n\n[next](02_next.ipynb#part), $a<b$"
ROOT = Path(__file__).parents[1]
BODY = """
import os, sys
from tqdm.auto import tqdm
import matplotlib.pyplot as plt
for _ in tqdm(range(3)):
    print("step", flush=True)
print(os.getcwd(), sys.executable, n_seeds, rate, save)
print({"a", "b", "c"}, file=sys.stderr)
plt.plot([1, n_seeds])
object()
"""


def write(folder: Path, name: str, *cells, parameters: str = PARAMETERS) -> Path:
    first = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    made = new_notebook(cells=[new_markdown_cell(TITLE), first, *cells])
    made.metadata["kernelspec"] = notebook.KERNELSPEC
    path = folder / "notebooks" / name
    path.parent.mkdir(exist_ok=True)
    nbformat.write(made, path)
    return path


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project's folder with braces in its name, which papermill would take for a format string."""
    root = tmp_path / "a {project}"
    root.mkdir()
    (root / "params.yaml").write_text("profile: smoke\n")
    (root / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.setenv("FEWSCANS_ROOT", str(root))
    return root


def test_two_runs_give_the_same_bytes_whatever_kernels_and_settings_the_user_has(project, monkeypatch, tmp_path):
    path = write(project, "01_a.ipynb", new_code_cell(BODY))
    executed = notebook.run("01", {"n_seeds": 5, "rate": 1}, profile="smoke")
    first = executed.read_bytes(), executed.with_suffix(".html").read_bytes()

    other = tmp_path / "jupyter" / "kernels" / "python3"
    other.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "another", "language": "python"}
    (other / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MPLBACKEND", "agg")
    (tmp_path / "matplotlibrc").write_text("figure.dpi: 20\nlines.linewidth: 9\n")
    (tmp_path / "startup.py").write_text("print('good morning')\n")
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path / "matplotlibrc"))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "startup.py"))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    assert notebook.run(path, {"n_seeds": 5, "rate": 1}, profile="smoke") == executed
    assert (executed.read_bytes(), executed.with_suffix(".html").read_bytes()) == first

    result = nbformat.read(executed, as_version=4)
    nbformat.validate(result)
    assert result.metadata.fewscans.profile == "smoke"
    assert result.metadata.fewscans.parameters == {
        "n_seeds": 5, "rate": 1.0, "name": "a", "sizes": [1, 2], "limit": None, "save": True
    }  # fmt: skip
    stdout, stderr, value, figure = result.cells[-1].outputs
    assert stdout.text == "step\n" * 3 + f"./notebooks {sys.executable} 5 1.0 True\n"
    assert stderr.text.startswith("{"), "no progress bar among what the cell says"
    assert value.data["text/plain"] == "<object at 0x…>"
    assert "image/png" in figure.data
    assert not (project / "build" / "failed" / path.name).exists()

    html = first[1].decode()
    assert "<title>A *title* &amp; more</title>" in html and "profile: smoke" in html
    assert 'href="02_next.html#part"' in html
    assert "<img" in html and "data:image/png;base64," in html
    assert_needs_no_network(html)


def test_nothing_of_the_users_home_is_kept(project, monkeypatch, tmp_path):
    home = tmp_path / "home" / "anna"
    home.mkdir(parents=True)
    home.chmod(0o500)
    monkeypatch.setenv("HOME", str(home))
    body = """
import os, sys, warnings
import matplotlib.pyplot as plt
from IPython.display import HTML, display
home = os.path.expanduser("~")
print(home, f"{home}/scans, {home}.")
print(home, file=sys.stderr)
display(HTML(f"<p title='{home}'>{home}/scans</p>"))
warnings.warn_explicit(home, UserWarning, f"{home}/lib/a.py", 3)
plt.plot([1, 2])
[home]
"""
    executed = notebook.run(write(project, "01_a.ipynb", new_code_cell(body)))
    home.chmod(0o700)
    for file in (executed, executed.with_suffix(".html")):
        assert str(home) not in file.read_text() and "~/scans" in file.read_text()


def test_that_check_notices_a_page_of_nbconverts_own():
    from nbconvert.exporters import HTMLExporter

    with pytest.raises(AssertionError):
        assert_needs_no_network(HTMLExporter().from_notebook_node(new_notebook(cells=[new_markdown_cell("# A")]))[0])


def test_a_failing_cell_is_named_its_copy_kept_and_the_last_good_result_left_alone(project):
    path = write(project, "01_a.ipynb", new_code_cell("print('before')"), new_code_cell("1 / 0"))
    before = project / "reports" / "notebooks" / path.name
    before.parent.mkdir(parents=True)
    before.write_text("the last good result")
    with pytest.raises(NotebookError, match=r"01_a.ipynb: cell \[4\], '1 / 0': ZeroDivisionError") as error:
        notebook.run(1, profile="smoke")
    kept = project / "build" / "failed" / path.name
    assert str(kept) in str(error.value)
    assert "before" in kept.read_text() and "ZeroDivisionError" in kept.read_text()
    assert before.read_text() == "the last good result"


def test_plain_papermill_runs_the_same_notebook(project):
    import papermill

    path = write(project, "01_a.ipynb", new_code_cell("assert n_seeds == 4 and not save"))
    papermill.execute_notebook(nbformat.read(path, 4), None, {"n_seeds": 4}, kernel_name="python3", progress_bar=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seeds": 3}, r"no parameter 'seeds'; it has n_seeds, rate, name, sizes, limit, save"),
        ({"n_seeds": "3"}, r"'n_seeds' is '3', of type str; it takes int, like its default 3"),
        ({"n_seeds": 3.0}, r"of type float; it takes int"),
        ({"n_seeds": True}, r"of type bool; it takes int"),
        ({"save": 1}, r"of type int; it takes bool"),
        ({"sizes": "1"}, r"of type str; it takes list"),
        ({"name": None}, r"of type NoneType; it takes str"),
    ],
)
def test_an_unknown_parameter_or_a_wrong_type_is_an_error_before_anything_runs(project, given, message):
    write(project, "01_a.ipynb")
    with pytest.raises(NotebookError, match=message):
        notebook.run("01", given, profile="smoke")
    assert not (project / "build").exists()


@pytest.mark.parametrize(
    ("cell", "named"),
    [
        ("n = 1 + len([])", r"n = 1 \+ len"),
        ("import os", "import os"),
        ("n: int = 3", "n: int = 3"),
        ("a = b = 1", "a = b = 1"),
        ("n = (", "not Python"),
    ],
)
def test_a_parameters_cell_holds_plain_literals_only(project, cell, named):
    path = write(project, "01_a.ipynb", parameters=cell)
    with pytest.raises(NotebookError, match=f"01_a.ipynb.*{named}"):
        notebook.parameters(path)


def test_exactly_one_cell_declares_parameters(project):
    path = write(project, "01_a.ipynb", new_code_cell("m = 1", metadata={"tags": ["parameters"]}))
    with pytest.raises(NotebookError, match="2 cells are tagged 'parameters'"):
        notebook.parameters(path)


@pytest.mark.parametrize("name", ["02", 2, "02_b", "02_b.ipynb", "notebooks/02_b.ipynb"])
def test_a_notebook_is_found_by_number_name_or_file(project, name):
    write(project, "01_a.ipynb")
    wanted = write(project, "02_b.ipynb")
    assert notebook.find(name) == wanted


def test_an_unknown_notebook_is_an_error_that_lists_the_known_ones(project):
    write(project, "01_a.ipynb")
    with pytest.raises(NotebookError, match="no notebook '7' .*there are 01_a"):
        notebook.find("7")
    (project / "notebooks" / "03_c.ipynb").write_text("not JSON")
    with pytest.raises(NotebookError, match="03_c.ipynb is not a notebook"):
        notebook.source("03")


def test_saving_in_jupyterlab_leaves_the_watched_copy_alone_and_editing_changes_it(project):
    path = write(project, "01_a.ipynb", new_code_cell("1 + 1"))
    copy = notebook.source("01")
    assert copy == project / "build" / "source" / "01.ipynb"
    before, written = copy.read_bytes(), copy.stat().st_mtime_ns

    opened = nbformat.read(path, as_version=4)
    opened.metadata.update(
        language_info={"name": "python", "version": "3.13.0"},
        widgets={},
        kernelspec={"name": "mine", "display_name": "x"},
    )
    for number, cell in enumerate(opened.cells):
        cell.id = f"saved{number}"
        cell.metadata.update(editable=True, execution={"iopub.execute_input": "2026-01-01"}, trusted=True)
        if cell.cell_type == "code":
            cell.execution_count = 7
            cell.outputs = [nbformat.v4.new_output("stream", text="hello")]
    path.write_text(json.dumps(opened, indent=4))
    notebook.source("01")
    assert copy.read_bytes() == before and copy.stat().st_mtime_ns == written

    opened.cells[-1].source = "1 + 2"
    nbformat.write(opened, path)
    notebook.source("01")
    assert copy.read_bytes() != before


def test_a_stream_cut_into_other_messages_is_the_same_result():
    def outputs(*chunks):
        cell = new_code_cell("", outputs=[nbformat.v4.new_output("stream", name=n, text=t) for n, t in chunks])
        return notebook.normalised(new_notebook(cells=[cell]), outputs=True).cells[0].outputs

    new = "Matplotlib is building the font cache; this may take a moment.\n"
    whole = outputs(("stdout", "one\ntwo\n"), ("stderr", "oh\n"))
    assert outputs(("stderr", new), ("stdout", "one\n"), ("stderr", "oh\n"), ("stdout", "two\n")) == whole
    assert [o.text for o in whole] == ["one\ntwo\n", "oh\n"]


def test_a_page_needs_no_network_even_for_an_empty_notebook():
    assert_needs_no_network(page.render(new_notebook(cells=[new_markdown_cell("no heading")])))


def test_for_git_a_notebook_saved_after_run_all_has_not_changed(tmp_path):
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    git("config", "filter.fewscans-notebook.clean", f"'{sys.executable}' -m fewscans.notebook")
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    (tmp_path / "notebooks").mkdir()
    path = tmp_path / "notebooks" / "01_a.ipynb"
    first = new_code_cell("1 + 1", id="my-name")
    nbformat.write(new_notebook(cells=[first]), path)
    git("add", ".")
    git("commit", "-qm", "first")
    first.update(execution_count=3, outputs=[nbformat.v4.new_output("stream", text="2")], metadata={"trusted": True})
    nbformat.write(new_notebook(cells=[first], metadata={"widgets": {}, "language_info": {"name": "python"}}), path)
    assert git("diff") == ""
    first.source = "1 + 2"
    nbformat.write(new_notebook(cells=[first]), path)
    assert git("diff", "--numstat").split()[:2] == ["1", "1"]


def test_a_widget_leaves_its_picture_in_the_result_and_one_without_a_picture_nothing():
    def outputs(**data):
        bundle = {"application/vnd.jupyter.widget-view+json": {"model_id": "a1b2"}, "text/plain": "VBox()"} | data
        shown = nbformat.v4.new_output("display_data", data=bundle)
        cells = [new_code_cell("", outputs=[shown])]
        return notebook.normalised(new_notebook(cells=cells), outputs=True).cells[0].outputs

    assert outputs() == []
    assert outputs(**{"image/png": "AAAA"})[0].data == {"image/png": "AAAA", "text/plain": "VBox()"}
