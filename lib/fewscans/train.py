"""The one training loop: seeded, resumable, best-validation checkpoints, mixed precision on a GPU.

Nothing here knows about an experiment: the caller hands in the model, a function that draws a batch and one that scores
the validation set. All randomness of step s comes from generators made of (seed, purpose, s), so a resumed run needs no
generator state and all arms that share a seed see the same samples in the same order with the same augmentation.
"""

from __future__ import annotations

import functools
import io
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fewscans import files
from fewscans.errors import Stopped

_PURPOSES = {"initialisation": 0, "order": 1, "augmentation": 2, "noise": 3, "dropout": 4}


@dataclass(frozen=True)
class Budget:
    """How much training a run gets: `steps` updates on `batch_size` samples each, validated every `eval_every`."""

    steps: int
    batch_size: int
    learning_rate: float
    eval_every: int


@dataclass
class Fitted:
    """What training leaves behind.

    history: one row per validation: step, epoch, train_loss (mean since the last), and one loss per validation set.
    best: per validation set, the state dict with its lowest loss (the earliest, if tied).   last: the state dict at the
    end.   seconds_cpu, seconds_wall: training and validation, over all parts of an interrupted run.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    best_loss: dict[str, float] = field(default_factory=dict)
    last: dict[str, Tensor] = field(default_factory=dict)
    seconds_cpu: float = 0.0
    seconds_wall: float = 0.0


def generator(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """A CPU generator of its own for each (seed, purpose, step)."""
    state = np.random.SeedSequence([seed, _PURPOSES[purpose], step]).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))


def batch_indices(n_train: int, batch_size: int, step: int, seed: int) -> Tensor:
    """Positions in the training set for one step, (batch,).

    Passes over shuffled data, each sample once a pass; a batch may span two passes.
    """
    batch_size = min(batch_size, n_train)
    positions = torch.arange(step * batch_size, (step + 1) * batch_size)
    passes = positions // n_train
    chosen = torch.empty_like(positions)
    for p in passes.unique().tolist():
        order = torch.randperm(n_train, generator=generator(seed, "order", p))
        chosen[passes == p] = order[positions[passes == p] % n_train]
    return chosen


def fit(
    model: nn.Module,
    n_train: int,
    batch: Callable[[Tensor, int], tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    validate: Callable[[nn.Module], dict[str, float]],
    budget: Budget,
    seed: int,
    checkpoint: Path | None = None,
    on_step: Callable[[int], None] | None = None,
    optimiser: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    gradients: Callable[[nn.Module, Any, Tensor], Tensor] | None = None,
    schedule: Callable[[float], float] | None = None,
    half: bool = False,
) -> Fitted:
    """Trains `model` in place and returns its best states and its last.

    batch(indices, step) → inputs and targets on the model's device; loss(outputs, targets) → scalar; validate(model) →
    a loss per named validation set. With `checkpoint`, progress is saved after each validation, and a run that was cut
    goes on from there to the same bytes; the file is left for the caller to remove. If `on_step` raises Stopped, the
    present step is saved too, unless it was the last. A loss that is not finite raises FloatingPointError.

    optimiser: (parameters, lr=...) → an optimiser.   gradients: (model, inputs, targets) → the loss, after adding its
    gradients to the parameters; if not given, `loss(model(inputs), targets)` is followed backwards.   schedule: share
    of the budget that is done → factor of the learning rate; if not given, it stays.   half: see `mixed_precision`.
    """
    gradients = gradients or functools.partial(backward, loss, half=half)
    optimiser = optimiser(model.parameters(), lr=budget.learning_rate)
    fitted, done, since, stopped = Fitted(), 0, [], None
    if checkpoint is not None and checkpoint.exists():
        done, since = _restore(checkpoint, model, optimiser, fitted)
        if done and on_step is not None:
            on_step(done)
    cpu, wall = time.process_time(), time.perf_counter()
    model.train()
    for step in range(done, budget.steps):
        x, target = batch(batch_indices(n_train, budget.batch_size, step, seed), step)
        optimiser.zero_grad(set_to_none=True)
        if schedule is not None:
            for group in optimiser.param_groups:
                group["lr"] = budget.learning_rate * schedule(step / budget.steps)
        since.append(gradients(model, x, target))
        optimiser.step()
        if on_step is not None:
            try:
                on_step(1)
            except Stopped as error:
                stopped = error
        if (step + 1) % budget.eval_every and step + 1 < budget.steps:
            if stopped is None:
                continue
            fitted.seconds_cpu += time.process_time() - cpu
            fitted.seconds_wall += time.perf_counter() - wall
            if checkpoint is not None:
                _save(checkpoint, step + 1, model, optimiser, fitted, since)
            raise stopped
        train_loss = float(torch.stack(since).mean())
        if not np.isfinite(train_loss):
            raise FloatingPointError(
                f"training loss is {train_loss} at step {step + 1}; lower the learning rate {budget.learning_rate}"
            )
        since = []
        model.eval()
        with torch.no_grad():
            losses = validate(model)
        model.train()
        epoch = (step + 1) * min(budget.batch_size, n_train) / n_train
        fitted.history.append({"step": step + 1, "epoch": epoch, "train_loss": train_loss} | losses)
        for name, value in losses.items():
            if value < fitted.best_loss.get(name, float("inf")):
                fitted.best_loss[name] = value
                fitted.best[name] = _state(model)
        fitted.seconds_cpu += time.process_time() - cpu
        fitted.seconds_wall += time.perf_counter() - wall
        cpu, wall = time.process_time(), time.perf_counter()
        if checkpoint is not None and step + 1 < budget.steps:
            _save(checkpoint, step + 1, model, optimiser, fitted)
        if stopped is not None and step + 1 < budget.steps:
            raise stopped
    fitted.last = _state(model)
    return fitted


def cosine(warm_up: float = 0.0) -> Callable[[float], float]:
    """A schedule: the rate rises evenly over a share `warm_up` of the budget, then falls to 0 as half a cosine."""

    def factor(done: float) -> float:
        risen = min(1.0, done / warm_up) if warm_up else 1.0
        return risen * (1 + math.cos(math.pi * max(0.0, done - warm_up) / (1 - warm_up))) / 2

    return factor


class _TwoSlicesInFull(TorchFunctionMode):
    """Convolutions over two slices in float32.

    With torch 2.13 on some processors the gradient of their weights in bfloat16 holds memory that nobody has written.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is not F.conv3d or args[0].shape[2] != 2:
            return function(*args, **(kwargs or {}))
        full = [a.float() if isinstance(a, Tensor) else a for a in args]
        with torch.autocast("cpu", enabled=False):
            return function(*full, **{k: a.float() if isinstance(a, Tensor) else a for k, a in (kwargs or {}).items()})


@contextmanager
def mixed_precision(device: torch.device, half: bool = False) -> Iterator[None]:
    """bfloat16 where it is safe: always on a GPU; on a CPU if asked for, as it is part of what decides a run."""
    with ExitStack() as stack:
        if half and device.type == "cpu":
            stack.enter_context(_TwoSlicesInFull())
        stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16, enabled=half or device.type == "cuda"))
        yield


def backward(
    loss: Callable[[Tensor, Tensor], Tensor], model: nn.Module, x: Any, target: Tensor, half: bool = False
) -> Tensor:
    """The loss, a scalar without graph, after adding its gradients to the model's parameters."""
    with mixed_precision(target.device, half):
        value = loss(model(x).float(), target)
    value.backward()
    return value.detach()


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _save(
    path: Path, step: int, model: nn.Module, optimiser: torch.optim.Optimizer, fitted: Fitted, since: list[Tensor] = ()
) -> None:
    """Atomic: a kill leaves the old checkpoint or the new one, never half of one.   since: losses since validation."""
    state = {"step": step, "model": model.state_dict(), "optimiser": optimiser.state_dict(), "fitted": vars(fitted)}
    state["since"] = torch.stack(since).cpu() if since else torch.empty(0)
    content = io.BytesIO()  # torch's own writer says nothing of a full disk
    torch.save(state, content)
    files.write(path, content.getvalue())


def _restore(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, fitted: Fitted
) -> tuple[int, list[Tensor]]:
    """Steps already done, and losses since validation; a checkpoint that cannot be read is removed, counts as none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        warnings.warn(f"{path}: not a readable checkpoint ({error}); the run starts afresh", stacklevel=3)
        path.unlink(missing_ok=True)
        return 0, []
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    vars(fitted).update(state["fitted"])
    device = next(model.parameters()).device
    return state["step"], list(state["since"].to(device))
