"""Flips, small turns and small shifts of scans; each random decision is a recorded value.

Source: Dubost et al., Hydranet: Data Augmentation for Regression Neural Networks, MICCAI 2019: on the fly, scans are
flipped, turned by -0.2 to 0.2 rad and shifted by -2 to 2 voxels. Our choices, where the text we read leaves it open:
all three axes for each, flips with probability 1/2, shifts by fractions of voxels too, every value evenly distributed.

`apply` is that: one resampling a batch, which smooths a scan. `move` only flips and shifts by whole voxels, and leaves
every value as it was: networks trained on smoothed scans predict too low for those that are not.

Turning is done in millimetres: where voxels are 1 x 1 x 3 mm, a turn counted in voxels would shear the scan. What lies
beyond the border is 0, so that an all-black image stays black.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_ANGLE_RAD = 0.2
MAX_SHIFT_VOXELS = 2.0
_PLANES = ((2, 1), (0, 2), (1, 0))  # a turn about z takes +x towards +y, about y +z towards +x, about x +y towards +z


@dataclass(frozen=True)
class Decisions:
    """What is done to each of B scans, axes in tensor order z, y, x; first flipped, then turned, then shifted.

    flip: (B, 3) bool.   angle_rad: (B, 3), about x first, then about y, then about z.   shift_voxels: (B, 3), by how
    much what is seen moves towards higher indices.
    """

    flip: Tensor
    angle_rad: Tensor
    shift_voxels: Tensor

    def __getitem__(self, which) -> Decisions:
        """The decisions for some of the scans: a slice, indices or a mask."""
        return Decisions(*(getattr(self, field.name)[which] for field in fields(self)))

    def in_plane(self) -> Decisions:
        """Those that leave a scan of depth 1 in its plane: turns about z, shifts along y and x."""
        about_z, along = torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 1])
        return Decisions(self.flip, self.angle_rad * about_z, self.shift_voxels * along)


def draw(
    batch: int,
    generator: torch.Generator,
    max_angle_rad: float = MAX_ANGLE_RAD,
    max_shift_voxels: float = MAX_SHIFT_VOXELS,
    flip_axes: Sequence[int] = (0, 1, 2),
    whole: bool = False,
) -> Decisions:
    """Random decisions for a batch, from a CPU generator so that they are the same on every device.

    flip_axes: those flipped at all, 0 for z, 1 for y, 2 for x.   whole: shifts by whole voxels only, each as likely.
    Raises ValueError for a negative range or other axes.
    """
    if min(max_angle_rad, max_shift_voxels) < 0:
        raise ValueError(f"ranges must be 0 or more, got {max_angle_rad} rad and {max_shift_voxels} voxels")
    if not set(flip_axes) <= {0, 1, 2}:
        raise ValueError(f"flip_axes must be among 0 (z), 1 (y) and 2 (x), got {tuple(flip_axes)}")
    allowed = torch.tensor([axis in flip_axes for axis in range(3)])
    flip = (torch.rand(batch, 3, generator=generator) < 0.5) & allowed
    angle, shift = (2 * torch.rand(2, batch, 3, generator=generator) - 1).unbind()
    if whole:
        most = int(max_shift_voxels)
        shift = ((shift + 1) / 2 * (2 * most + 1)).floor().clamp(max=2 * most) - most
        return Decisions(flip, angle * max_angle_rad, shift)
    return Decisions(flip, angle * max_angle_rad, shift * max_shift_voxels)


def move(images: Tensor, decisions: Decisions) -> Tensor:
    """The scans flipped, then shifted by whole voxels, no value changed: (B, 1, D, H, W) → the same, zeros beyond.

    Raises ValueError for decisions that turn, shift by parts of voxels, or are not as many as the scans.
    """
    if len(decisions.flip) != len(images) or decisions.angle_rad.any() or (decisions.shift_voxels % 1).any():
        raise ValueError(f"move wants {len(images)} decisions without turns, and shifts by whole voxels")
    index, inside = [], torch.ones((), dtype=torch.bool)
    for axis, n in enumerate(images.shape[2:]):
        at = torch.arange(n) - decisions.shift_voxels[:, axis, None].long()  # (B, n), where what is seen there was
        at = torch.where(decisions.flip[:, axis, None], n - 1 - at, at)
        view = (len(images), *(n if a == axis else 1 for a in range(3)))
        inside = inside & ((at >= 0) & (at < n)).view(view)
        index.append(at.clamp(0, n - 1).view(view).to(images.device))
    scan = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
    return (images[scan, 0, *index] * inside.to(images.device))[:, None]


def apply(images: Tensor, decisions: Decisions, spacing_mm: Sequence[float] | Tensor = (1.0, 1.0, 1.0)) -> Tensor:
    """The scans as decided, resampled once (trilinear) about their centre: (B, 1, D, H, W) → the same.

    images: float32 or float64, on any device.   spacing_mm: voxel size z, y, x, (3,) or (B, 3) where scans differ.
    Raises ValueError if images, decisions and spacing do not fit one another, or a spacing is not above 0.
    """
    batch, size = len(images), images.shape[2:]
    # Half precision could not tell neighbouring voxels of a large scan apart.
    if images.ndim != 5 or images.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"images must be float32 or float64 (B, 1, D, H, W), got {images.dtype} {tuple(images.shape)}")
    if len(decisions.flip) != batch:
        raise ValueError(f"{batch} scans want as many decisions, got {len(decisions.flip)}")
    # In double precision until the end: these are a few numbers a scan.
    spacing = torch.as_tensor(spacing_mm, dtype=torch.float64, device="cpu")
    if spacing.shape not in ((3,), (batch, 3)) or not (torch.isfinite(spacing) & (spacing > 0)).all():
        raise ValueError(f"spacing_mm must be 3 sizes above 0, or 3 for each of {batch} scans, got {spacing.tolist()}")
    spacing = spacing.expand(batch, 3)
    shift, mirror = decisions.shift_voxels.double(), 1 - 2 * decisions.flip.double()
    # What is seen at offset o of the output stood at offset F S⁻¹ R⁻¹ S (o - shift) of the input.
    turn = rotation(decisions.angle_rad.double()).transpose(1, 2)  # the inverse
    matrix = (mirror / spacing)[:, :, None] * turn * spacing[:, None]  # (B, 3, 3)
    start = -(matrix @ shift[:, :, None])  # (B, 3, 1)
    # grid_sample wants coordinates in which the image reaches from -1 to 1, x first.
    reach = 2 / torch.tensor(size, dtype=torch.float64)[:, None]
    matrix, start = (v.mul(reach).flip(1).to(images) for v in (matrix, start))
    offsets = [torch.arange(n, dtype=images.dtype, device=images.device) - (n - 1) / 2 for n in size]
    z, y, x = (matrix[:, :, axis, None] * offset for axis, offset in enumerate(offsets))  # (B, 3, D | H | W)
    grid = (z + start)[:, :, :, None, None] + y[:, :, None, :, None] + x[:, :, None, None, :]  # (B, 3, D, H, W)
    return F.grid_sample(images, grid.permute(0, 2, 3, 4, 1), "bilinear", "zeros", align_corners=False)


def rotation(angle_rad: Tensor) -> Tensor:
    """Turns about x, then y, then z: angles (B, 3) about z, y, x → matrices (B, 3, 3) on column vectors (z, y, x)."""
    about = []
    for axis, (a, b) in enumerate(_PLANES):
        cos, sin = torch.cos(angle_rad[:, axis]), torch.sin(angle_rad[:, axis])
        turn = torch.eye(3, dtype=angle_rad.dtype, device=angle_rad.device).repeat(len(angle_rad), 1, 1)
        turn[:, a, a] = turn[:, b, b] = cos
        turn[:, b, a], turn[:, a, b] = sin, -sin
        about.append(turn)
    return about[0] @ about[1] @ about[2]
