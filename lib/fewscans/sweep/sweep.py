"""Many runs, resumable: trains what the run store lacks and writes one table.

A sweep asks its experiment for a plan, trains the missing runs on the engine's slots, asks again (learning rates are
chosen once their trials are in), and ends by writing the run table. It may be killed at any moment and started again,
by any number of processes on one store: a run is trained under its lock, saved whole or not at all, and a run that was
cut continues from its checkpoint.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from fewscans import files, integrity, paths, store
from fewscans.errors import RunError
from fewscans.experiments.base import Entry, Run
from fewscans.sweep.engine import Engine, LocalEngine, default_slots
from fewscans.sweep.onerun import Context, Setting

POLL_SECONDS = 1.0
WAIT_HOURS = 12.0
COSTS = ("seconds_", "memory_")  # how the keys of a record begin that say what a run cost
TELL_EVERY_SECONDS = 60.0  # where there is no terminal to draw a bar on, as in a cluster's log


@dataclass
class Result:
    """How a sweep ended: runs of the table, those trained now, and the table (None: other shards hold some yet)."""

    total: int
    trained: int
    table: Path | None


def sweep(
    setting: Setting,
    arms: Sequence[str] = (),
    shard: tuple[int, int] = (1, 1),
    engine: Engine | None = None,
    out: Path | None = None,
    show: bool = True,
    wait_hours: float = WAIT_HOURS,
) -> Result:
    """Trains what is missing and writes `<out>/<name>.parquet`, the predictions, and beside it `.history.parquet`,
    `.records.json`, `.trials.json` (of learning rates that were tried and not chosen, if any), `.reference.parquet`
    (no rows where FROC does not apply), `.about.json` (profile, grid, code, data) and `.costs.json`. The last holds
    seconds, so it differs between machines and is no out of the pipeline.

    arms: only these, if any are named; the files are then called `<name>.partial.*`.   shard: (i, n), this process's
    share of the runs; whatever a share needs from the others (the trials of a learning rate) it waits for, or trains if
    nobody does.   wait_hours: how long to wait for runs that others hold, since the last of them was finished; who
    they are is said at once and now and then, and RunError raised at the end.   Failed runs do not stop the others;
    they are listed in one RunError at the end, and no table is written.   RunError as well, at once, if code or data
    change meanwhile, or no worker can start.
    """
    context = Context(setting)
    setting = dataclasses.replace(setting, code=context.code, data=context.data.fingerprint)
    grid = setting.grid if not arms else _only(setting.grid, arms)
    context.experiment.check(grid, context.data)
    engine = engine or LocalEngine(default_slots(setting.device, setting.threads))
    out = out or paths.runs()
    records: dict[Run, dict] = {}
    failed: dict[Run, str] = {}
    trained: set[Run] = set()
    with _Progress(show, setting.name) as bar:
        while True:
            plan, final = _plan(context, grid, records)
            bar.extend(plan, records, lambda run: context.experiment.work(run, grid))
            todo = [run for run in _share(plan, final, shard) if run not in records and run not in failed]
            if not todo:
                if failed or any(run not in records for run in final):
                    break
                entries = {run: context.store.get(context.key(run)) for run in final}
                if all(entries.values()):
                    context.store.tidy(*map(context.key, plan), finished=True)
                    name = setting.name + (".partial" if arms else "")
                    trials = [without_costs(records[run]) for run in sorted(set(plan) - set(final))]
                    return Result(len(final), len(trained), _write(context, grid, entries, trials, out, name))
                records = {run: record for run, record in records.items() if entries.get(run, True)}
                continue
            free = [run for run in todo if not context.store.held(context.key(run))]
            if not free:
                bar.wait(todo, lambda run: context.store.locks.holder(context.key(run)), wait_hours)
                time.sleep(POLL_SECONDS)
                continue
            with closing(engine.map(setting, free, bar.step)) as outcomes:
                for outcome in outcomes:
                    if outcome.state == "trained" and outcome.run in trained:
                        gone = "trained once more, as its entry was gone from the store or damaged"
                        outcome = dataclasses.replace(outcome, state="failed", error=gone)
                    if outcome.state == "failed":
                        failed[outcome.run] = outcome.error
                        bar.write(f"failed: {outcome.run}: {outcome.error.strip().splitlines()[-1]}")
                    elif outcome.state != "held":
                        trained |= {outcome.run} if outcome.state == "trained" else set()
                        bar.finish(outcome.run)
    if not failed:
        return Result(len(final), len(trained), None)
    alike: dict[str, list[Run]] = {}
    for run in sorted(failed):
        alike.setdefault(failed[run].strip(), []).append(run)
    listing = "\n".join(
        f"  {runs[0]}{f' and {len(runs) - 1} more' if runs[1:] else ''}:\n    " + why.replace("\n", "\n    ")
        for why, runs in alike.items()
    )
    raise RunError(
        f"{len(failed)} of {len(plan)} runs of {setting.name} failed; the others are kept in {setting.store_folder}, "
        f"and the same command tries the failed ones again:\n{listing}"
    )


def _only(grid, arms: Sequence[str]):
    """The grid with those arms alone; ParamsError (from the grid itself) for an arm it does not know."""
    known = {arm: grid.arms.get(arm) for arm in arms}
    absent = [arm for arm, sizes in known.items() if sizes is None]
    if absent:
        type(grid)(**{**vars(grid), "arms": dict.fromkeys(absent, (2,))})  # an unknown arm raises here
        raise RunError(
            f"arm {absent[0]!r} is not in this profile's grid, which has {', '.join(grid.arms)}; add it to params.yaml"
        )
    fewer = copy.copy(grid)  # not checked again: what names a size of another arm, such as its rates, stays
    object.__setattr__(fewer, "arms", known)
    return fewer


def _plan(context: Context, grid, records: dict[Run, dict]) -> tuple[list[Run], list[Run]]:
    """All runs known to be wanted, trials included, and those of the table, as far as finished trials allow.

    records: of the runs that the store holds; those found now are added.
    """
    seen: set[Run] = set()
    while True:
        losses = {run: record.get("last_val_loss", record.get("best_val_loss", 0.0)) for run, record in records.items()}
        plan = context.experiment.plan(grid, losses)
        new = [run for run in plan if run not in seen]
        if not new:
            return plan, list(dict.fromkeys(context.experiment.final(grid, losses)))
        seen.update(new)
        found = {run: context.store.record(context.key(run)) for run in new if run not in records}
        records |= {run: record for run, record in found.items() if record is not None}


def _share(plan: Sequence[Run], final: Sequence[Run], shard: tuple[int, int]) -> list[Run]:
    """This shard's runs, then the trials it must not go on without.

    A run's shard depends on the run alone, not on the plan so far.
    """
    index, count = shard
    position = {run: int(store.key(asdict(run)), 16) % count for run in plan}
    own = [run for run in plan if position[run] == index - 1]
    tabled = set(final)
    return own + [run for run in plan if position[run] != index - 1 and run not in tabled]


def _write(context: Context, grid, entries: dict[Run, Entry], trials: Sequence[dict], out: Path, name: str) -> Path:
    """The run table and what belongs to it; see `sweep`.

    Sorted by arm, N and seed, so that the bytes do not depend on which run finished first. What tells of them is
    written last, with their hashes: tables of two sweeps are never taken for one.
    """
    order = {arm: i for i, arm in enumerate(context.experiment.arm_names(grid))}
    table = pd.concat([entry.predictions for entry in entries.values()], ignore_index=True)
    table = table.assign(_arm=table["arm"].map(order)).sort_values(["_arm", "n_train", "seed", "split"], kind="stable")
    table = table.drop(columns="_arm").reset_index(drop=True)
    for column in ("arm", "split", "case", "group"):
        table[column] = table[column].astype(str)
    rows = [
        {"arm": e.record["arm"], "n_train": e.record["n_train"], "seed": e.record["seed"]} | row
        for e in entries.values()
        for row in e.history
    ]
    first = ("arm", "n_train", "seed", "step", "epoch", "train_loss", "val_loss")
    history = pd.DataFrame(rows, columns=list(dict.fromkeys([*first, *(name for row in rows for name in row)])))
    records = [e.record for e in entries.values()]
    setting = context.setting
    about = {"run": setting.name, "profile": setting.profile, "grid": vars(grid), "code": context.code}
    about |= {"data": context.data.fingerprint, "partial": grid is not setting.grid}
    try:
        store.write_table(history, out / f"{name}.history.parquet")
        files.write_json(out / f"{name}.records.json", [without_costs(record) for record in records])
        tried = out / f"{name}.trials.json"
        files.write_json(tried, trials) if trials else tried.unlink(missing_ok=True)  # of an earlier grid
        files.write_json(out / f"{name}.costs.json", [costs(record) for record in records])
        store.write_table(context.data.reference(), out / f"{name}.reference.parquet")
        store.write_table(table, out / f"{name}.parquet")
        files.write_json(out / f"{name}.about.json", about | {integrity.HASHES: integrity.hashes(out, name)})
    except OSError as error:
        raise RunError(
            f"{out} cannot be written ({os.strerror(error.errno) if error.errno else error}); the runs are kept, and "
            "the same command writes their table once there is room"
        ) from error
    return out / f"{name}.parquet"


def costs(record: dict) -> dict:
    """What a run cost on this machine, and which run it was."""
    return {k: v for k, v in record.items() if k in ("arm", "n_train", "seed") or k.startswith(COSTS)}


def without_costs(record: dict) -> dict:
    """What is the same on every machine that computes the same predictions."""
    return {k: v for k, v in record.items() if not k.startswith(COSTS)}


class _Progress:
    """A bar over the sweep's work (multiply-adds), with the time left; without a terminal, a line a minute."""

    def __init__(self, show: bool, name: str):
        self.show, self.name = show, name
        self.runs, self.finished = 0, 0
        self.bar = None
        self._work: dict[Run, float] = {}
        self._told = time.monotonic()
        self._waiting: tuple[list[Run], float, float] = ([], 0.0, 0.0)  # for which runs, since when, when it was told

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.close()

    def extend(self, plan: Sequence[Run], finished, work: Callable[[Run], float]) -> None:
        """The plan so far; `work(run)` is asked once for all seeds of an arm and size, as it builds the network."""
        costs: dict[Run, float] = {}
        for run in plan:
            like = dataclasses.replace(run, seed=0)
            if like not in costs:
                costs[like] = work(like) / 1e12
            self._work[run] = costs[like]
        self.runs, self.finished = len(plan), sum(run in finished for run in plan)
        if not self.show:
            return
        from tqdm import tqdm

        total, done = sum(self._work.values()), sum(w for run, w in self._work.items() if run in finished)
        if self.bar is None:
            self.bar = tqdm(
                initial=done, total=total, file=sys.stderr, mininterval=1.0, smoothing=0.05, desc=self.name,
                disable=None,
                bar_format="{desc} |{bar}| {percentage:3.0f}% [{elapsed} elapsed, {remaining} left] {postfix}",
            )  # fmt: skip
        else:
            self.bar.total, self.bar.n = total, done
        self._tell()

    def step(self, run: Run, share: float) -> None:
        """`share` of that run's work was done."""
        if self.bar is not None:
            self.bar.update(self._work.get(run, 0.0) * share)

    def wait(self, runs: list[Run], holder: Callable[[Run], str], hours: float) -> None:
        """All runs left are held by others: says so at once, then now and then; RunError after `hours` without news."""
        now = time.monotonic()
        for_runs, since, told = self._waiting
        if for_runs != runs:
            since, told = now, -math.inf
        held = f"{len(runs)} runs that others train, the first {runs[0]}, held by {holder(runs[0])}"
        if now - since >= 3600 * hours:
            raise RunError(
                f"{self.name}: waited {hours:g} hours for {held}; what is finished is kept, and the same command goes "
                "on from there. If that process is gone, its lock ends with it, or a lease soon after"
            )
        if now - told >= TELL_EVERY_SECONDS * 10:
            self.write(f"{self.name}: waiting for {held}")
            told = now
        self._waiting = (runs, since, told)

    def finish(self, run: Run) -> None:
        self.finished += 1
        self._tell(run)

    def _tell(self, run: Run | None = None) -> None:
        if self.bar is None:
            return
        state = f"{self.finished} of {self.runs} runs" + (f", last {run}" if run else "")
        self.bar.set_postfix_str(state)
        if self.bar.disable and time.monotonic() - self._told >= TELL_EVERY_SECONDS:
            self._told = time.monotonic()
            print(f"{self.name}: {state}", file=sys.stderr, flush=True)

    def write(self, text: str) -> None:
        """A line above the bar."""
        if self.bar is not None:
            self.bar.clear()
        print(text, file=sys.stderr)
