"""LUNA16: the candidates in its scans, each a nodule or not, cut in space or on the axial plane.

The published folder is read by fewscans.data.formats.luna16, candidates are drawn and cut by
fewscans.data.luna16_candidates.
"""

from pathlib import Path

from fewscans.data import luna16_candidates, sources
from fewscans.data.base import Cases, Cut, Dataset
from fewscans.data.formats import luna16 as layout


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The candidates, cut and kept as `luna16_candidates.prepare` does."""
    return luna16_candidates.prepare(path, cut, cache=cache and cache / "patches")


DATASET = Dataset(
    name="luna16", title="LUNA16 candidates in space", case="candidate", group="scan", shows="lung nodules",
    target="label", read=layout.read, cases=cases, licence="LUNA16: CC BY 4.0, a subset of LIDC-IDRI: CC BY 3.0",
    cite=f"{sources.LUNA16}; {sources.LIDC}",
    source="LUNA16 (luna16.grand-challenge.org; zenodo.org/records/3723295 and 4121926): subset0 to subset9 unzipped, "
    "annotations.csv, candidates_V2.csv and, of the evaluation script, annotations_excluded.csv and seriesuids.csv",
    attribution=f"""\
Candidates in scans of LUNA16 (CC BY 4.0), itself a subset of LIDC-IDRI (CC BY 3.0). No image is kept here, only each
candidate's row in LUNA16's list, its class, the nodules it lies in, and the networks' predictions. Cite:

{sources.LUNA16_IN_FULL}{sources.LIDC_IN_FULL}""",
    people="LIDC-IDRI", twin="luna16", score="froc",
    marks=(("subset0",), tuple(str(Path(folder, layout.ANNOTATIONS)) for folder in layout.FOLDERS)),
    check=layout.check_copy,
)  # fmt: skip
