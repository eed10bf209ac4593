"""Many slides, resumable: heatmap, detections and a state for each, one summary for all.

Of a slide <name> there are <name>.csv, its detections in the challenge's form; <name>.geojson, the same for QuPath;
<name>.heatmap.npz, float16 probabilities with their geometry; and <name>.json, the state, which is written last. It
says all that decided the result: weights, geometry, pixel size, settings, code. A second call skips slides whose state
says the same, and tries failed ones again. A slide that fails ends no other; failures are listed at the end.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from fewscans import closure, files
from fewscans.data.base import first_line, read_table
from fewscans.data.formats.slides import Level, Slide, not_blank, open_slide
from fewscans.errors import DataError, FewscansError, RunError
from fewscans.slides.detections import suppress, to_geojson, write_csv
from fewscans.slides.heatmap import Geometry, heatmap, reduced, tissue_cells

SAME_SIZE = 0.15  # how far the pixels of a level may be from those of the training
ENDINGS = (".csv", ".geojson", ".heatmap.npz", ".json")
COLUMNS = ("slide", "max_probability", "detections", "tissue_cells", "error")


def scan_slides(
    paths: Iterable[Path | str],
    network: nn.Module,
    geometry: Geometry,
    trained_mpp: float,
    out: Path,
    mpp: float | Path | str | None = None,
    device: str = "cpu",
    orientations: int = 1,
    threshold: float = 0.5,
    show: bool = True,
) -> pd.DataFrame:
    """Scans what `out` lacks, writes `out`/summary.csv and returns its table: COLUMNS, one row a slide.

    network: used densely if it has a `sweep`, else patch by patch.   trained_mpp: µm per level-0 pixel of the geometry;
    the level of a slide with such pixels, within 15 %, stands for level 0. Detections are in the slide's own level-0
    pixels.   mpp: µm per level-0 pixel of the slides, or a CSV file with the columns slide,mpp (slide: a file's name,
    with or without its ending); overrides what a slide says.   threshold: of detections.   show: progress on stderr.
    Raises DataError for no slides, two of one name, or a wrong mpp; RunError at the end, once the summary is written,
    that lists the slides that failed, or if `out` cannot be written.
    """
    by_name, out = _named(paths), Path(out)
    mpps = _mpps(mpp, by_name)
    decides = {"trained_mpp": trained_mpp, "orientations": orientations, "threshold": threshold}
    decides |= {"geometry": asdict(geometry), "weights": _weights(network), "code": _code(network)}
    states = {}
    try:
        with _bar(len(by_name), show) as bar:
            say = bar.write if sys.stderr.isatty() else print
            for name, path in by_name.items():
                own = json.loads(json.dumps(decides | {"mpp": mpps.get(name)}))
                try:
                    own["bytes"] = path.stat().st_size
                    state = _kept(out, name, own)
                    if state is None:
                        with open_slide(path, mpp=mpps.get(name)) as slide:
                            not_blank(slide)
                            view = matched(slide, trained_mpp)
                            cells = tissue_cells(view, geometry)
                            probability = heatmap(
                                view, network, geometry, cells, device, orientations=orientations,
                                on_progress=lambda done, total: bar.update(len(states) + done / total - bar.n),
                            )  # fmt: skip
                except Exception as error:
                    state = _fail(out, name, own, error)
                    if show:
                        say(f"failed: {name}: {state['error']}", file=sys.stderr)
                else:
                    state = state or _save(out, name, own, probability, geometry, threshold, view)
                states[name] = state
                files.write_json(out / f"{name}.json", state)  # last, so that a state has all its files
                bar.set_postfix_str(f"{len(states)} of {len(by_name)} slides, last {name}", refresh=False)
                bar.update(len(states) - bar.n)
        summary = pd.DataFrame([{"slide": name} | state for name, state in states.items()]).reindex(columns=COLUMNS)
        files.write(out / "summary.csv", summary.to_csv(index=False))
    except OSError as error:
        raise RunError(f"{out} cannot be written ({error.strerror or error}); finished slides stay there") from error
    failed = [f"\n  {name}: {state['error']}" for name, state in states.items() if "error" in state]
    if failed:
        raise RunError(
            f"{len(failed)} of {len(states)} slides failed; the results of the others are in {out}, and the same "
            f"command tries the failed ones again:{''.join(failed)}"
        )
    return summary


class View:
    """A slide seen from its level `base` on, averaged over `factor` pixels, which is level 0 here; `scale` of the
    slide's level-0 pixels make one of its pixels.
    """

    def __init__(self, slide: Slide, base: int, factor: int = 1):
        self.slide, self.base, self.factor, self.path = slide, base, factor, slide.path
        self.scale = slide.levels[base].downsample * factor
        self.mpp = slide.mpp * self.scale
        seen = slide.levels[base:] if factor == 1 else slide.levels[base : base + 1]
        self.levels = tuple(
            Level(k.width // factor, k.height // factor, k.downsample * factor / self.scale) for k in seen
        )

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        return reduced(self.slide, level + self.base, self.factor, x, y, width, height)

    def at(self, downsample: float) -> int:
        return 0 if self.factor > 1 else self.slide.at(downsample * self.scale) - self.base


def matched(slide: Slide, trained_mpp: float) -> View:
    """The slide from pixels on that are as large as in training: a level's, or means over whole numbers of them.

    Raises DataError if it has none, or no mpp.
    """
    if slide.mpp is None:
        raise DataError(
            f"{slide.path}: does not say how large its pixels are; add --mpp with the µm of a level-0 pixel, or with a "
            "CSV file of the columns slide,mpp"
        )
    offers = slide.mpp * np.array([level.downsample for level in slide.levels])
    factors = np.maximum(1, np.rint(trained_mpp / offers)).astype(int)
    wrong = np.abs(np.log(offers * factors / trained_mpp)).round(3)
    base = int(np.flatnonzero(wrong == wrong.min())[-1])
    if abs(offers[base] * factors[base] / trained_mpp - 1) > SAME_SIZE:
        have = ", ".join(f"{offer:.3g}" for offer in offers)
        raise DataError(
            f"{slide.path}: the network was trained at {trained_mpp:g} µm a pixel, and the slide's levels have {have}; "
            f"one within {SAME_SIZE:.0%}, or finer, is needed, or --mpp if the slide's own number is wrong"
        )
    return View(slide, base, int(factors[base]))


def _save(out: Path, name: str, decides: dict, probability, geometry: Geometry, threshold: float, view: View) -> dict:
    """Writes the files of a scanned slide and returns its state."""
    detections = suppress(probability, geometry, threshold=threshold)
    full = view.slide.levels[0]  # the last cells reach over its edges
    detections[["x", "y"]] = np.minimum(detections[["x", "y"]] * view.scale, (full.width - 1, full.height - 1))
    write_csv(detections, out / f"{name}.csv")
    files.write_json(out / f"{name}.geojson", to_geojson(detections, geometry, view.scale))
    kept = {"heatmap": probability.astype(np.float16), "mpp": view.mpp, "downsample": view.scale}
    np.savez_compressed(out / f"{name}.heatmap.npz", **kept, **asdict(geometry))
    predicted = probability[~np.isnan(probability)]
    found = {"detections": len(detections), "tissue_cells": len(predicted)}
    return {"decides": decides, "max_probability": float(predicted.max(initial=0))} | found


def _fail(out: Path, name: str, decides: dict, error: Exception) -> dict:
    """The state of a slide that failed; results of an earlier scan are removed."""
    kind = "" if isinstance(error, FewscansError) else f"{type(error).__name__}: "
    for ending in ENDINGS:
        (out / f"{name}{ending}").unlink(missing_ok=True)
    return {"decides": decides, "error": kind + first_line(error)}


def _kept(out: Path, name: str, decides: dict) -> dict | None:
    """The state of a slide that was scanned the same way, if all its files are there."""
    if not all((out / f"{name}{ending}").is_file() for ending in ENDINGS):
        return None
    try:
        state = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))
        return state if state["decides"] == decides else None
    except (ValueError, TypeError, KeyError):  # a state that is damaged
        return None


def _named(paths: Iterable[Path | str]) -> dict[str, Path]:
    """The slides by the names of their files, sorted."""
    by_name: dict[str, Path] = {"summary": Path("summary.csv")}
    for path in map(Path, paths):
        if by_name.setdefault(path.stem, path) != path:
            raise DataError(f"{path}: its results would be named as those of {by_name[path.stem]}; rename one of them")
    del by_name["summary"]
    if not by_name:
        raise DataError("no slides to scan; name files such as slides/*.tif")
    return dict(sorted(by_name.items()))


def _mpps(mpp: float | Path | str | None, by_name: dict[str, Path]) -> dict[str, float]:
    """µm per level-0 pixel, of the slides for which it is given."""
    if mpp is None:
        return {}
    hint = "--mpp takes a number of µm above 0, or a CSV file; the columns are slide,mpp"
    try:
        table = pd.DataFrame({"slide": list(by_name), "mpp": float(mpp)})
    except (TypeError, ValueError):
        table = read_table(Path(mpp), ("slide", "mpp"), hint, dtype={"slide": str, "mpp": float})
    known = {key: name for name, slide in by_name.items() for key in (name, slide.name)}
    result: dict[str, float] = {}
    for slide, value in table[["slide", "mpp"]].itertuples(index=False):
        if not 0 < value < np.inf:
            raise DataError(f"{mpp}: {slide} has {value:g} µm; {hint}")
        if slide in known and result.setdefault(known[slide], value) != value:
            name = known[slide]
            raise DataError(f"{mpp}: gives {name} both {result[name]:g} and {value:g} µm; keep one line a slide")
    return result


def _weights(network: nn.Module) -> str:
    """A hash of the network's kind and of its state, wherever it lies."""
    digest = hashlib.sha256(type(network).__qualname__.encode())
    for key, value in sorted(network.state_dict().items()):
        array = value.detach().cpu().contiguous().numpy()
        digest.update(f"{key} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:24]


def _code(network: nn.Module) -> str:
    """A hash of the code that decides a heatmap."""
    roots = {__name__, type(network).__module__}
    return closure.fingerprint(closure.closure(root for root in roots if closure.source_of(root)))


def _bar(slides: int, show: bool):
    """A bar over slides with the time left; without a terminal, a line a minute."""
    from tqdm import tqdm

    pause = 1.0 if sys.stderr.isatty() else 60.0  # seconds
    return tqdm(
        total=slides, file=sys.stderr, mininterval=pause, delay=pause, smoothing=0.05, desc="scan", disable=not show,
        bar_format="{desc} |{bar}| {percentage:3.0f}% [{elapsed} elapsed, {remaining} left] {postfix}",
    )  # fmt: skip
