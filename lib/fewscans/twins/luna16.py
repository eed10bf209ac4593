"""A synthetic stand-in for LUNA16: CT scans and tables in its published layout, drawn in space from the start.

Anatomy is in chest.py and vessels.py, nodules and what resembles them in findings.py, the scanner in ct.py, candidates
in marks.py. What is set by hand follows the look of real CT (Hounsfield units, noise, sizes, where nodules sit) and
LUNA16's published counts, never a score. Two things are ours: malignancy.csv, and scans that show less than a chest.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fewscans.data.formats import mhd
from fewscans.twins.base import Spec, Twin, between, in_processes, one_of, seed, whole
from fewscans.twins.ct import SPACINGS
from fewscans.twins.marks import Marks, draw_marks
from fewscans.twins.scene import Scene, draw_scene

SUBSETS = 10
NO_NODULE_EVERY = 13  # one scan in so many has none, never one of the first ten: each subset holds a nodule
FLIPPED_EVERY = 7  # one file in so many has its x and y axes against the patient's, as some of LUNA16's have
LOOK_ALIKES = 0.3  # of the false alarms are on something drawn to be mistaken
WORTH_A_PROCESS = 20  # scans, below which starting another costs more than it saves
POSITION = "seriesuid,coordX,coordY,coordZ"
TABLES = {
    "annotations.csv": f"{POSITION},diameter_mm",
    "annotations_excluded.csv": f"{POSITION},diameter_mm",
    "candidates_V2.csv": f"{POSITION},class",
    "malignancy.csv": f"{POSITION},malignant",
}


@dataclass(frozen=True)
class Luna16Spec(Spec):
    """How many scans of what size, and how much is in them.

    nodules_per_scan, negatives_per_scan: means over scans with nodules, and over all scans.
    field_of_view_mm: edge of the cube that is scanned: one lung up to 300, both from there on (350 shows the skin).
    spacing: "published", voxels as LUNA16's scans have them, or "coarse", about 2 × 1.5 × 1.5 mm.
    """

    scans: int = whole(SUBSETS, 100_000)
    nodules_per_scan: float = between(0.5, 40)
    negatives_per_scan: float = between(0.5, 400)
    field_of_view_mm: float = between(79, 501)
    spacing: str = one_of(SPACINGS)
    seed: int = seed()


class Case(NamedTuple):
    """One scan before it is written.

    uid: its series.   excluded_mm: (k,) published diameters of the excluded findings, -1 for unknown.
    shift: (3,) mm, z y x, from patient coordinates to the world of the file.
    """

    uid: str
    scene: Scene
    marks: Marks
    excluded_mm: np.ndarray
    shift: np.ndarray


def draw_case(spec: Luna16Spec, number: int) -> Case:
    """Scan `number` of a twin. It depends on the spec's seed and its own number, and on no other scan."""
    rng = np.random.default_rng([spec.seed, number])
    # A UID made from a 128-bit number lies under 2.25 (ITU-T X.667): none of a real scan's.
    uid = f"2.25.{int.from_bytes(rng.bytes(16), 'big') | 1 << 127}"
    healthy = number % NO_NODULE_EVERY == NO_NODULE_EVERY - 1
    nodules = 0 if healthy else max(1, int(rng.poisson(spec.nodules_per_scan)))
    negatives = max(1, int(rng.poisson(spec.negatives_per_scan)))
    scene = draw_scene(spec.field_of_view_mm, spec.spacing, nodules, int(rng.binomial(negatives, LOOK_ALIKES)), rng)
    excluded_mm = np.array([-1.0 if rng.random() < 0.6 else round(f.diameter, 4) for f in scene.excluded])
    marks = draw_marks(scene, negatives, excluded_mm, rng)
    shift = np.array([rng.uniform(-320, -60), rng.uniform(-40, 40), rng.uniform(-15, 15)]).round(2)
    return Case(uid, scene, marks, excluded_mm, shift)


def write(folder: Path, spec: Luna16Spec, processes: int | None = None) -> Path:
    """Write the twin into `folder`, which exists: subset0 ... subset9 and the tables. Returns the folder.

    Args:    processes: how many scans are drawn at a time; None: one a core. The files do not depend on it.
    """
    folder = Path(folder)
    for subset in range(SUBSETS):
        (folder / f"subset{subset}").mkdir()
    jobs = [(folder, spec, number) for number in range(spec.scans)]
    rows = in_processes(_write_case, jobs, WORTH_A_PROCESS, processes)
    for name, header in TABLES.items():
        lines = [header, *(line for tables in rows for line in tables[name])]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="ascii")
    uids = [tables["uid"] for tables in rows]
    (folder / "seriesuids.csv").write_text("\n".join(uids) + "\n", encoding="ascii")
    return folder


def statistics(folder: Path | str, scans: int = 10) -> pd.DataFrame:
    """The twin's counts, sizes and intensities beside what is known of LUNA16's.

    Args:    folder: a written twin.   scans: of how many, the first ones, the intensities are looked at.
    Returns: rows quantity, twin, luna16 (NaN where no source gives a number) and grade: "verified" (read in the source
             itself), "secondary" (another's account), "derived" (from such numbers), or "".
    """
    folder = Path(folder)
    table = {name: pd.read_csv(folder / name) for name in TABLES}
    nodules, marks = table["annotations.csv"], table["candidates_V2.csv"]
    uids = (folder / "seriesuids.csv").read_text(encoding="ascii").split()
    found = sum(_found(group, marks[marks.seriesuid == uid]) for uid, group in nodules.groupby("seriesuid"))
    diameter, malignant = nodules.diameter_mm, (table["malignancy.csv"].malignant == 1).sum()
    hu, slices, plane = [], [], []
    for number, uid in enumerate(uids):
        path = folder / f"subset{number % SUBSETS}" / f"{uid}.mhd"
        spacing = mhd.read_header(path).spacing_mm
        slices.append(spacing[2])
        plane.append(spacing[0])
        if number < scans:
            hu.append(np.asarray(mhd.read(path).array)[::2, ::2, ::2].ravel())
    hu = np.concatenate(hu)
    lung, tissue = hu[(hu > -950) & (hu < -650)], hu[(hu > -20) & (hu < 120)]
    none = float("nan")
    rows = [
        ("scans", len(uids), 888, "verified"),
        ("nodules", len(nodules), 1186, "verified"),
        ("nodules per scan", len(nodules) / len(uids), 1186 / 888, "derived"),
        ("excluded findings per scan", len(table["annotations_excluded.csv"]) / len(uids), 35192 / 888, "derived"),
        ("candidates per scan", len(marks) / len(uids), 754975 / 888, "derived"),
        ("candidates in a nodule, share", (marks["class"] == 1).mean(), 1557 / 754975, "derived"),
        ("marks per nodule that is found", (marks["class"] == 1).sum() / max(found, 1), 1557 / 1166, "derived"),
        ("sensitivity, at most", found / max(len(nodules), 1), 1166 / 1186, "derived"),
        ("malignant, share of nodules", malignant / len(nodules), 129 / 1186, "derived"),
        ("diameter, smallest (mm)", diameter.min(), 3, "verified"),
        ("diameter, median (mm)", diameter.median(), none, ""),
        ("diameter, largest (mm)", diameter.max(), 30, "verified"),
        ("slice spacing, largest (mm)", max(slices), 2.5, "verified"),
        ("pixel spacing, mean (mm)", np.mean(plane), none, ""),
        ("lung, median (HU)", np.median(lung), none, ""),
        ("soft tissue, median (HU)", np.median(tissue), none, ""),
        *((f"{share}th percentile (HU)", np.percentile(hu, share), none, "") for share in (5, 25, 50, 75, 95)),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["quantity", "twin", "luna16", "grade"])


def _found(nodules: pd.DataFrame, marks: pd.DataFrame) -> int:
    """How many of a scan's nodules have a mark within their radius."""
    place = ["coordX", "coordY", "coordZ"]
    away = np.linalg.norm(nodules[place].to_numpy()[:, None] - marks[place].to_numpy()[None], axis=-1)
    return int((away < nodules.diameter_mm.to_numpy()[:, None] / 2).any(axis=1).sum())


def _write_case(job: tuple[Path, Luna16Spec, int]) -> dict:
    """Write one scan's files. Returns its lines of each table, and its uid."""
    folder, spec, number = job
    case = draw_case(spec, number)
    scene, grid = case.scene, case.scene.grid
    flip = np.array([1, -1, -1]) if number % FLIPPED_EVERY == 3 else np.ones(3, int)
    first = np.where(flip < 0, grid.far(), grid.origin) + case.shift  # the file's first voxel
    mhd.write(
        folder / f"subset{number % SUBSETS}" / f"{case.uid}.mhd",
        scene.hu[:, :: flip[1], :: flip[2]],
        grid.spacing[::-1],
        first[::-1],
        np.diag(flip[::-1]).astype(float),
    )
    nodules = [n.centre for n in scene.nodules]
    excluded = [f.centre for f in scene.excluded]
    graded = [n for n in scene.nodules if np.isfinite(n.malignant)]

    def line(points, values: list[str]) -> list[str]:
        """Lines of a table: the series, the place in the world as x, y, z, and a value."""
        world = (np.asarray(points, float).reshape(-1, 3) + case.shift)[:, ::-1]
        return [f"{case.uid},{x:.4f},{y:.4f},{z:.4f},{value}" for (x, y, z), value in zip(world, values, strict=True)]

    return {
        "uid": case.uid,
        "annotations.csv": line(nodules, [f"{n.diameter:.4f}" for n in scene.nodules]),
        "annotations_excluded.csv": line(excluded, [f"{d:.4f}" if d > 0 else "-1" for d in case.excluded_mm]),
        "candidates_V2.csv": line(case.marks.points, [str(label) for label in case.marks.labels]),
        "malignancy.csv": line([n.centre for n in graded], [f"{n.malignant:.0f}" for n in graded]),
    }


TWIN = Twin(write, Luna16Spec, "luna16")
