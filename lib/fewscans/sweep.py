"""Many runs, resumable: trains what the run store lacks and writes one table.

A sweep asks its experiment for a plan, trains the missing runs on the engine's slots, asks again (learning rates are chosen once their
trials are in), and ends by writing the run table. It may be killed at any moment and started again, by any number of processes on one
store: a run is trained under its lock, saved whole or not at all, and a run that was cut continues from its checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from fewscans import paths, store
from fewscans.engine import Engine, LocalEngine, default_slots
from fewscans.errors import RunError
from fewscans.experiments import Run
from fewscans.onerun import Context, Setting

POLL_SECONDS = 1.0


@dataclass
class Result:
    """How a sweep ended: runs of the table, those trained now, and whether the table was written (a shard may leave that to others)."""

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
) -> Result:
    """Trains what is missing and writes `<out>/<name>.parquet`, `.history.parquet` and `.records.json`.

    arms: only these, if any are named.   shard: (i, n), this process's share of the runs; whatever a share needs from the others
    (the trials of a learning rate) it waits for, or trains if nobody does.   Failed runs do not stop the others; they are listed in
    one RunError at the end, and no table is written.
    """
    context = Context(setting)
    grid = setting.grid if not arms else _only(setting.grid, arms)
    context.experiment.check(grid, context.data)
    engine = engine or LocalEngine(default_slots(setting.device, setting.threads))
    out = out or paths.runs()
    failed: dict[Run, str] = {}
    trained = 0
    with _progress(show, setting.name) as bar:
        while True:
            entries = _finished(context, grid)
            losses = {run: entry.record.get("best_val_loss", 0.0) for run, entry in entries.items()}
            plan = context.experiment.plan(grid, losses)
            if bar.total is None or len(plan) > bar.runs:
                bar.extend(plan, entries, lambda run: context.experiment.work(run, grid))
            final = context.experiment.final(grid, losses)
            mine = _share(plan, final, shard)
            todo = [run for run in mine if run not in entries and run not in failed]
            if not todo:
                break
            worked = False
            for outcome in engine.map(setting, todo, bar.step):
                if outcome.error is not None:
                    failed[outcome.run] = outcome.error
                    bar.write(f"failed: {outcome.run}: {outcome.error.strip().splitlines()[-1]}")
                elif outcome.done:
                    trained, worked = trained + 1, True
                    bar.finish(outcome.run)
            if not worked and not failed:
                time.sleep(POLL_SECONDS)  # every run left is held by another process
    if failed:
        listing = "\n".join(
            f"  {run}:\n    " + error.strip().replace("\n", "\n    ") for run, error in sorted(failed.items())
        )
        raise RunError(
            f"{len(failed)} of {len(plan)} runs of {setting.name} failed; the others are kept in {setting.store_folder}, and the same "
            f"command tries the failed ones again:\n{listing}"
        )
    entries = _finished(context, grid)
    if any(run not in entries for run in final):
        return Result(len(final), trained, None)
    return Result(len(final), trained, _write(context, grid, [entries[run] for run in final], out, partial=bool(arms)))


def _only(grid, arms: Sequence[str]):
    """The grid with those arms alone; ParamsError (from the grid itself) for an arm it does not know."""
    known = {arm: grid.arms.get(arm) for arm in arms}
    absent = [arm for arm, sizes in known.items() if sizes is None]
    if absent:
        type(grid)(**{**vars(grid), "arms": dict.fromkeys(absent, (2,))})  # an unknown arm raises here
        raise RunError(
            f"arm {absent[0]!r} is not in this profile's grid, which has {', '.join(grid.arms)}; add it to params.yaml"
        )
    return dataclasses.replace(grid, arms=known)


def _finished(context: Context, grid) -> dict[Run, store.Entry]:
    """All runs of the plan that the store holds, trials included; planning goes on as far as they allow."""
    entries: dict[Run, store.Entry] = {}
    seen: set[Run] = set()
    while True:
        losses = {run: entry.record.get("best_val_loss", 0.0) for run, entry in entries.items()}
        new = [run for run in context.experiment.plan(grid, losses) if run not in seen]
        if not new:
            return entries
        seen.update(new)
        for run in new:
            entry = context.store.get(context.key(run))
            if entry is not None:
                entries[run] = entry


def _share(plan: Sequence[Run], final: Sequence[Run], shard: tuple[int, int]) -> list[Run]:
    """This shard's runs, then the trials it must not go on without. A run's shard depends on the run alone, not on the plan so far."""
    index, count = shard
    position = {run: int(store.key(asdict(run)), 16) % count for run in plan}
    own = [run for run in plan if position[run] == index - 1]
    tabled = set(final)
    return own + [run for run in plan if position[run] != index - 1 and run not in tabled]


def _write(context: Context, grid, entries: list[store.Entry], out: Path, partial: bool) -> Path:
    """The run table and, beside it, the histories and records; sorted by arm, N, seed, so the bytes do not depend on who finished when."""
    name = context.setting.name + (".partial" if partial else "")
    order = {arm: i for i, arm in enumerate(context.experiment.arm_names(grid))}
    table = pd.concat([entry.predictions for entry in entries], ignore_index=True)
    table = table.assign(_arm=table["arm"].map(order)).sort_values(["_arm", "n_train", "seed", "split"], kind="stable")
    table = table.drop(columns="_arm").reset_index(drop=True)
    for column in ("arm", "split", "case", "group"):
        table[column] = table[column].astype(str)
    rows = [
        {"arm": e.record["arm"], "n_train": e.record["n_train"], "seed": e.record["seed"]} | row
        for e in entries
        for row in e.history
    ]
    history = pd.DataFrame(
        rows, columns=["arm", "n_train", "seed", "step", "epoch", "train_loss", "val_loss", "small_val_loss"]
    )
    store.write_table(history, out / f"{name}.history.parquet")
    records = out / f"{name}.records.json"
    partial_file = records.with_name(f"{records.name}.{os.getpid()}.part")
    partial_file.write_text(json.dumps([e.record for e in entries], indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(partial_file, records)
    path = out / f"{name}.parquet"
    store.write_table(table, path)
    return path


class _progress:
    """A bar over the sweep's work (multiply-adds), with the time left; quiet where nobody looks."""

    def __init__(self, show: bool, name: str):
        self.show, self.name = show, name
        self.total: float | None = None
        self.runs, self.finished = 0, 0
        self.bar = None
        self._work: dict[Run, float] = {}
        self._steps: dict[Run, int] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.bar is not None:
            self.bar.close()

    def extend(self, plan: Sequence[Run], entries, work: Callable[[Run], float]) -> None:
        self._work = {run: work(run) / 1e12 for run in plan}
        self.runs, self.total = len(plan), sum(self._work.values())
        self.finished = sum(run in entries for run in plan)
        if not self.show:
            return
        from tqdm import tqdm

        done = sum(w for run, w in self._work.items() if run in entries)
        if self.bar is None:
            self.bar = tqdm(
                initial=done, total=self.total, file=sys.stderr, mininterval=1.0, smoothing=0.05, desc=self.name, disable=None,
                bar_format="{desc} |{bar}| {percentage:3.0f}% [{elapsed} elapsed, {remaining} left] {postfix}",
            )  # fmt: skip
        else:
            self.bar.total, self.bar.n = self.total, done
        self._tell()

    def step(self, run: Run, share: float) -> None:
        """`share` of that run's work was done."""
        if self.bar is not None:
            self.bar.update(self._work.get(run, 0.0) * share)

    def finish(self, run: Run) -> None:
        self.finished += 1
        self._tell(run)

    def _tell(self, run: Run | None = None) -> None:
        if self.bar is not None:
            self.bar.set_postfix_str(f"{self.finished} of {self.runs} runs" + (f", last {run}" if run else ""))

    def write(self, text: str) -> None:
        print(text, file=sys.stderr)
