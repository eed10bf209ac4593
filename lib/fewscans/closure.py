"""Which code a result depends on: a module, and all of the library that it imports, inside functions too.

The closure is read from the source without running it. It stops at the registries, which reach their modules by name:
what a run or a notebook needs of those is named beside it. Two hashes are made of it. A run's key covers code without
comments, docstrings, records of data sets and tables of arms, so that a new label or citation retrains nothing: of a
record, the function that reads its cases counts, and what an arm's training reads stands in the key by itself. What a
pipeline stage depends on covers records and tables as well, so that a notebook is drawn anew when a label changes.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import fewscans

LIBRARY = Path(fewscans.__file__).parent
REGISTRIES = frozenset(
    {"fewscans.experiments", "fewscans.experiments.own_arms", "fewscans.data.registry", "fewscans.twins"}
)
RECORDS = ("DATASET", "TWIN", "ARMS")  # module-level names that decide no run; also those that end in _ARMS
TABLES = ("arms", "sources")  # modules that are records but for their classes


def source_of(module: str) -> Path | None:
    """The file of one of the library's modules, None for anything else."""
    parts = module.split(".")
    if parts[0] != "fewscans":
        return None
    place = LIBRARY.joinpath(*parts[1:])
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


@cache
def _tree(path: Path, _changed: int) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _version(module: str) -> tuple[Path, int]:
    """A module's file, and when it was changed."""
    path = source_of(module)
    if path is None:
        raise ModuleNotFoundError(f"{module} is no module of fewscans")
    return path, path.stat().st_mtime_ns


def tree_of(module: str) -> ast.Module:
    """The module's source, parsed. Raises ModuleNotFoundError if it is none of the library's."""
    return _tree(*_version(module))


def imports(tree: ast.AST) -> set[str]:
    """The library's modules that a piece of code imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if source_of(inner) else node.module)
    return {name for name in found if source_of(name)}


def closure(roots: Iterable[str]) -> list[str]:
    """The roots and all that they import in turn, sorted; registries are left out."""
    seen: set[str] = set()
    waiting = set(roots)
    while waiting:
        name = waiting.pop()
        if name not in seen and name not in REGISTRIES:
            seen.add(name)
            waiting |= imports(tree_of(name)) - seen
    return sorted(seen)


def fingerprint(modules: Iterable[str], records: bool = False) -> str:
    """A hash of those modules' code without comments and docstrings.   records: with records and tables of arms."""
    digests = {module: _digest(*_version(module), records) for module in modules}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _digest(path: Path, _changed: int, records: bool) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not records:
        table = path.stem in TABLES
        tree.body = [part for node in tree.body for part in (_deciding(node) if _is_record(node, table) else [node])]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                node.body = node.body[1:]
    return hashlib.sha256(json.dumps(_plain(tree)).encode()).hexdigest()


def _plain(node: object) -> object:
    """A tree as nested lists, without empty fields: the same in every version of Python, as `ast.dump` is not."""
    if isinstance(node, ast.AST):
        return [type(node).__name__, *([name, _plain(x)] for name, x in ast.iter_fields(node) if x not in (None, []))]
    return [_plain(part) for part in node] if isinstance(node, list) else repr(node)


def _is_record(node: ast.stmt, table: bool) -> bool:
    """Whether a module-level statement is a record or a table.   table: of a module that holds nothing else."""
    if table:
        return not isinstance(node, ast.ClassDef | ast.Import | ast.ImportFrom)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return any(name in RECORDS or name.endswith("_ARMS") for name in names)


def _deciding(record: ast.stmt) -> list[ast.expr]:
    """What decides runs in a record: the function that reads its cases."""
    keywords = getattr(getattr(record, "value", None), "keywords", [])
    return [keyword.value for keyword in keywords if keyword.arg == "cases"]
