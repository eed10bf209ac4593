"""What can go wrong, one class per kind, so that the command line can tell a user's mistake from a bug.

Each message names the offending file or value and says what would be right; the command line prints it alone, without a
traceback.
"""

import errno


class Stopped(BaseException):
    """No error: a signal or a cluster's engine asks to stop. What is raised in a training saves its progress first."""


REMEDIES = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there, or ask for more",
    errno.EROFS: "make it writable, or work in another folder",
    errno.EACCES: "make it readable and writable for you, or work in another folder",
    errno.EPERM: "make it readable and writable for you, or work in another folder",
    errno.ENOENT: "see whether its disk is there, and whether a link leads nowhere",
    errno.EEXIST: "see whether it is a link that leads nowhere, or a file in place of a folder",
    errno.ENOTDIR: "a part of it is a file and no folder; move that file",
    errno.EISDIR: "it is a folder; move it",
    errno.EIO: "see whether its disk is sound",
    errno.ESTALE: "see whether its disk is still there",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENAMETOOLONG: "work in a folder with a shorter name",
}


def of_the_system(error: OSError) -> str:
    """What the operating system refused, as one sentence with the path and a remedy."""
    where = f"{error.filename!s}: " if error.filename else ""
    remedy = REMEDIES.get(error.errno, "see whether the disk is there and writable")
    return f"{where}{error.strerror or str(error).partition(chr(10))[0] or type(error).__name__}; {remedy}"


class FewscansError(Exception):
    """Base of every error that a user can correct."""


class DataError(FewscansError):
    """A data file is absent, cut short, or holds what it should not."""


class ParamsError(FewscansError):
    """params.yaml has an unknown key, a wrong type or an impossible value."""


class RunError(FewscansError):
    """A run or a sweep cannot go on, or ended with failed runs."""


class NotebookError(FewscansError):
    """A notebook was given an unknown parameter or failed while running."""


class ClaimsError(FewscansError):
    """A file of claims/ is malformed, or names an arm, size or metric that does not exist."""
