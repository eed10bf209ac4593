"""The doctor: what it finds, what it says, and that it never falls ill itself."""

import pytest

from fewscans import doctor
from fewscans.data import registry
from fewscans.doctor import Check


@pytest.fixture(scope="module")
def here():
    return {check.name: check for check in doctor.checks()}


def test_every_subject_is_looked_at(here):
    assert {"Python", "torch", "device", "OpenSlide", "git", "DVC", "notebook kernel", "disk", "build/"} <= set(here)


def test_the_environment_the_tests_run_in_is_well(here):
    found = [here[name] for name in ("Python", "torch", "device", "notebook kernel")]
    assert doctor.ready(found), doctor.render(found)


def test_every_finding_that_is_not_well_has_a_remedy(here):
    assert [check for check in here.values() if check.ok is not True and not check.remedy] == []


def test_a_check_that_falls_over_is_a_finding_not_a_traceback(monkeypatch):
    def broken():
        raise RuntimeError("the disk is on fire")

    monkeypatch.setitem(doctor._LOOKS, "disk", broken)
    found = {check.name: check for check in doctor.checks()}
    assert found["disk"].ok is False and "the disk is on fire" in found["disk"].found
    assert "to fix: disk" in doctor.render(list(found.values()))


def test_outside_a_project_it_still_answers(monkeypatch, tmp_path):
    monkeypatch.setenv("FEWSCANS_ROOT", str(tmp_path))
    found = doctor.checks()
    assert not doctor.ready(found) and "params.yaml" in doctor.render(found)


def test_too_little_disk_and_an_old_python_are_named_with_their_remedy(monkeypatch):
    monkeypatch.setattr(doctor, "NEEDED_DISK_GB", 10**9)
    monkeypatch.setattr(doctor, "PYTHON", (99, 0))
    text = doctor.render(doctor.checks())
    assert "GB: free some" in text and "install Python 99.0 or newer" in text
    assert text.splitlines()[-1] == "to fix: Python, disk"


def test_rendering_marks_each_state_and_shows_remedies_only_where_needed():
    found = [
        Check("a", True, "fine", "never shown"),
        Check("bb", None, "absent", "get it"),
        Check("c", False, "broken", "mend"),
    ]
    assert doctor.render(found).splitlines() == [
        "ok  a   fine",
        "--  bb  absent",
        "        → get it",
        "!!  c   broken",
        "        → mend",
        "to fix: c",
    ]
    assert doctor.render(found[:2]).endswith("ready")


def test_data_sets_are_optional_and_each_absent_one_says_where_to_put_it(monkeypatch, tmp_path):
    (tmp_path / "luna16" / "subset0").mkdir(parents=True)
    monkeypatch.setenv("FEWSCANS_DATA_ROOT", str(tmp_path))
    found = {check.name: check for check in doctor._data()}
    names = [entry.name for entry in registry.public()]
    assert set(found) == {"data sets"} | {f"data {name}" for name in names}
    assert doctor.ready(list(found.values()))
    assert found["data sets"].found.startswith(f"1 of {len(names)} under {tmp_path}")
    assert found["data luna16"].ok is True
    absent = found["data adrenalmnist3d"]
    assert absent.ok is None and str(tmp_path / "adrenalmnist3d" / "adrenalmnist3d.npz") in absent.remedy
