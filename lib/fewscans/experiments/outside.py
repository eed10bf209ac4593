"""Arms of a user's own, as experiments see them: which network and augmentation they have. `own_arms` makes them.

An own arm is an arm as any other, so it meets the same budget, trials of learning rates and statistics, and is drawn in
every figure. The hash of its file is among what decides its runs, and decides no other arm's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from fewscans.errors import ParamsError
from fewscans.nn.outside import Outside, load


@dataclass(frozen=True, kw_only=True)
class Made:
    """made_by: "module:function" of the network; "" for the experiment's plain one.   augmented_by: of an augmentation,
    or "".   source: hashes of their code.   files: where they lie, "" for what is installed; decides no run.   wants:
    the patch that it is made for; () for any.
    """

    made_by: str = ""
    augmented_by: str = ""
    source: tuple[str, ...] = ()
    files: tuple[str, str] = ("", "")
    wants: tuple[int, ...] = ()

    def training(self) -> dict[str, Any]:
        """What decides its runs: all but where its files lie."""
        return {name: value for name, value in super().training().items() if name != "files"}


def is_own(spec: object) -> bool:
    return isinstance(spec, Made)


def check_patch(arm: str, spec: Made, patch: tuple[int, ...]) -> None:
    """Raises ParamsError for a grid whose patch is not the one that the network wants."""
    if spec.wants and tuple(spec.wants) != tuple(patch):
        raise ParamsError(f"networks.{arm} wants a patch of {list(spec.wants)}, but the grid's is {list(patch)}")


def network(spec: Made, in_channels: int, patch: tuple[int, ...], seed: int, plain: Callable[[], nn.Module]) -> Outside:
    """The untrained network of an own arm."""
    made, augment = (
        load(name, file) if name else None
        for name, file in zip((spec.made_by, spec.augmented_by), spec.files, strict=True)
    )
    return Outside(made, spec.made_by or spec.augmented_by, in_channels, patch, seed, augment, plain)
