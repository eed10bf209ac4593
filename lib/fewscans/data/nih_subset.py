"""1,000 images of NIH ChestX-ray14 at 224 pixels, of which RSNA's radiologists read 339 again: real X-rays in 40 MB.

500 images have NIH's label "No Finding" and 500 "Pneumonia", chosen so; shares are not those of NIH. "opacity" is
RSNA's reading: 1, 0, or NaN where RSNA did not read the image. It disagrees with NIH's text-mined "pneumonia" often.
Every case is of split "test", because the source's own split puts each patient with an NIH box there: experiments
make folds by patient instead.

Wang et al., IEEE CVPR 2017; Shih et al., Radiology: Artificial Intelligence 1:e180041 (2019).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fewscans.data import nih_chestxray14
from fewscans.data.base import Cases, Cut, Dataset, and_more, digest, first_line, read_table, report, unlisted
from fewscans.data.formats import npz
from fewscans.data.nih_chestxray14 import COLUMNS, FINDING_OF, any_of, boxes, described, findings, gathered, side_of
from fewscans.data.radiographs import square
from fewscans.errors import DataError

IMAGES, TABLE = "nih_cxr14_1000_224.npz", "labels.csv"
READING, OPACITY = "rsna_read.csv", "rsna_lung_opacity"
BOX_LISTS = {"boxes.csv": FINDING_OF | {"Pneumonia": "pneumonia"}, "rsna_boxes.csv": {"Lung opacity (RSNA)": "opacity"}}
KEYS = ("images", "labels", "classes", "names", "patient", "split")
SIDE = 224
AGAIN = "copy the folder again"


def read(path: Path | str) -> Cases:
    """Read and check the images as published, (n, 224, 224), with both readings and their boxes.

    Returns: target 1: "opacity" or "pneumonia" is 1.   labels: opacity, pneumonia and `radiographs.FINDINGS`.
    Raises:  DataError naming the file and value: what `npz.load`, `described` and `boxes` refuse, images that are not
             those of labels.csv or blank, a reading that is not 0 or 1, a reading or box of an image that is not there.
    """
    path = Path(path)
    arrays = npz.load(path / IMAGES, KEYS, IMAGES, AGAIN)
    table = described(path / TABLE, {name: name for name in COLUMNS.values()}, AGAIN)
    names = table["image"].tolist()
    if arrays["images"].shape[:1] != (len(names),) or arrays["names"].tolist() != names:
        raise DataError(f"{path / IMAGES}: its names are not the images of {TABLE} in their order; {AGAIN}")
    npz.check_images(path / IMAGES, "images", arrays["images"], (SIDE, SIDE), names)
    classes, n = arrays["classes"], len(table)
    if classes.ndim != 1 or arrays["patient"].shape != (n,) or arrays["labels"].shape != (n, len(classes)):
        raise DataError(f"{path / IMAGES}: patient must be (n,), classes (k,) and labels (n, k); {AGAIN}")
    for name in classes.tolist():
        if name not in nih_chestxray14.LABELS:
            known = ", ".join(nih_chestxray14.LABELS)
            raise DataError(f"{path / IMAGES}: classes holds {name!a}; known are {known}; {AGAIN}")
    said = {"patient": table["patient"] == arrays["patient"].astype(str)} | {
        name: table["finding_labels"].str.split("|").map(lambda found, n=name: n in found) == (known == 1)
        for name, known in zip(classes.tolist(), arrays["labels"].T, strict=True)
    }
    for what, same in said.items():
        if not same.all():
            fault = f"{what} of {table['image'][~same].iloc[0]} is not what {TABLE} says"
            raise DataError(f"{path / IMAGES}: {fault}; {AGAIN}")
    reading = read_table(path / READING, ("image", OPACITY), AGAIN, dtype=str, keep_default_na=False)
    odd = reading[~reading[OPACITY].isin(["0", "1"]) | reading["image"].duplicated()]
    if len(odd):
        image, value = odd.iloc[0][["image", OPACITY]]
        raise DataError(f"{path / READING}: {image} is read as {value!r}, or twice; a reading is 0 or 1; {AGAIN}")
    drawn = {name: boxes(path / name, finding_of, AGAIN) for name, finding_of in BOX_LISTS.items()}
    for name, rows in {READING: reading, **drawn}.items():
        strange = rows["image"][~rows["image"].isin(table["image"])].tolist()
        if strange:
            raise DataError(f"{path / name}: {strange[0]}{and_more(strange)} is not in {TABLE}; {AGAIN}")
    opacity = table["image"].map(reading.set_index("image")[OPACITY]).to_numpy(float)
    labels = {"opacity": opacity} | findings(table, BOX_LISTS["boxes.csv"])
    files = [path / name for name in (IMAGES, TABLE, READING, *BOX_LISTS)]
    return gathered(
        table, labels, pd.concat(drawn.values()), images=arrays["images"],
        target=any_of([opacity, labels["pneumonia"]]), split=np.full(len(table), "test"),
        fingerprint=digest({}, files, path), path=path,
    )  # fmt: skip


def cases(path: Path | str, cut: Cut, cache: Path | None = None) -> Cases:
    """The images at the size of the cut, which is square: at 224 the published pixels, else resized from them."""
    side, published = side_of(cut), read(path)
    if side == SIDE:
        return published
    images = np.stack([square(pixels / np.float32(255), side) for pixels in published.images])
    fingerprint = digest({"data": published.fingerprint, "side": side})
    return dataclasses.replace(published, images=images, fingerprint=fingerprint)


def check_copy(folder: Path | str) -> dict[str, Any]:
    """What a copy holds, and which files are absent or have other bytes than SHA256SUMS says; see `base.report`."""
    try:
        found = read(folder)
        lacks = unlisted(found.path)
    except (DataError, OSError, ValueError) as error:
        return report([first_line(error)])
    opacity = found.about["label opacity"]
    counts = {"images": len(found), "patients": len(set(found.group)), "read by RSNA": int(opacity.notna().sum())}
    return report(lacks, counts | {"opacity": int(opacity.sum())}, found.fingerprint)


_WHOLE = nih_chestxray14.DATASET
DATASET = Dataset(
    name="nih-subset", title="NIH chest X-rays read twice", case="image", group="patient", shows=_WHOLE.shows,
    target="label", read=read, cases=cases, licence=f"{_WHOLE.licence}; RSNA's readings: any use with attribution",
    cite=f"{_WHOLE.cite}; Shih et al., Radiology: AI 1:e180041 (2019), doi 10.1148/ryai.2019180041",
    source="the folder nih-chestxray14-subset: 1,000 images of github.com/muhammedtalo/COVID-19 (commit ee3e2cf) with "
    "NIH's labels and boxes and RSNA's readings from github.com/mlmed/torchxrayvision (commit f4087a0), and SHA256SUMS",
    attribution="""\
Chest X-rays of NIH ChestX-ray14 at 224 pixels, provided by the NIH Clinical Center (no restriction on use),
https://nihcc.app.box.com/v/ChestXray-NIHCC, and readings of the RSNA Pneumonia Detection Challenge 2018 (any use with
attribution). No image is kept here, only each image's name, its labels and the networks' predictions. Cite:

- Shih G. et al., Augmenting the National Institutes of Health Chest Radiograph Dataset with Expert Annotations of
  Possible Pneumonia, Radiology: Artificial Intelligence 1(1):e180041 (2019), doi 10.1148/ryai.2019180041.
""" + _WHOLE.attribution.partition("Cite:\n\n")[2],
    people=_WHOLE.people, score="auc:opacity", folder="nih-chestxray14-subset",
    marks=((IMAGES,), (TABLE,), (READING,)), check=check_copy,
    sha256="cded68798ce2ec2e985d452763190fdb1439e304279dddbe6fddc3ed15a68f0f",
)  # fmt: skip
