"""Which module of the library imports which, read from the source without running it."""

import ast
from functools import cache
from pathlib import Path

from fewscans import closure as closures

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "lib" / "fewscans"
MODULES = {
    ".".join(("fewscans", *path.relative_to(LIBRARY).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(LIBRARY.rglob("*.py"))
}
# Imported from anywhere: errors, where things lie, what params.yaml says. No result depends on how these are written.
FOUNDATION = {"fewscans", "errors", "files", "guard", "integrity", "locks", "paths", "params", "strictyaml", "closure"}


def part(module: str) -> str:
    """The folder or file of the library that a module belongs to."""
    names = module.split(".")
    return names[1] if len(names) > 1 else "fewscans"


@cache
def of_module(module: str, top_only: bool = False) -> frozenset[str]:
    """What a module of the library imports, at its top only or anywhere."""
    return of_tree(ast.parse(MODULES[module].read_text()), top_only)


def of_tree(tree: ast.Module, top_only: bool = False) -> frozenset[str]:
    own = closures.imports(ast.Module(tree.body, []) if not top_only else _top(tree))
    found = set(own)
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if not alias.name.startswith("fewscans")}
        elif isinstance(node, ast.ImportFrom) and not node.module.startswith("fewscans"):
            found.add(node.module)
    return frozenset(found)


def _top(tree: ast.Module) -> ast.Module:
    return ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])


def closure(start: set[str], top_only: bool = False) -> set[str]:
    """Those modules, and all of the library and of other packages that they import in turn."""
    seen: set[str] = set()
    waiting = set(start)
    while waiting:
        name = waiting.pop()
        seen.add(name)
        if name in MODULES:
            waiting |= of_module(name, top_only) - seen
    return seen


def graph() -> dict[str, set[str]]:
    """Each module and those of the library that it imports, inside functions too."""
    return {module: {name for name in of_module(module) if name in MODULES} for module in MODULES}
