"""Is this machine ready? Each check says what was found and, where something is amiss, what to do about it, in words.

Nothing here raises, and nothing that a check is about is imported at the top: a broken torch is a finding.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fewscans import guard, paths

NEEDED_DISK_GB = 5
PYTHON = (3, 11)
LOCAL_FLOCK = ("localflock", "nolock", "local_lock=all", "local_lock=flock")  # of Lustre, of NFS
OWN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONWARNINGS", "MATPLOTLIBRC")
MARKS = {True: "ok", False: "!!", None: "--"}


@dataclass(frozen=True)
class Check:
    """One finding: `ok` is True, False where the workbook cannot run so, None where only something optional lacks."""

    name: str
    ok: bool | None
    found: str
    remedy: str = ""


def checks() -> list[Check]:
    """All checks in the order in which to fix them. Never raises: a check that itself fails is a finding."""
    found: list[Check] = []
    for name, look in _LOOKS.items():
        try:
            found.extend(look())
        except Exception as error:
            found.append(Check(name, False, f"{type(error).__name__}: {error}", "correct what this message names"))
    return found


def render(found: list[Check]) -> str:
    """The checks as lines for a terminal, remedies below what they fix, and one line to sum up."""
    width = max((len(check.name) for check in found), default=0)
    lines = []
    for check in found:
        lines.append(f"{MARKS[check.ok]}  {check.name:<{width}}  {check.found}")
        if check.remedy and check.ok is not True:
            lines.append(f"    {'':<{width}}  → {check.remedy}")
    broken = [check.name for check in found if check.ok is False]
    lines.append(f"to fix: {', '.join(broken)}" if broken else "ready")
    return "\n".join(lines)


def ready(found: list[Check]) -> bool:
    """Whether every required check passed."""
    return all(check.ok is not False for check in found)


def _python() -> list[Check]:
    where = f"{platform.python_version()} at {sys.executable}"
    remedy = f"install Python {'.'.join(map(str, PYTHON))} or newer, remove .venv, make env"
    return [Check("Python", sys.version_info >= PYTHON, where, remedy)]


def _torch() -> list[Check]:
    try:
        import torch
    except Exception as error:  # a broken build raises OSError, or whatever its libraries raise
        return [Check("torch", False, f"does not import: {error}", "make env installs the tested version into .venv")]
    tested = _pins().get("torch", "?")
    same = torch.__version__.split("+")[0] == tested
    found = torch.__version__ if same else f"{torch.__version__}; tested with {tested}"
    return [Check("torch", True if same else None, found, "make env installs the tested version"), _device(torch)]


def _device(torch) -> Check:
    if torch.cuda.is_available():
        cards = []
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            half = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
            cards.append(f"{card.name}, {card.total_memory / 2**30:.0f} GiB, mixed precision in {half}")
        return Check("device", True, f"CUDA {torch.version.cuda}: " + "; ".join(cards))
    if torch.backends.mps.is_available():
        return Check("device", True, "Apple GPU (MPS); training here uses float32")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"CPU, {cores} cores, {torch.get_num_threads()} threads, float32"
    if shutil.which("nvidia-smi"):
        remedy = "there is an NVIDIA driver, but this torch does not see its GPU: install the CUDA build of torch"
        return Check("device", None, found, f"{remedy} that fits the driver (nvidia-smi names the CUDA version)")
    return Check("device", True, f"{found}; enough for the quick profile, the paper profile wants a GPU")


def _openslide() -> list[Check]:
    try:
        import openslide
    except Exception as error:
        missing = "not installed" if isinstance(error, ModuleNotFoundError) else f"does not import: {error}"
        return [Check("OpenSlide", False, missing, "make env installs the tested version into .venv")]
    return [Check("OpenSlide", True, f"{openslide.__library_version__} (Python binding {openslide.__version__})")]


def _dvc() -> list[Check]:
    try:
        version = importlib.metadata.version("dvc")
    except importlib.metadata.PackageNotFoundError:
        return [Check("DVC", False, "not installed", "make env, or pip install -c constraints.txt -e '.[workbook]'")]
    config = paths.root() / ".dvc" / "config"
    if not config.is_file():
        return [Check("DVC", False, f"{version}, but no .dvc folder", "run inside a git clone; else dvc init")]
    quiet = "analytics = false" in config.read_text(encoding="utf-8")
    found = f"{version}, analytics {'off' if quiet else 'on'}"
    return [Check("DVC", True if quiet else None, found, "to turn them off: dvc config core.analytics false")]


def _git() -> list[Check]:
    git = shutil.which("git")
    if git is None:
        return [Check("git", False, "not found", "install git; DVC works inside a git clone")]
    version = subprocess.run([git, "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    if not (paths.root() / ".git").exists():
        return [Check("git", False, f"{version}, but {paths.root()} is not a clone", "git clone, or git init in it")]
    return [Check("git", True, version)]


def _disk() -> list[Check]:
    free = shutil.disk_usage(paths.root()).free / 1e9
    remedy = f"the environment, twins and runs take up to {NEEDED_DISK_GB} GB: free some"
    return [Check("disk", free >= NEEDED_DISK_GB, f"{free:.0f} GB free", remedy)]


def _package() -> list[Check]:
    """Code and project are of one clone."""
    two, project = guard.library(), paths.root()
    if two is not None:
        found = f"its code is {two[0].parent}, but this project is {project}"
        remedy = "leave the other clone's environment (deactivate); make env in this one"
        return [Check("package", False, found, remedy)]
    package = Path(__file__).resolve().parents[1]
    if package != project / "lib":
        return [Check("package", None, f"{package}; {project} holds no library of its own", "run inside a clone")]
    return [Check("package", True, f"of this clone, {package}")]


def _surroundings() -> list[Check]:
    """What of the user's own can get into results, or make a command fail."""
    home, encoding = os.path.expanduser("~"), (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    there = os.path.isdir(home) and os.access(home, os.W_OK)
    found = [Check("home folder", True if there else None, home if there else f"{home} cannot be written",
                   "some packages write there; set HOME to a folder that can be written")]  # fmt: skip
    wide = encoding.replace("-", "") in ("utf8", "utf16", "utf32")
    remedy = "letters that it lacks are shown as numbers; export PYTHONUTF8=1"
    found.append(Check("terminal", True if wide else None, encoding, remedy))
    own = [f"{name}={os.environ[name]}" for name in OWN if os.environ.get(name)]
    remedy = "they change which code runs or how figures look; executed notebooks ignore all but the first: unset them"
    found.append(Check("environment", None if own else True, ", ".join(own) or "no setting of your own", remedy))
    try:
        with tempfile.TemporaryFile():
            pass
    except OSError as error:
        remedy = "set TMPDIR to a folder that can be written"
        found.append(Check("temporary files", False, f"{error.filename or error.strerror}: none can be made", remedy))
    return found


def _writable() -> list[Check]:
    build = paths.root() / "build"
    try:
        build.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=build):
            pass
    except OSError as error:
        return [Check("build/", False, f"cannot be written: {error}", "change its permissions, or clone elsewhere")]
    return [Check("build/", True, "can be written")]


def _store() -> list[Check]:
    """How the run store is locked, and whether this machine's disk can keep to it."""
    from fewscans import locks

    store = paths.store()
    elsewhere = "or set FEWSCANS_STORE to a folder on another disk"
    try:
        store.mkdir(parents=True, exist_ok=True)
        here, chosen = locks.probe(store), locks.Locks(store).kind
    except OSError as error:
        remedy = f"make it writable, {elsewhere}"
        return [Check("run store", False, f"{store} cannot be written: {error.strerror or error}", remedy)]
    if (chosen.kind, here.kind) == ("flock", "lease"):
        remedy = f"remove {locks.FILE} in it while no training runs, {elsewhere}"
        return [Check("run store", False, f"{store} is locked by flock, which this machine lacks there", remedy)]
    if chosen.kind == "lease":
        told = f"{store}, locked by leases of {chosen.lease_seconds:g} s: its disk has, or had, no flock"
        return [Check("run store", True, told)]
    if own := _flock_of_this_machine_alone(store):
        leases = f'{{"kind": "lease", "lease_seconds": {locks.LEASE_SECONDS:g}}}'
        remedy = f"for training on several machines, write {leases}"
        remedy += f" into its {locks.FILE} while nothing trains, {elsewhere}"
        return [Check("run store", None, f"{store}, mounted with {own}: flock there binds this machine alone", remedy)]
    return [Check("run store", True, f"{store}, locked by flock")]


def _flock_of_this_machine_alone(folder: Path) -> str | None:
    """The option, if any, with which that folder's disk is mounted so that other machines see no lock of this one."""
    try:
        lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:  # no Linux
        return None
    places = [(line[1], line[3].split(",")) for line in lines if folder.resolve().is_relative_to(line[1])]
    options = max(places, key=lambda place: len(place[0]), default=("", []))[1]
    return next((option for option in options if option in LOCAL_FLOCK), None)


def _kernel() -> list[Check]:
    try:
        version = importlib.metadata.version("ipykernel")
    except importlib.metadata.PackageNotFoundError:
        return [Check("notebook kernel", False, "ipykernel is not installed", "make env")]
    from jupyter_client.kernelspec import KernelSpecManager

    specs = KernelSpecManager().get_all_specs()
    program = specs.get("python3", {}).get("spec", {}).get("argv", ["python"])[0]
    if program not in ("python", "python3") and Path(program).absolute() != Path(sys.executable).absolute():
        remedy = "fewscans notebook is not affected; for JupyterLab: jupyter kernelspec remove python3"
        return [Check("notebook kernel", None, f"'python3' is another Python, {program}", remedy)]
    return [Check("notebook kernel", True, f"python3, ipykernel {version}")]


def _data() -> list[Check]:
    """Every public data set that the workbook can read; absent ones are optional, for the twins need none."""
    from fewscans.data import registry
    from fewscans.errors import DataError

    root = paths.data_root()
    found = []
    for entry in registry.public():
        name, place = entry.name, registry.home(entry.name, root) / entry.file
        remedy = f"get {entry.source}; put it at {place}; then fewscans data verify {name}"
        try:
            found.append(Check(f"data {name}", True, str(registry.find(name, root)), remedy))
        except DataError:
            found.append(Check(f"data {name}", None, "none", remedy))
    there = sum(check.ok is True for check in found)
    told = f"{there} of {len(found)} under {root} (FEWSCANS_DATA_ROOT names another folder); the twins need none"
    return [Check("data sets", True, told), *found]


def _pins() -> dict[str, str]:
    try:
        lines = (paths.root() / "constraints.txt").read_text(encoding="utf-8").splitlines()
    except Exception:  # no project here, which other checks report
        return {}
    return dict(line.split("==", 1) for line in lines if "==" in line)


_LOOKS: dict[str, Callable[[], list[Check]]] = {
    "Python": _python,
    "torch": _torch,
    "OpenSlide": _openslide,
    "git": _git,
    "package": _package,
    "surroundings": _surroundings,
    "DVC": _dvc,
    "notebook kernel": _kernel,
    "disk": _disk,
    "build/": _writable,
    "run store": _store,
    "data sets": _data,
}
