"""Run a notebook strictly, so that the same notebook and data give the same bytes.

Papermill executes it, with what papermill leaves open closed: an unknown parameter is an error rather than a warning,
the kernel is this environment's Python whatever kernels the user has installed, the working directory is the notebook's
folder as in JupyterLab, and what differs between two runs (times, versions, cell ids, addresses) is taken out of the
result. `source` writes the stripped copy that the pipeline watches: saving a notebook in JupyterLab does not change it,
editing a cell does.
"""

from __future__ import annotations

import ast
import logging
import os
import re
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from fewscans import files, paths
from fewscans.errors import NotebookError

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
COLLAPSED = "jp-MarkdownHeadingCollapsed"  # JupyterLab shows what follows such a heading folded
WIDGET = "application/vnd.jupyter.widget-view+json"
FAULTS = ("Timeout", "DeadKernelError", "CellExecutionError")
VOLATILE = (
    (re.compile(r"\bat 0x[0-9a-fA-F]+"), "at 0x…"),
    (re.compile(r"\S*ipykernel_\d+/\d+\.py"), "cell.py"),
    (re.compile(r"^Matplotlib is building the font cache.*\n", re.MULTILINE), ""),  # once in a new environment
)


def find(name: str | int) -> Path:
    """The notebook with this number ("01" or 1), stem or file name.

    Raises: NotebookError if there is none or more than one, listing those that exist.
    """
    folder = paths.root() / "notebooks"
    known = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    wanted = f"{int(name):02d}" if str(name).isdigit() else Path(str(name)).name.removesuffix(".ipynb")
    found = [path for path in known if wanted in (path.stem, path.name[:2])]
    if len(found) != 1:
        trouble = "no notebook" if not found else "more than one notebook"
        raise NotebookError(f"{trouble} {name!r} in {folder}; there are {', '.join(p.stem for p in known) or 'none'}")
    return found[0]


def parameters(path: Path) -> dict[str, Any]:
    """The parameters a notebook declares, with their defaults, in order.

    Read from the one cell tagged `parameters`, which holds plain literals only (`n_seeds = 10  # comment`), so that
    nothing is executed.
    Raises: NotebookError naming what else stands there.
    """
    return _declared(read(path), path)


def run(name: str | int, parameters: Mapping[str, Any] | None = None, *, profile: str | None = None) -> Path:
    """Execute a notebook with these parameters and `save = True`; write it and its page to reports/notebooks/.

    Args:   name: as `find` takes it.   parameters: by name, each of its default's type.
            profile: stamped into the notebook's metadata; None takes that of params.yaml.
    Returns: the executed notebook; its page lies beside it, with the ending html.
    Raises: NotebookError for an unknown notebook, an unknown parameter or a wrong type, and for a cell that fails; the
            copy with the failure in it is then kept in build/failed/, and the results of an earlier run stay.
    """
    from fewscans import page

    path = find(name)
    notebook = read(path)
    declared = _declared(notebook, path)
    given = _checked(path, declared, dict(parameters or {}))
    if "save" in declared:
        given = {"save": True, **given}
    stamp = {"profile": profile or _profile(), "parameters": {**declared, **given}}
    executed = normalised(_execute(path, normalised(notebook), given), outputs=True)
    executed.metadata["fewscans"] = stamp

    result = paths.reports() / "notebooks" / path.name
    files.write(result.with_suffix(".html"), page.render(executed))
    files.write(result, _text(executed))
    return result


def source(name: str | int) -> Path:
    """Write the stripped, normalised copy of a notebook to build/source/NN.ipynb, if it changed."""
    path = find(name)
    copy = paths.build() / "source" / f"{path.name[:2]}.ipynb"
    files.write(copy, _text(normalised(read(path))))
    return copy


def normalised(notebook: nbformat.NotebookNode, outputs: bool = False) -> nbformat.NotebookNode:
    """A copy with only what the author wrote, and with `outputs` what the cells showed, without times or ids."""
    cells = []
    for number, cell in enumerate(notebook.cells):
        kept = {"cell_type": cell.cell_type, "id": f"cell-{number:02d}", "source": cell.source, "metadata": {}}
        if cell.metadata.get("tags"):
            kept["metadata"]["tags"] = list(cell.metadata.tags)
        if cell.metadata.get(COLLAPSED):
            kept["metadata"][COLLAPSED] = True
        if cell.get("attachments"):
            kept["attachments"] = cell.attachments
        if cell.cell_type == "code":
            kept["execution_count"] = cell.execution_count if outputs else None
            kept["outputs"] = _stable(cell.outputs) if outputs else []
        cells.append(kept)
    metadata = {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}
    return nbformat.from_dict({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def stripped(text: str) -> str:
    """What git keeps of a notebook's file: what the author wrote, in one form; cells keep their ids.

    Git's clean filter calls it (`python -m fewscans.notebook`, set by `make lab`), so a notebook that JupyterLab saved
    after *Run all* does not count as changed.
    """
    opened = nbformat.reads(text, as_version=4)
    kept = normalised(opened)
    for cell, before in zip(kept.cells, opened.cells, strict=True):
        cell.id = before.id
    return _text(kept)


def _stable(outputs: list) -> list:
    """Outputs without what differs from run to run: live widgets, addresses, how a stream was cut into messages."""
    kept: list = []
    for output in outputs:
        output = nbformat.from_dict(dict(output))
        if output.get("data", {}).pop(WIDGET, None) and "image/png" not in output.data:
            continue  # alive only beside its kernel; its model id is random; its picture, if it has one, is kept
        if output.output_type == "stream":
            output.text = _lasting(output.text)
            if not output.text:
                continue
            before = next((o for o in _trailing_streams(kept) if o.name == output.name), None)
            if before is not None:
                before.text += output.text
                continue
        elif output.output_type in ("display_data", "execute_result"):
            output.metadata = {kind: value for kind, value in output.metadata.items() if kind in output.data}
            for kind, value in output.data.items():
                if isinstance(value, str) and not kind.startswith("image/"):
                    output.data[kind] = _lasting(value)
        kept.append(output)
    return kept


def _lasting(text: str) -> str:
    for pattern, instead in VOLATILE:
        text = pattern.sub(instead, text)
    for place, instead in _places().items():
        text = re.sub(rf"{re.escape(place)}(?![\w-]|\.\w)", instead, text)
    return text


def _places() -> dict[str, str]:
    """Folders of this machine and user, longest first, and what is kept of them: results do not depend on where."""
    named = {sysconfig.get_path("purelib"): "site-packages", str(paths.root()): ".", os.path.expanduser("~"): "~"}
    named |= {os.path.realpath(place): instead for place, instead in named.items() if place != "~"}
    places = [place for place in named if os.path.isabs(place) and len(place) > 1]
    return {place: named[place] for place in sorted(places, key=len, reverse=True)}


def _trailing_streams(outputs: list) -> list:
    streams: list = []
    for output in reversed(outputs):
        if output.output_type != "stream":
            break
        streams.append(output)
    return streams


def _declared(notebook: nbformat.NotebookNode, path: Path) -> dict[str, Any]:
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise NotebookError(f"{path.name}: {len(tagged)} cells are tagged 'parameters'; a notebook has exactly one")
    declared: dict[str, Any] = {}
    try:
        statements = ast.parse(tagged[0].source).body
    except SyntaxError as error:
        raise NotebookError(f"{path.name}: the parameters cell is not Python: {error}") from error
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                try:
                    declared[name] = ast.literal_eval(value)
                    continue
                except ValueError:
                    pass
        raise NotebookError(
            f"{path.name}: '{ast.unparse(statement)}' in the parameters cell; only assignments, like n_seeds = 10"
        )
    return declared


def _checked(path: Path, declared: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The given parameters, integers made floats where the default is one."""
    checked = {}
    for name, value in given.items():
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise NotebookError(f"{path.name} has no parameter '{name}'; it has {known}")
        default = declared[name]
        if type(default) is float and type(value) is int:
            value = float(value)
        if default is not None and type(value) is not type(default):
            raise NotebookError(
                f"{path.name}: parameter '{name}' is {value!r}, of type {type(value).__name__}; "
                f"it takes {type(default).__name__}, like its default {default!r}"
            )
        checked[name] = value
    return checked


def _execute(path: Path, notebook: nbformat.NotebookNode, given: dict[str, Any]) -> nbformat.NotebookNode:
    import papermill
    from papermill.exceptions import PapermillExecutionError

    failed = paths.build() / "failed" / path.name
    failed.parent.mkdir(parents=True, exist_ok=True)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    try:
        executed = papermill.execute_notebook(
            notebook,
            str(failed).replace("{", "{{").replace("}", "}}"),  # papermill takes a path for a format string
            given,
            kernel_name="python3",
            language="python",
            cwd=str(path.parent),
            progress_bar=False,
            kernel_manager_class=_kernel_manager(),
        )
    except PapermillExecutionError as error:
        raise NotebookError(
            f"{path.name}: cell [{error.exec_count}], '{_first_line(error.source)}': {error.ename}: {error.evalue}\n"
            f"the notebook as far as it came: {failed}"
        ) from error
    except Exception as error:
        if not any(fault in type(error).__name__ for fault in FAULTS):
            raise
        raise NotebookError(f"{path.name}: {error}\nthe notebook as far as it came: {failed}") from error
    failed.unlink(missing_ok=True)
    return executed


def _first_line(source: str) -> str:
    return next((line.strip() for line in source.splitlines() if line.strip()), "")


def _kernel_manager() -> type:
    """A kernel manager that knows one kernel, this interpreter, started with a quiet and repeatable environment."""
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import default

    environment = {
        "FEWSCANS_ROOT": str(paths.root()),
        "IPYTHONDIR": str(paths.build() / "ipython"),  # no start-up files of the user's, nor a history to lock
        "JUPYTER_RUNTIME_DIR": str(paths.build() / "jupyter"),
        "MPLCONFIGDIR": str(paths.build() / "matplotlib"),  # a home that cannot be written is told in every output
        "MATPLOTLIBRC": "",  # none of the user's own settings, of figures or of Python
        "PYTHONSTARTUP": "",
        "PYTHONWARNINGS": "",
        "PYTHONUTF8": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": "315532800",  # 1980, the earliest date that every format can hold
        "TQDM_DISABLE": "1",
    }

    class ThisPython(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            spec = get_kernel_dict(extra_arguments=["--log-level=ERROR"])
            return KernelSpec(resource_dir=RESOURCES, env=environment, **spec)

    class Manager(AsyncKernelManager):
        @default("kernel_spec_manager")
        def _this_python(self) -> KernelSpecManager:
            return ThisPython(parent=self)

    return Manager


def _profile() -> str | None:
    # Not by params.load, which checks every experiment's grid and so imports torch: a second or two per notebook.
    return paths.raw_params().get("profile")


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook's file. Raises NotebookError for one that is damaged, or a pointer of Git LFS."""
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.ValidationError, ValueError, AttributeError, TypeError, KeyError) as error:
        cause = "a pointer of Git LFS" if files.is_pointer(path) else str(error).partition("\n")[0]
        raise NotebookError(f"{path.name} is not a notebook: {cause}; restore it from git") from error


def _text(notebook: nbformat.NotebookNode) -> str:
    return nbformat.writes(notebook, version=4) + "\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(stripped(sys.stdin.buffer.read().decode("utf-8")).encode("utf-8"))
