"""The run store: finished runs by the hash of all that decides them.

One Parquet file a run holds its predictions, with its history and record in the schema's metadata, so a run is there
whole or not at all; weights lie beside it as safetensors. A lock per run (`locks`) lets any number of sweeps share a
store, on any disk. Where locks are leases, two may train one run: both write the same, and the first to finish counts.
The hash covers parameters, data and the code that decides (`closure`).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import BaseFileLock, Timeout
from torch import Tensor

from fewscans import files, locks
from fewscans.errors import RunError
from fewscans.experiments.base import Entry

COLUMNS = {
    "arm": "str", "n_train": "int64", "seed": "int64", "split": "str",
    "case": "str", "group": "str", "target": "float64", "prediction": "float64",
}  # fmt: skip


class Store:
    """A folder of finished runs; see the module."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.locks = locks.Locks(self.folder)

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.parquet"

    def weights_path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def checkpoint_path(self, key: str) -> Path:
        return self.folder / f"{key}.checkpoint"

    def lock(self, key: str) -> BaseFileLock:
        """Held while a run is trained; `with lock.acquire(blocking=False)` raises filelock.Timeout if another holds it.

        Raises RunError if the folder cannot be made or written.
        """
        with self._writable():
            return self.locks.lock(key)

    @contextmanager
    def hold(self, key: str) -> Iterator[BaseFileLock]:
        """Holds that run's lock, in this process's name. Raises filelock.Timeout if another holds it, and as `lock`."""
        with ExitStack() as stack:
            with self._writable():
                lock = stack.enter_context(self.locks.hold(key))
            yield lock

    @property
    def leased(self) -> bool:
        """Whether locks are leases here, so that two processes may be at work on one run."""
        return self.locks.kind.kind == "lease"

    def held(self, key: str) -> bool:
        """Whether some process is training that run now."""
        with self._writable():
            return self.locks.held(key)

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            yield
        except Timeout:  # an OSError as well
            raise
        except OSError as error:
            raise RunError(
                f"the run store {self.folder} cannot be written ({error.strerror}); "
                "make it writable, or set FEWSCANS_STORE to a folder that is"
            ) from error

    def get(self, key: str) -> Entry | None:
        """The finished run, or None; an entry cut short or altered is removed with a warning, and so trained again."""
        return self._read(key, self._entry)

    def record(self, key: str) -> dict | None:
        """The finished run's record alone, ten times faster than `get`.

        What is cut short shows here as well, for Parquet ends in the part that is read; an altered byte only in `get`.
        """
        return self._read(key, self._notes)

    def weights(self, key: str) -> dict[str, Tensor] | None:
        """A finished run's weights, or None if there are none. Raises RunError for a file that is damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self.weights_path(key)
        if not path.exists():
            return None
        content, known = path.read_bytes(), self._read(key, self._hash_of_weights)
        try:
            if known not in (None, hashlib.sha256(content).hexdigest()):  # None: of before hashes were kept
                raise ValueError("its SHA-256 is not the one it was written with")
            return load(content)
        except (SafetensorError, ValueError) as error:
            cause = "a pointer of Git LFS" if files.is_pointer(path) else str(error).strip().partition("\n")[0]
            raise RunError(
                f"{path}: damaged weights ({cause}); remove it and {self.path(key).name}, and train the run again"
            ) from error

    def _read(self, key: str, read: Callable):
        path = self.path(key)
        try:
            return read(path)
        except FileNotFoundError:
            return None
        except Exception as error:  # pyarrow raises many kinds for a damaged file, OSError among them
            if getattr(error, "errno", None) is not None:  # from the system: not the file's content is at fault
                raise RunError(
                    f"{path} cannot be read ({os.strerror(error.errno)}); "
                    "make the run store readable, or set FEWSCANS_STORE to another folder"
                ) from error
            cause = str(error).strip().partition("\n")[0] or type(error).__name__
            warnings.warn(f"{path}: damaged store entry ({cause}); its run is trained again", stacklevel=3)
            path.unlink(missing_ok=True)
            return None

    @staticmethod
    def _entry(path: Path) -> Entry:
        table = pq.read_table(path, page_checksum_verification=True)
        notes = json.loads(table.schema.metadata[b"fewscans"])
        predictions = table.to_pandas()
        if list(predictions.columns) != list(COLUMNS) or len(predictions) != notes["rows"]:
            raise ValueError(f"{len(predictions)} rows with columns {list(predictions.columns)}")
        return Entry(predictions, notes["history"], notes["record"])

    @staticmethod
    def _notes(path: Path) -> dict:
        return json.loads(pq.read_schema(path).metadata[b"fewscans"])["record"]

    @staticmethod
    def _hash_of_weights(path: Path) -> str | None:
        return json.loads(pq.read_schema(path).metadata[b"fewscans"]).get("weights")

    def tidy(self, *keys: str, finished: bool = False) -> None:
        """Removes half-written files that killed processes left of these runs; with `finished`, checkpoints as well.

        For the one process at work on a run, or when its entry is there: then another that is yet at work finds it.
        """
        for partial in self.folder.glob("*.part"):
            if partial.name.partition(".")[0] in keys:
                partial.unlink(missing_ok=True)
        for key in keys if finished else ():
            self.checkpoint_path(key).unlink(missing_ok=True)

    def put(self, key: str, entry: Entry, weights: Mapping[str, Tensor] | None = None) -> None:
        """Writes weights, then the entry, each replaced atomically; the entry's presence is what counts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        notes = {"rows": len(entry.predictions), "history": entry.history, "record": entry.record}
        if weights:
            from safetensors.torch import save

            content = save({k: v.contiguous() for k, v in weights.items()})
            files.write(self.weights_path(key), content)  # not save_file: its files their owner alone can read
            notes["weights"] = hashlib.sha256(content).hexdigest()
        write_table(entry.predictions, self.path(key), notes)
        self.checkpoint_path(key).unlink(missing_ok=True)


def write_table(table: pd.DataFrame, path: Path, notes: dict | None = None) -> None:
    """One Parquet file, the same bytes for the same rows, replaced atomically; `notes` go into its metadata as JSON."""
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    if notes is not None:
        arrow = arrow.replace_schema_metadata({"fewscans": json.dumps(notes, sort_keys=True)})
    content = io.BytesIO()
    pq.write_table(arrow, content, compression="zstd", write_page_checksum=True)
    files.write(path, content.getvalue())


def key(decides: Mapping) -> str:
    """The hash of all that decides a run; `decides` must be plain JSON."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:24]
