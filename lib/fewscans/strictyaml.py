"""YAML that means one thing: what one reader takes otherwise than another is an error, and so is a key given twice.

Python's usual loader reads YAML 1.1: 010 is eight, 1:30 is ninety, yes is true. DVC reads the same file as YAML 1.2:
ten, a text, a text. A value without quotes is read here only where both agree.
"""

from __future__ import annotations

import copy
import re
from functools import lru_cache
from pathlib import Path

import yaml

from fewscans.errors import FewscansError

# Scalars without quotes by YAML 1.2's core schema (chapter 10.3); all others are texts.
CORE = {
    "null": re.compile(r"null|Null|NULL|~|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
}
# What DVC's reader takes for a number, though the core schema does not: underscores among digits, signed octals.
DVC = re.compile(
    r"(?=[-+.0-9])[-+]?(\.[0-9_]+([eE][-+][0-9]+)?|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|[0-9_]+"
    r"|0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+)"
)
TAG = "tag:yaml.org,2002:"
SAME = ("timestamp", "merge", "value")  # types of 1.1 that DVC's reader of 1.2 has kept


def load(text: str) -> object:
    """YAML as Python values. Raises yaml.YAMLError, naming the line, for what has two meanings or none."""
    try:
        return copy.deepcopy(_load(text))
    except ValueError as error:  # a date such as 2001-13-45
        raise yaml.YAMLError(str(error)) from error
    except RecursionError as error:
        raise yaml.YAMLError("brackets within brackets without end") from error


@lru_cache(maxsize=4)  # a notebook asks for params.yaml often, and reading it takes 0.2 seconds
def _load(text: str) -> object:
    return yaml.load(text, Loader=_Loader)


def read(path: Path, error_type: type[FewscansError], remedy: str = "run inside a clone of the project") -> object:
    """A file's values. Raises `error_type` naming file, line and what to do; `remedy`: for one that cannot be read."""
    try:
        return load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise error_type(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except UnicodeDecodeError as error:
        raise error_type(f"{path}: byte {error.start} is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f"line {mark.line + 1}: " if mark else ""
        said = " ".join((problem or str(error)).split())
        raise error_type(f"{path}: {where}{said}; correct that line") from error


class _Loader(yaml.SafeLoader):
    def __init__(self, stream):
        super().__init__(stream)
        self.above: list[str] = []  # the keys that what is being read stands under

    def construct_object(self, node: yaml.Node, deep: bool = False):
        if isinstance(node, yaml.ScalarNode):
            _one_meaning(self, node)
        return super().construct_object(node, deep)


def _refuse(node: yaml.Node, problem: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _one_meaning(loader: _Loader, node: yaml.ScalarNode) -> None:
    plain = node.style is None
    kind = loader.resolve(yaml.ScalarNode, node.value, (plain, not plain))
    if node.tag != kind:
        raise _refuse(node, f"{node.value!r} has the tag {node.tag}; write the value without a tag")
    if not plain or kind.removeprefix(TAG) in SAME:
        return
    core = next((name for name, pattern in CORE.items() if pattern.fullmatch(node.value)), "str")
    old, new = _meaning(loader, node), _in_core(core, node.value)
    if (type(old), repr(old)) != (type(new), repr(new)):
        where = f"{'.'.join(loader.above)}: " if loader.above else ""
        fault = f"{where}{node.value} is {old!r} in YAML 1.1 and {new!r} in YAML 1.2, and DVC may read the latter"
        raise _refuse(node, f"{fault}; write a number in plain digits (10, 1.0e-3), true or false, or a text in quotes")
    if core == "str" and DVC.fullmatch(node.value):
        raise _refuse(node, f"DVC may read {node.value} as a number; write it in plain digits, or a text in quotes")


def _meaning(loader: _Loader, node: yaml.ScalarNode) -> object:
    """By YAML 1.1."""
    return loader.yaml_constructors[node.tag](loader, node)


def _in_core(kind: str, text: str) -> object:
    """By YAML 1.2."""
    if kind == "int":
        prefix = text[:2]
        return int(text[2:], {"0o": 8, "0x": 16}[prefix]) if prefix in ("0o", "0x") else int(text)
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return {"null": None, "bool": text.lower() == "true"}.get(kind, text)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    found = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            kind = "{{ a placeholder }} that was not filled in, or a list or mapping as a key"
            raise _refuse(key_node, f"{kind}; a key is a text, and a value with braces is quoted")
        key = loader.construct_object(key_node, deep=True)
        if key in found:
            raise _refuse(key_node, f"key {key!r} occurs twice")
        loader.above.append(str(key))
        found[key] = loader.construct_object(value_node, deep=True)
        loader.above.pop()
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
