"""Small folders in both layouts of CAMELYON16 with nothing wrong, and folders that are wrong in one way each."""

import shutil
import zipfile

import numpy as np
import tifffile

WIDTH, HEIGHT, LEVELS, MPP = 448, 320, 4, 0.243
# slide → (width, height) of its lesion, a rectangle from (X, Y) on in level-0 pixels; None: normal
X, Y = 128, 64
TRAINING = {
    "normal_001": None, "normal_002": None, "normal_003": None, "normal_086": (64, 64),
    "tumor_001": (96, 64), "tumor_002": (64, 96), "tumor_010": (128, 128),
}  # fmt: skip
TESTING = {"test_001": (160, 96), "test_002": None, "test_049": None, "test_114": (64, 64)}
TYPES = {"test_001": "Macro", "test_002": "normal", "test_049": "Normal", "test_114": "Tumor"}
GIGADB, AWS = "GigaDB", "AWS"
KNOWN = ("normal_001", "normal_002", "normal_003", "tumor_001", "tumor_002", "tumor_010")
KNOWN += ("test_001", "test_002", "test_114")


def place(name, layout):
    """The folder of a slide, and those of its annotation and mask."""
    if layout == AWS:
        return "images", "annotations", "masks"
    if name.startswith("test"):
        return "testing/images", "testing/lesion_annotations", "testing/evaluation/evaluation_masks"
    return f"training/{name.split('_')[0]}", "training/lesion_annotations", "training/masks"


def image(name):
    """(HEIGHT, WIDTH, 3): pale tissue, the lesion darker."""
    rng = np.random.default_rng(list(name.encode()))
    picture = rng.integers(180, 230, (HEIGHT // 8, WIDTH // 8, 3)).repeat(8, axis=0).repeat(8, axis=1)
    lesion = (TRAINING | TESTING)[name]
    if lesion:
        picture[Y : Y + lesion[1], X : X + lesion[0]] -= 100
    return picture.astype(np.uint8)


def lesion(name, value=255, level=0):
    """The mask of a slide at one level, uint8."""
    mask, size = np.zeros((HEIGHT, WIDTH), np.uint8), (TRAINING | TESTING)[name] or (0, 0)
    mask[Y : Y + size[1], X : X + size[0]] = value
    return mask[:: 2**level, :: 2**level]


def save(file, levels, **options):
    """A tiled pyramid."""
    file.parent.mkdir(parents=True, exist_ok=True)
    options = {"photometric": "rgb" if levels[0].ndim == 3 else "minisblack", "compression": "deflate"} | options
    with tifffile.TiffWriter(file) as tif:
        for number, level in enumerate(levels):
            tif.write(
                level, subfiletype=int(number > 0), tile=(64, 64), metadata=None,
                **({"resolution": (1e4 / MPP / 2**number,) * 2, "resolutionunit": "CENTIMETER"} | options),
            )  # fmt: skip
    return file


def halves(array):
    levels = [array]
    for _ in range(LEVELS - 1):
        height, width, *rest = levels[-1].shape
        levels.append(levels[-1].reshape(height // 2, 2, width // 2, 2, *rest).mean(axis=(1, 3)).astype(np.uint8))
    return levels


def masks(name, value=255):
    return [lesion(name, value, level) for level in range(LEVELS)]


def polygon(points, group="_0", name="Annotation 0", kind="Polygon", order=None):
    """One annotation as ASAP writes it."""
    numbers = range(len(points)) if order is None else order
    rows = "".join(f'<Coordinate Order="{n}" X="{x}" Y="{y}" />' for n, (x, y) in zip(numbers, points, strict=True))
    of = f'Name="{name}" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58"'
    return f"<Annotation {of}><Coordinates>{rows}</Coordinates></Annotation>"


def xml(*annotations):
    groups = "".join(f'<Group Name="{group}" PartOfGroup="None" Color="#00ff00" />' for group in ("_0", "_1", "_2"))
    body = f"<Annotations>{''.join(annotations)}</Annotations><AnnotationGroups>{groups}</AnnotationGroups>"
    return f'<?xml version="1.0"?>\n<ASAP_Annotations>{body}</ASAP_Annotations>\n'


def outline(name):
    width, height = (TRAINING | TESTING)[name]
    return xml(polygon([(X, Y), (X + width, Y), (X + width, Y + height), (X, Y + height)]))


def write(folder, layout=GIGADB, packed=False, header=False):
    """A whole small copy.   packed: annotations in zip files.   header: of reference.csv."""
    for name, size in (TRAINING | TESTING).items():
        slides, annotations, of_masks = place(name, layout)
        save(folder / slides / f"{name}.tif", halves(image(name)))
        if size and packed:
            with zipfile.ZipFile((folder / annotations).with_name("lesion_annotations.zip"), "a") as archive:
                archive.writestr(f"lesion_annotations/{name}.xml", outline(name))
                archive.writestr(f"__MACOSX/lesion_annotations/._{name}.xml", b"\x00\x05\x16\x07")
        elif size:
            (folder / annotations).mkdir(parents=True, exist_ok=True)
            (folder / annotations / f"{name}.xml").write_text(outline(name))
        if size and name.startswith("test"):
            save(folder / of_masks / f"{name}_mask.tif", masks(name))
    rows = [f"{name},{kind},IDC" for name, kind in TYPES.items()]
    reference = folder / ("reference.csv" if layout == AWS else "testing/reference.csv")
    reference.write_text("\n".join([*(["image,type,subtype"] if header else []), *rows]) + "\n")
    return folder


def _text(file, content):
    return lambda folder: (folder / file).write_text(content)


def _copy(file, to):
    return lambda folder: shutil.copy(folder / file, folder / to)


def _remove(file):
    return lambda folder: (folder / file).unlink()


def _cut(file, share=0.5):
    def apply(folder):
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: int(len(content) * share)])

    return apply


def _zip(folder):
    (folder / "training/lesion_annotations.zip").write_bytes(b"PK\x03\x04 cut short")


SLIDE, LIST = "training/tumor/tumor_001.tif", "testing/reference.csv"
# name: (what to do to the good folder, words the message must hold, the file it must name)
FOLDERS = {
    "no slides": (lambda folder: [p.unlink() for p in folder.rglob("*.tif")], ["no slide such as tumor_001.tif"], ""),
    "a slide twice": (_copy(SLIDE, "testing/Tumor_001.TIF"), ["tumor_001 is also", "keep one"], SLIDE),
    "a mask twice": (
        _copy(SLIDE, "testing/evaluation/Test_001_Mask.tif"),
        ["test_001 is also"],
        "evaluation_masks/test_001_mask.tif",
    ),
    "no annotation": (
        _remove("training/lesion_annotations/tumor_001.xml"),
        ["no annotation, tumor_001.xml", "training/lesion_annotations.zip"],
        SLIDE,
    ),
    "a slide not listed": (
        _text(LIST, "test_001,Tumor\ntest_049,Normal\ntest_114,Tumor\n"),
        ["no reference.csv says", "get testing/reference.csv"],
        "testing/images/test_002.tif",
    ),
    "no list": (_remove(LIST), ["no reference.csv says"], "testing/images/test_001.tif"),
    "an unknown type": (_text(LIST, "test_001,Benign\n"), ["test_001", "unknown type 'benign'", "macro"], LIST),
    "no type": (_text(LIST, "test_001\n"), ["cannot be read as CSV", "a slide and its type"], LIST),
    "a row without type": (_text(LIST, "test_001\ntest_002,normal\n"), ["test_001", "unknown type ''"], LIST),
    "an unknown header": (_text(LIST, "slide,class\ntest_001,Tumor\n"), ["unknown type 'class'"], LIST),
    "two labels": (_text(LIST, "test_001,Macro\ntest_001.tif,Normal\n"), ["test_001 is normal here"], LIST),
    "a list in another coding": (
        lambda folder: (folder / LIST).write_bytes(b"test_001,\xff\xfe\n"),
        ["cannot be read as CSV"],
        LIST,
    ),
    "a zip file cut short": (_zip, ["no whole zip file", "copy it again"], "training/lesion_annotations.zip"),
}


def _spoilt(file):
    with tifffile.TiffFile(file) as tif:
        start, length = tif.pages[2].dataoffsets[0], tif.pages[2].databytecounts[0]
    content = bytearray(file.read_bytes())
    content[start : start + length] = bytes(length)
    file.write_bytes(content)


MASK, ONE = "testing/evaluation/evaluation_masks/test_001_mask.tif", "test_001"
# name: (what to do to the mask of test_001, words the message must hold)
MASKS = {
    "a value between": (lambda file: save(file, masks(ONE, 254)), ["holds 254", "never JPEG"]),
    "of another slide": (
        lambda file: save(file, [mask[:-2] for mask in masks(ONE)]),
        ["its levels are 448 x 318, 224 x 158, 112 x 78, 56 x 38", "the slide's is 112 x 80 pixels"],
    ),
    "one level": (lambda file: save(file, masks(ONE)[:1]), ["its levels are 448 x 320,", "112 x 80"]),
    "no TIFF": (lambda file: file.write_bytes(b"\x00" * 99), ["cannot be read as a TIFF mask", "copy it again"]),
    "cut short": (lambda file: file.write_bytes(file.read_bytes()[:1500]), ["cannot be read as a TIFF mask"]),
    "with a damaged tile": (_spoilt, ["cannot be read as a TIFF mask", "copy it again"]),
}  # fmt: skip

SQUARE = [(0, 0), (4, 0), (4, 4), (0, 4)]
BOMB = '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;&b;">]><ASAP_Annotations>&c;</ASAP_Annotations>'
FAR = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><ASAP_Annotations>&b;</ASAP_Annotations>'
# name: (the text of an annotation, words the message must hold)
OUTLINES = {
    "no XML": ("tumour everywhere", ["read as plain XML", "copy it again"]),
    "empty": ("", ["read as plain XML"]),
    "cut short": (xml(polygon(SQUARE))[:-40], ["read as plain XML"]),
    "entities in entities": (BOMB, ["read as plain XML"]),
    "another file inside": (FAR, ["read as plain XML"]),
    "a document type": ("<!DOCTYPE a><ASAP_Annotations/>", ["read as plain XML"]),
    "an unknown coding": ('<?xml version="1.0" encoding="klingon"?><ASAP_Annotations/>', ["read as plain XML"]),
    "another program's": ("<Annotations/>", ["its root is 'Annotations'", "ASAP_Annotations"]),
    "an unknown group": (xml(polygon(SQUARE, "Stroma", "S 1")), ["'S 1'", "unknown group 'Stroma'", "_0, _1, tumor"]),
    "no group": (xml(polygon(SQUARE).replace("PartOfGroup", "Part")), ["unknown group ''"]),
    "a dot": (xml(polygon(SQUARE[:1], kind="Dot")), ["of type 'Dot'", "polygon"]),
    "two points": (xml(polygon(SQUARE), polygon(SQUARE[:2], name="B")), ["annotation 'B' has 2 points"]),
    "no points": (xml(polygon([])), ["'Annotation 0' has 0 points"]),
    "NaN": (xml(polygon([*SQUARE, ("nan", 3)])), ["'Annotation 0'", "missing, infinite"]),
    "infinite": (xml(polygon([*SQUARE, (3, "-inf")])), ["missing, infinite"]),
    "beyond any slide": (xml(polygon([*SQUARE, (3, "1e300")])), ["beyond any slide"]),
    "no Y": (xml(polygon(SQUARE).replace(" Y=", " Z=")), ["missing, infinite"]),
    "a comma": (xml(polygon([*SQUARE, ("1,5", 3)])), ["no number", "1,5"]),
    "no order": (xml(polygon(SQUARE, order=(0, 1, "two", 3))), ["no number", "two"]),
}
