"""What can go wrong, one class per kind, so that the command line can tell a user's mistake from a bug.

Each message names the offending file or value and says what would be right; the command line prints it alone, without a
traceback.
"""


class Stopped(BaseException):
    """No error: a signal or a cluster's engine asks to stop. What is raised in a training saves its progress first."""


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
