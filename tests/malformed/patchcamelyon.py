"""Copies in the layout of PatchCamelyon that are wrong in one way each, and what the reader's message must name."""

import gzip
import io

import h5py
import numpy as np

COUNTS = {"train": 12, "valid": 6, "test": 8}
SLIDES = {"train": ("normal_001", "tumor_001", "tumor_002"), "valid": ("tumor_003",), "test": ("test_001", "test_002")}


def name_of(split, what):
    return f"camelyonpatch_level_2_split_{split}_{what}"


def patches(split):
    """Noise, (n, 96, 96, 3)."""
    rng = np.random.default_rng([*split.encode()])
    return rng.integers(0, 256, (COUNTS[split], 96, 96, 3), dtype=np.uint8)


def labels(split):
    return (np.arange(COUNTS[split]) % 2).astype(np.uint8).reshape(-1, 1, 1, 1)


def slides(split):
    return [SLIDES[split][i % len(SLIDES[split])] for i in range(COUNTS[split])]


def hdf5(chunks=None, **arrays) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for key, array in arrays.items():
            file.create_dataset(key, data=array, chunks=chunks)
    return content.getvalue()


def save(folder, split, key, content: bytes, packed=True):
    """One file, packed or as it is; the other form of it is removed."""
    for suffix in (".h5", ".h5.gz"):
        (folder / f"{name_of(split, key)}{suffix}").unlink(missing_ok=True)
    file = folder / f"{name_of(split, key)}{'.h5.gz' if packed else '.h5'}"
    file.write_bytes(gzip.compress(content, 1) if packed else content)
    return file


def table(folder, split, rows=None, columns=",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi"):
    """The published table's columns; the first has no name."""
    rows = [f"{i},7,9,True,{i % 2 == 1},{slide}" for i, slide in enumerate(slides(split))] if rows is None else rows
    (folder / f"{name_of(split, 'meta')}.csv").write_text("\n".join([columns, *rows]) + "\n")


def write(folder, packed=True, tables=True):
    """A small copy with nothing wrong but its counts."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in COUNTS:
        save(folder, split, "x", hdf5(x=patches(split)), packed)
        save(folder, split, "y", hdf5(y=labels(split)), packed)
        if tables:
            table(folder, split)
    return folder


def _cut(folder, split, key, share=0.6):
    file = folder / f"{name_of(split, key)}.h5.gz"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])


def _changed_byte(folder, split, key):
    """A byte of the middle: the packed file no longer has its own checksum."""
    file = folder / f"{name_of(split, key)}.h5.gz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(bytes(content))


def _without_names(key):
    """HDF5 whose list of names is damaged."""
    content = hdf5(**{key: {"x": patches, "y": labels}[key]("test")})
    return content.replace(b"SNOD", b"SNOB")


def _labelled(value, kind=np.uint8):
    array = labels("test").astype(kind)
    array[3] = value
    return hdf5(y=array)


X, Y, META = name_of("test", "x"), name_of("test", "y"), name_of("test", "meta")
SMALL, GREY = np.zeros((8, 64, 64, 3), np.uint8), np.zeros((8, 96, 96), np.uint8)
# name: (what to do with the good folder, words the message must hold)
CASES = {
    "no patches' file": (lambda f: (f / f"{X}.h5.gz").unlink(), [f"{X}.h5.gz", "no such file", "docs/data.md"]),
    "no labels' file": (lambda f: (f / f"{Y}.h5.gz").unlink(), [f"{Y}.h5.gz", "no such file"]),
    "gzip cut short": (lambda f: _cut(f, "test", "x"), [f"{X}.h5.gz", "no whole gzip file", "download it again"]),
    "labels cut short": (lambda f: _cut(f, "test", "y"), [f"{Y}.h5.gz", "no whole gzip file"]),
    "gzip damaged": (lambda f: _changed_byte(f, "test", "x"), [f"{X}.h5.gz", "no whole gzip file"]),
    "no gzip": (lambda f: (f / f"{X}.h5.gz").write_bytes(b"<html>404</html>"), [f"{X}.h5.gz", "no whole gzip file"]),
    "empty gzip": (lambda f: (f / f"{X}.h5.gz").write_bytes(b""), [f"{X}.h5.gz", "cannot be read as HDF5"]),
    "no HDF5": (lambda f: save(f, "test", "x", b"\x89HDF is not enough"), [f"{X}.h5.gz", "cannot be read as HDF5"]),
    "unpacked, cut short": (
        lambda f: save(f, "test", "x", hdf5(x=patches("test"))[:90_000], packed=False),
        [f"{X}.h5", "cannot be read as HDF5", "truncated"],
    ),
    "patches under another key": (
        lambda f: save(f, "test", "x", hdf5(images=patches("test"))), [f"{X}.h5.gz", "no key 'x'"]
    ),
    "labels under another key": (
        lambda f: save(f, "test", "y", hdf5(label=labels("test"))), [f"{Y}.h5.gz", "no key 'y', but label"]
    ),
    "patches and labels swapped": (
        lambda f: save(f, "test", "x", hdf5(y=labels("test"))), [f"{X}.h5.gz", "no key 'x'"]
    ),
    "names damaged": (lambda f: save(f, "test", "y", _without_names("y")), [f"{Y}.h5.gz", "y cannot be read"]),
    "patches' names damaged": (lambda f: save(f, "test", "x", _without_names("x")), [f"{X}.h5.gz", "x"]),
    "fewer labels": (
        lambda f: save(f, "test", "y", hdf5(y=labels("test")[:-1])), [f"{X}.h5.gz", "holds 8 patches", "7 labels"]
    ),
    "fewer patches": (
        lambda f: save(f, "test", "x", hdf5(x=patches("test")[:-2])), [f"{X}.h5.gz", "holds 6 patches", "8 labels"]
    ),
    "no patch": (lambda f: save(f, "test", "x", hdf5(x=patches("test")[:0])), [f"{X}.h5.gz", "(0, 96, 96, 3)"]),
    "another size": (lambda f: save(f, "test", "x", hdf5(x=SMALL)), [f"{X}.h5.gz", "(8, 64, 64, 3)", "(n, 96, 96, 3)"]),
    "grey": (lambda f: save(f, "test", "x", hdf5(x=GREY)), [f"{X}.h5.gz", "(8, 96, 96)", "(n, 96, 96, 3)"]),
    "float patches": (
        lambda f: save(f, "test", "x", hdf5(x=patches("test") / 255)), [f"{X}.h5.gz", "float64", "uint8"]
    ),
    "label 2": (lambda f: save(f, "test", "y", _labelled(2)), [f"{Y}.h5.gz", "holds 2", "0 or 1"]),
    "label 255": (lambda f: save(f, "test", "y", _labelled(255)), [f"{Y}.h5.gz", "holds 255"]),
    "label -1": (lambda f: save(f, "test", "y", _labelled(-1, np.int64)), [f"{Y}.h5.gz", "holds -1"]),
    "label NaN": (lambda f: save(f, "test", "y", _labelled(np.nan, float)), [f"{Y}.h5.gz", "float64", "whole numbers"]),
    "labels of each pixel": (
        lambda f: save(f, "test", "y", hdf5(y=np.zeros((8, 96, 96), np.uint8))), [f"{Y}.h5.gz", "(8, 96, 96)"]
    ),
    "table of another split": (lambda f: table(f, "test", ["0,a"], ",wsi"), [f"{META}.csv", "1 slides for 8 patches"]),
    "table without slides": (lambda f: table(f, "test", ["0,a"], ",slide"), [f"{META}.csv", "column 'wsi' is missing"]),
    "table with gaps": (
        lambda f: table(f, "test", [*(f"{i},a" for i in range(7)), "7,"], ",wsi"),
        [f"{META}.csv", "7 slides for 8 patches"],
    ),
}  # fmt: skip
