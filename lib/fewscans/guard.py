"""Around a whole command: a sentence where the user or the system is at fault, a quiet end at Ctrl-C, and no code of
another clone without a word.
"""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fewscans import paths
from fewscans.errors import FewscansError, of_the_system

INTERRUPTED = 130  # as shells have it for Ctrl-C


@contextmanager
def guarded() -> Iterator[None]:
    """Inside, a user's mistake, or what the system refuses, is one sentence on stderr and exit code 1, never a
    traceback; Ctrl-C ends with exit code 130, and a second one at once.

    For the whole of a command, before anything slow is imported.
    """
    warnings.showwarning = lambda message, *_, **__: print(f"fewscans: warning: {message}", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a letter shows its number
            stream.reconfigure(errors="backslashreplace")
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    ours = threading.current_thread() is threading.main_thread() and before[0] not in (signal.SIG_IGN, None)
    if ours:
        signal.signal(signal.SIGINT, _interrupt)
        sys.unraisablehook = _unraisable
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)  # nothing is left to be saved
    try:
        yield
        code = None
    except FewscansError as error:
        code = _say(str(error))
    except BrokenPipeError:  # the reader of our output is gone, such as `head`
        code = 1
    except OSError as error:
        code = _say(_refused(error))
    except MemoryError as error:
        code = _say(f"the memory is full ({str(error).partition(chr(10))[0] or 'MemoryError'}); end other programs")
    except RuntimeError as error:  # pathlib's for links that lead to themselves, and for a home that nobody knows
        if not str(error).startswith(("Symlink loop", "Could not determine home")):
            raise
        code = _say(f"{str(error).rstrip('.')}; remove that link, or set HOME")
    except KeyboardInterrupt:
        code = _say("stopped", INTERRUPTED)
    finally:
        if ours:
            signal.signal(signal.SIGINT, before[0])
            sys.unraisablehook = before[1]
    try:
        sys.stdout and sys.stdout.flush()
    except OSError as error:  # full, or gone: the interpreter would try again, and say so
        code = code or _say(_refused(error))
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if code is not None:
        sys.exit(code)


def _say(text: str, code: int = 1) -> int:
    try:
        print(f"fewscans: {text}", file=sys.stderr)
    except OSError:  # nobody to tell
        pass
    return code


def _refused(error: OSError) -> str:
    """What the system refused; of two paths, the one that was to be written is named."""
    if error.filename2:
        error.filename, error.filename2 = error.filename2, None
    if error.errno is None:  # a package's own, such as for a library that does not load
        return f"{str(error).partition(chr(10))[0] or type(error).__name__}; `fewscans doctor` may say what is off"
    if isinstance(error, FileNotFoundError) and error.filename is None and not _working_directory():
        return "the working directory was removed; go to the project's folder"
    return of_the_system(error)


def _working_directory() -> bool:
    try:
        return bool(os.getcwd())
    except OSError:
        return False


def _interrupt(*_) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


def _unraisable(lost) -> None:
    """Where Python drops an exception, as in a destructor, Ctrl-C makes no traceback and comes again a moment later."""
    if isinstance(lost.exc_value, KeyboardInterrupt) and hasattr(signal, "pthread_kill"):
        signal.signal(signal.SIGINT, _interrupt)
        main = threading.main_thread().ident
        again = threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(lost)


def library() -> tuple[Path, Path] | None:
    """Where this code and the project's own lie, if these are two: another clone's environment is active."""
    package, own = Path(__file__).resolve().parent, paths.root() / "lib" / "fewscans"
    return (package, own) if own.is_dir() and package != own.resolve() else None


def check_library() -> None:
    """Warns if this code is another clone's. Raises FewscansError, naming both, if it is other code as well."""
    try:
        two = library()
    except FewscansError:  # no project here, which the command will say
        return
    if two is None:
        return
    package, own = two
    said = f"this is the code of {package.parents[1]}, called in {own.parents[1]}"
    one, other = ({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.py")} for folder in two)
    if one != other:
        raise FewscansError(f"{said}, whose code differs; leave the other's environment (deactivate), make env here")
    warnings.warn(f"{said}, whose code is the same now; `fewscans doctor` says what to do", stacklevel=2)
