"""Which module of the library imports which, read from the source without running it."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "lib" / "fewscans"
MODULES = {
    ".".join(("fewscans", *path.relative_to(LIBRARY).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(LIBRARY.rglob("*.py"))
}
# Imported from anywhere: errors, where things lie, what params.yaml says. No result depends on how these are written.
FOUNDATION = {"fewscans", "errors", "paths", "params", "strictyaml"}


def part(module: str) -> str:
    """The folder or file of the library that a module belongs to."""
    names = module.split(".")
    return names[1] if len(names) > 1 else "fewscans"


@cache
def of_module(module: str, top_only: bool = False) -> frozenset[str]:
    """What a module of the library imports, at its top only or anywhere."""
    package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
    return of_tree(ast.parse(MODULES[module].read_text()), package, top_only)


def of_tree(tree: ast.Module, package: str = "", top_only: bool = False) -> frozenset[str]:
    """What source code imports: the library's modules by their full name, others as they are written."""
    found = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                found.add(f"{base}.{alias.name}" if f"{base}.{alias.name}" in MODULES else base)
    return frozenset(found)


def closure(start: set[str], top_only: bool = False, foundation: bool = True) -> set[str]:
    """Those modules, and all of the library and of other packages that they import in turn."""
    seen: set[str] = set()
    waiting = set(start)
    while waiting:
        name = waiting.pop()
        seen.add(name)
        if name in MODULES and (foundation or part(name) not in FOUNDATION):
            waiting |= of_module(name, top_only) - seen
    return seen
