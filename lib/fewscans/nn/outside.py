"""A network or an augmentation of your own, from a Python file or an installed package, as the library's networks are.

The contract: a function, or a class, of (in_channels, patch) that returns a module: images (B, in_channels, *patch) in,
one logit or number an image out, (B,) or (B, 1). patch is (H, W) or (D, H, W). An augmentation is a function of images
(B, C, *patch) and a `torch.Generator`, and returns images of the same shape; it comes after the library's own.
Initial weights, dropout and whatever else draws from torch's generator are decided by the run's seed and its updates.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from fewscans.errors import ParamsError

CONTRACT = "a function of (in_channels, patch) that returns a module with one output an image, (B,)"


def load(name: str, file: str | Path = "") -> Callable[..., Any]:
    """The function or class called "module:attribute", from a file, or without one from an installed package.

    Raises:  ParamsError if it cannot be imported or is not there.
    """
    module, _, attribute = name.partition(":")
    try:
        if file:
            spec = importlib.util.spec_from_file_location(f"outside_{module.replace('.', '_')}", file)
            loaded = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded)
        else:
            loaded = importlib.import_module(module)
    except Exception as error:  # whatever that file raises
        raise ParamsError(f"{file or module}: cannot be imported ({_said(error)})") from error
    if not callable(getattr(loaded, attribute, None)):
        raise ParamsError(f"{file or module}: holds no function or class {attribute!r}; it must be {CONTRACT}")
    return getattr(loaded, attribute)


class Outside(nn.Module):
    """A network from outside behind the interface of `NoduleNet` and `BaseRegressor`.

    maker: see the contract; None for `plain`, a function without arguments that returns a network of the library.
    name: what errors call it.
    in_channels, patch: of the images; (1, H, W) is shown to it as (H, W).   seed: of the run.   augment: see the
    contract, or None; it sees (B, 1, H, W) for a patch (1, H, W).
    in (B, in_channels, *patch), out (B,).   Raises ParamsError, naming it, if it cannot be built, or breaks the
    contract on a batch of zeros.
    """

    def __init__(
        self, maker: Callable | None, name: str, in_channels: int, patch: Sequence[int], seed: int,
        augment: Callable | None = None, plain: Callable[[], nn.Module] | None = None,
    ):  # fmt: skip
        super().__init__()
        thin = len(patch) == 3 and patch[0] == 1
        self.flat, self.thin = thin and maker is not None, thin and maker is None
        self.name, self.seed, self.in_channels, self.augment = name, seed, in_channels, augment
        self.patch = tuple(patch[1:] if self.flat else patch)
        self.group = SimpleNamespace(order=1, dim=len(self.patch), name="none")
        self.channels: tuple[int, ...] = ()
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))
        with _seeded(seed, 0, torch.device("cpu")):
            try:
                self.net = plain() if maker is None else maker(in_channels, self.patch)
            except Exception as error:
                raise ParamsError(
                    f"{name}({in_channels}, {self.patch}) failed ({_said(error)}); it is {CONTRACT}"
                ) from error
            if not isinstance(self.net, nn.Module):
                raise ParamsError(f"{name} returned {type(self.net).__name__}; it is {CONTRACT}")
            self._try()

    def forward(self, x: Tensor, seeds: Tensor | None = None) -> Tensor:
        """seeds: of dropout masks in the library's own networks; not used."""
        x = x.squeeze(2) if self.flat else x
        if not self.training:
            return self._one_an_image(self.net(x), len(x))
        with _seeded(self.seed, 1 + int(self.passes), x.device) as generator:
            self.passes += 1
            if self.augment is not None:
                seen = x.squeeze(2) if self.thin else x
                made = self.augment(seen, generator)
                if made.shape != seen.shape:
                    shapes = f"{tuple(made.shape)} of images {tuple(seen.shape)}"
                    raise ParamsError(f"{self.name} made {shapes}; shapes must stay")
                x = made.unsqueeze(2) if self.thin else made
            return self._one_an_image(self.net(x), len(x))

    def to(self, *arguments, **options) -> Outside:
        """As of any module, but for the order of memory, which a network from outside chooses for itself."""
        options.pop("memory_format", None)
        return super().to(*arguments, **options) if arguments or options else self

    def export(self) -> Outside:
        """A copy for evaluation."""
        return copy.deepcopy(self).eval()

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Nothing: initial weights were drawn from the run's seed."""

    def convolution_parameters(self) -> int:
        return sum(layer.weight.numel() for layer in self.net.modules() if isinstance(layer, _CONVOLUTIONS))

    def macs(self, size: Sequence[int] | None = None) -> int:
        """Multiply-adds of convolutions and linear layers for one image, forward; of a library's network, its own."""
        total = 0

        def count(layer: nn.Module, _, out: Tensor) -> None:
            nonlocal total
            places = out[0].numel() // out.shape[1] if isinstance(layer, _CONVOLUTIONS) else 1
            total += layer.weight.numel() * places

        layers = [layer for layer in self.net.modules() if isinstance(layer, (*_CONVOLUTIONS, nn.Linear))]
        hooks = [layer.register_forward_hook(count) for layer in layers]
        self._try(1)
        for hook in hooks:
            hook.remove()
        return total

    def _try(self, batch: int = 2) -> None:
        """Shows it a batch of zeros, in evaluation."""
        training, weight = self.net.training, next(self.net.parameters(), torch.zeros(()))
        shape = (batch, self.in_channels, *self.patch)
        self.net.eval()
        try:
            with torch.no_grad():
                self._one_an_image(self.net(torch.zeros(shape, device=weight.device)), batch)
        except ParamsError:
            raise
        except Exception as error:
            raise ParamsError(f"{self.name}: failed on images {shape} ({_said(error)}); it is {CONTRACT}") from error
        finally:
            self.net.train(training)

    def _one_an_image(self, y: Any, batch: int) -> Tensor:
        if isinstance(y, Tensor) and y.shape in ((batch,), (batch, 1)):
            return y.reshape(batch)
        shape = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise ParamsError(f"{self.name}: gave {shape} for {batch} images; it is {CONTRACT}")


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


@contextmanager
def _seeded(seed: int, number: int, device: torch.device) -> Iterator[torch.Generator]:
    """torch's own generators set for the while to a state made of (seed, number), and one more of that state."""
    state = (seed * 1_000_003 + number * 7_919 + 12_345) % (2**62)
    with torch.random.fork_rng([] if device.type == "cpu" else [device]):
        torch.manual_seed(state)
        yield torch.Generator().manual_seed(math.isqrt(state) + state)
