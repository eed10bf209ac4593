"""Public sets brought in as one's own, by cases.csv: how such a folder is made, and what `fewscans compare` then finds.

    python docs/own_data_examples.py NAME FOLDER      # writes the pictures, cases.csv and dataset.yaml into FOLDER
    fewscans data add my-NAME FOLDER && fewscans audit my-NAME && fewscans compare my-NAME --hours 1
    python docs/own_data_examples.py keep reports/examples      # copies the pages that are there, and writes an index

NAME: pneumoniamnist, adrenalmnist3d, lidc-voi-994 or nih-chestxray14-subset, a folder of that name under data_root.
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fewscans import paths

MEDMNIST = "Yang J. et al., Scientific Data 10:41 (2023)"
SETTINGS = {
    "pneumoniamnist": ("Chest X-rays of children", "radiograph", "CC BY 4.0",
                       f"{MEDMNIST}; Kermany et al., Cell 172:1122 (2018)"),
    "adrenalmnist3d": ("Shapes of adrenal glands", "gland", "CC BY 4.0", MEDMNIST),
    "lidc-voi-994": ("Malignancy of lung nodules", "nodule", "CC BY 3.0",
                     "Armato et al., Medical Physics 38:915-931 (2011)"),
    "nih-chestxray14-subset": ("Opacities in chest X-rays, NIH", "radiograph", "no restriction; NIH Clinical Center",
                               "Wang X. et al., IEEE CVPR 2017; Shih G. et al., Radiology AI 1:e180041 (2019)"),
}  # fmt: skip


def medmnist(source: Path, folder: Path) -> list[dict]:
    """One picture a patient, as its makers say; copies among them are left out."""
    arrays, rows, seen = np.load(source / sorted(source.glob("*mnist*.npz"))[0].name), [], set()
    for split in ("train", "val", "test"):
        for i, (image, label) in enumerate(
            zip(arrays[f"{split}_images"], arrays[f"{split}_labels"][:, 0], strict=True)
        ):
            if image.tobytes() in seen:
                continue
            seen.add(image.tobytes())
            name = f"{split}{i:05d}" + (".png" if image.ndim == 2 else ".npy")
            Image.fromarray(image).save(folder / name) if image.ndim == 2 else np.save(folder / name, image)
            rows.append({"image": name, "label": int(label), "patient": f"{split}{i:05d}", "split": split})
    return rows


def nodules(source: Path, folder: Path) -> list[dict]:
    """Malignant (rated 4 or 5) or benign (1 or 2); the rest is left out. The diameter is kept: it tells nearly all."""
    table = pd.read_csv(source / "nodules.csv", dtype=str)
    table = table[table["malignant"] != "-1"]
    with zipfile.ZipFile(source / "images.zip") as images:
        for name in table["file"]:
            (folder / Path(name).name).write_bytes(images.read(name))
    return [
        {
            "image": Path(row.file).name,
            "label": int(row.malignant),
            "patient": row.patient_id,
            "diameter": row.diameter_mm,
        }
        for row in table.itertuples()
    ]


def radiographs(source: Path, folder: Path) -> list[dict]:
    """Those that RSNA read again, each box around all that was found; view, follow-up number and age tell a part."""
    arrays = np.load(source / "nih_cxr14_1000_224.npz", allow_pickle=False)
    images = dict(zip(map(str, arrays["names"]), arrays["images"], strict=True))
    read = pd.read_csv(source / "rsna_read.csv")
    known = pd.read_csv(source / "labels.csv").set_index("image")
    found = (
        pd.read_csv(source / "rsna_boxes.csv").set_index("image")[["x_1024", "y_1024", "w_1024", "h_1024"]] * 224 / 1024
    )
    rows = []
    for name, opacity in zip(read.iloc[:, 0], read["rsna_lung_opacity"], strict=True):
        said = known.loc[name]
        Image.fromarray(images[name]).save(folder / name)
        more = {column: said[column] for column in ("view", "followup", "age", "sex") if column in said}
        box = _around(found.loc[[name]].to_numpy()) if name in found.index else {}
        rows.append({"image": name, "label": int(opacity), "patient": f"p{said['patient']}"} | more | box)
    return rows


def _around(boxes: np.ndarray) -> dict[str, float]:
    """The smallest box around some, (k, 4) as x, y, w, h."""
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0), (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    return {"x": left, "y": top, "w": right - left, "h": bottom - top}


MAKERS = {
    "pneumoniamnist": medmnist,
    "adrenalmnist3d": medmnist,
    "lidc-voi-994": nodules,
    "nih-chestxray14-subset": radiographs,
}


INDEX = """# Example pages: public sets as somebody's own

Public sets were brought in as own data by `docs/own_data_examples.py`, and compared by `fewscans compare`. Each page is
what the command writes; it says within how many hours. No picture is kept here.

"""


def keep(target: Path) -> None:
    """Copies the page and figures of each set my-NAME that was compared, and writes README.md with their verdicts."""
    for made in sorted(paths.runs().glob("my-*/README.md")):
        place = target / made.parent.name.removeprefix("my-")
        place.mkdir(parents=True, exist_ok=True)
        for file in [made, *made.parent.glob("*.png")]:
            shutil.copyfile(file, place / file.name)
    text = INDEX
    for page in sorted(target.glob("*/README.md")):
        lines = page.read_text(encoding="utf-8").split("\n")
        start = lines.index("## Verdict") + 2
        table = lines[start : lines.index("", start)]
        title = lines[0].removeprefix("# ").partition(": what saves")[0]
        command = next(line for line in lines if line.startswith("Written by")).partition(". ")[0]
        text += f"## [{title}]({page.parent.name}/README.md)\n\n{command}.\n\n"
        text += "\n".join(table) + "\n\n"
    (target / "README.md").write_text(text.rstrip() + "\n", encoding="utf-8")


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "keep":
        return keep(Path(sys.argv[2]))
    if len(sys.argv) != 3 or sys.argv[1] not in MAKERS:
        sys.exit(__doc__)
    name, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    rows = MAKERS[name](paths.data_root() / name, folder)
    pd.DataFrame(rows).to_csv(folder / "cases.csv", index=False)
    title, case, licence, cite = SETTINGS[name]
    more = "window: [-1000, 300]\npatch: [8, 32, 32]\nspacing_mm: [2.0, 1.0, 1.0]\n" if name == "lidc-voi-994" else ""
    text = f'title: "{title}"\ncase: {case}\nlicence: "{licence}"\ncitation: "{cite}"\n{more}'
    (folder / "dataset.yaml").write_text(text)
    print(f"wrote {len(rows)} cases to {folder}")


if __name__ == "__main__":
    main()
