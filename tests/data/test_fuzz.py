"""Whatever was done to a file, its reader gives the right value or one FewscansError: no traceback, no hang."""

import collections
import multiprocessing
import os
import resource
import time
from queue import Empty

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .mutations import FORMATS, KINDS, LIMIT_S, Mutation, drawn, outcome, spoilt

QUICK, SLOW = 12, 250  # spoilt files of a format
AT_ONCE = 50  # by one process, which may die
WRONG = ("traceback", "hang", "other value", "crash")
MUTATION = st.builds(
    Mutation, st.sampled_from(KINDS), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True),
    st.integers(1, 400), st.integers(0, (1 << 32) - 1),
)  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Format → a good file, its bytes and its value, made when asked for."""
    made = {}

    def of(name):
        if name not in made:
            file = FORMATS[name].write(tmp_path_factory.mktemp("good"))
            made[name] = file, file.read_bytes(), FORMATS[name].read(file)
        return made[name]

    return of


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_nothing_was_done_to_has_its_value(good, name):
    file, content, value = good(name)
    file.write_bytes(content)
    assert outcome(FORMATS[name], file, value) == ("value", "")


@pytest.mark.parametrize("name", FORMATS)
def test_a_spoilt_file_gives_the_right_value_or_one_error(good, name):
    file, content, value = good(name)

    @settings(
        max_examples=QUICK, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(st.lists(MUTATION, min_size=1, max_size=4))
    def spoil(mutations):
        file.write_bytes(FORMATS[name].spoil(content, mutations))
        how, said = outcome(FORMATS[name], file, value)
        assert how not in WRONG, f"{how}: {said}"

    try:
        spoil()
    finally:
        file.write_bytes(content)


@pytest.mark.parametrize("name", [name for name in FORMATS if name.startswith("CSV") or name == "own, table"])
def test_a_table_of_headings_alone_gives_a_value_or_one_error(good, name):
    file, content, value = good(name)
    try:
        for end in (b"", b"\n"):
            file.write_bytes(content.split(b"\n")[0] + end)
            how, said = outcome(FORMATS[name], file, value)
            assert how in ("value", "error"), f"{how}: {said}"
    finally:
        file.write_bytes(content)


def test_a_mutation_changes_a_file_and_the_same_one_does_the_same():
    content = bytes(range(256)) * 4 + b"\nkey = 12\nother = 3.5\n"
    changed = {spoilt(content, drawn(np.random.default_rng(seed))) for seed in range(200)}
    assert len(changed) > 150
    assert spoilt(content, drawn(np.random.default_rng(5))) == spoilt(content, drawn(np.random.default_rng(5)))


def _some(name, folder, first, count, queue):
    """In a process of its own: a crash of a library ends this one alone."""
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    form = FORMATS[name]
    file = form.write(folder)
    content, value = file.read_bytes(), form.read(file)
    for number in range(first, first + count):
        mutations = drawn(np.random.default_rng([*name.encode(), number]))
        queue.put((number, "started", ""))
        file.write_bytes(form.spoil(content, mutations))
        queue.put((number, *outcome(form, file, value)))


def spoil_many(name, folder, count, seed=0):
    """Outcome → how many of `count` spoilt files, and what was said of those that went wrong."""
    counts, faults, context = collections.Counter(), [], multiprocessing.get_context("fork")
    for first in range(seed, seed + count, AT_ONCE):
        queue, last = context.Queue(), None
        where = folder / f"{first}"
        where.mkdir(parents=True)
        process = context.Process(target=_some, args=(name, where, first, min(AT_ONCE, seed + count - first), queue))
        process.start()
        heard = time.monotonic()
        while process.is_alive() or not queue.empty():
            try:
                number, how, said = queue.get(timeout=0.5)
            except Empty:
                if time.monotonic() - heard > 4 * LIMIT_S:  # in a library that no alarm interrupts
                    break
                continue
            heard = time.monotonic()
            last = number if how == "started" else None
            if how != "started":
                counts[how] += 1
                faults += [(number, how, said)] if how in WRONG else []
        hangs = process.is_alive()
        process.kill()
        process.join()
        if last is not None:
            how = "hang" if hangs else "crash"
            counts[how] += 1
            faults.append((last, how, f"the process ended with {process.exitcode}"))
    return counts, faults


@pytest.mark.slow
def test_thousands_of_spoilt_files_give_the_right_value_or_one_error(tmp_path, capsys):
    """FUZZ_FILES of each format (250 unless set), from number FUZZ_FIRST on; the table is printed."""
    each, first = int(os.environ.get("FUZZ_FILES", SLOW)), int(os.environ.get("FUZZ_FIRST", 0))
    total, wrong = collections.Counter(), []
    for name in FORMATS:
        counts, faults = spoil_many(name, tmp_path / name.replace(" ", "-"), each, first)
        total += counts
        wrong += [(name, *fault) for fault in faults]
        with capsys.disabled():
            print(f"\n{name:24}" + "  ".join(f"{how} {n}" for how, n in sorted(counts.items())), end="", flush=True)
    with capsys.disabled():
        print(f"\n{'all of ' + str(total.total()) + ' files':24}" + "  ".join(f"{h} {n}" for h, n in total.items()))
    assert not wrong, "\n".join(f"{name} {number}: {how}: {said}" for name, number, how, said in wrong[:40])
