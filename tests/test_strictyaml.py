"""A value means the same to us and to DVC, or it is an error that names the line."""

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from fewscans import paths, stages, strictyaml
from fewscans.errors import ParamsError

TWO_MEANINGS = "010 -017 1:30 190:20:30.15 1_000 1_0.5 yes No on OFF 0b11 0o10 08 1e-3 1.0e3 1E5".split()
ONE_MEANING = {
    "10": 10, "-3": -3, "+12": 12, "0x1F": 31, "0.10": 0.1, ".5": 0.5, "1.": 1.0, "1.0e-3": 1e-3, "true": True,
    "False": False, "null": None, "~": None, "": None, "y": "y", "'010'": "010", '"1:30"': "1:30", "1:30h": "1:30h",
    "NaN": "NaN", ".inf": float("inf"), "2026-11-20x": "2026-11-20x", "[1, 2]": [1, 2],
}  # fmt: skip


def dvc(text: str):
    """As DVC reads it."""
    ruamel = pytest.importorskip("ruamel.yaml", reason="DVC's reader of YAML is not installed")
    return ruamel.YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize("text", TWO_MEANINGS)
@pytest.mark.parametrize("form", ["grids:\n  run: {{seeds: {}}}\n", "grids:\n  run:\n    seeds: [1, {}]\n"])
def test_a_value_that_yaml_1_1_and_1_2_read_otherwise_is_an_error_that_names_its_key_and_line(text, form):
    with pytest.raises(yaml.YAMLError, match="grids.run.seeds: .* YAML 1.1 and .* YAML 1.2") as error:
        strictyaml.load(form.format(text))
    assert text in str(error.value) and error.value.problem_mark.line > 0


def test_a_key_is_held_to_the_same_rule():
    with pytest.raises(yaml.YAMLError, match="010 is 8"):
        strictyaml.load("{010: 1}")


@pytest.mark.parametrize(("text", "value"), ONE_MEANING.items())
def test_a_value_on_which_both_agree_is_read_as_dvc_reads_it(text, value):
    assert strictyaml.load(f"key: {text}") == {"key": value} == dvc(f"key: {text}")


@example("._0")
@example("-_0")
@example("1_0e5")
@given(st.text(alphabet="0123456789.:_+-eExob", min_size=1, max_size=6))
def test_no_number_is_read_otherwise_than_by_dvc_without_an_error(text):
    try:
        ours = strictyaml.load(f"key: {text}")
    except yaml.YAMLError:
        return
    try:
        theirs = dvc(f"key: {text}")
    except ValueError:  # such as ._, which DVC's reader takes for a number and cannot read
        return
    assert (ours, repr(ours)) == (theirs, repr(theirs))


@pytest.mark.parametrize(
    "text",
    ["a: {{ root }}", "? [a, b]\n: c", "a: 1\na: 2", "[" * 5000, "a: &x [*x]", "a: 2001-13-45", "a: \x00", "a: *b",
     '!!int "010"', "a: !!python/object:os.system x", "<<: {a: 1}"],
)  # fmt: skip
def test_what_has_no_meaning_is_one_kind_of_error(text):
    with pytest.raises(yaml.YAMLError):
        strictyaml.load(text)


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"data_root: {{ root }}", "line 1"), (b"data_root: \xff", "not UTF-8"), (b"- 1", "a mapping"), (b"a: 010", "010"),
     (b"runs: 5\nnotebooks: {}\ntwins: {}", "params.yaml")],
)  # fmt: skip
def test_commands_that_read_the_parameters_without_checking_grids_name_the_file(tmp_path, monkeypatch, content, fault):
    (tmp_path / "params.yaml").write_bytes(content)
    monkeypatch.setenv("FEWSCANS_ROOT", str(tmp_path))
    with pytest.raises(ParamsError, match=fault) as error:
        stages.roots()
    assert str(tmp_path / "params.yaml") in str(error.value)
    if b"runs" not in content:
        monkeypatch.delenv("FEWSCANS_DATA_ROOT", raising=False)
        with pytest.raises(ParamsError, match=fault):
            paths.data_root()
