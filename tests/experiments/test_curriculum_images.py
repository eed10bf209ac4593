"""Chest X-rays reach the network resized as PIL does it, without their mean, and sharpened or blurred by the amount."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from fewscans.experiments.curriculum.images import amounts, prepared, sharpened, windows

pytestmark = pytest.mark.usefixtures("one_thread")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int = 3, height: int = 60, width: int = 60) -> torch.Tensor:
    return torch.randint(256, (n, height, width), dtype=torch.uint8, generator=generator())


def places(*rows: tuple) -> tuple[torch.Tensor, ...]:
    """index, x, y, extent of some windows."""
    index, x, y, extent = zip(*rows, strict=True)
    return torch.tensor(index), torch.tensor(x), torch.tensor(y), torch.tensor(extent)


def by_pil(image: torch.Tensor, side: int, box: tuple | None = None) -> torch.Tensor:
    resized = Image.fromarray(image.float().numpy() / 255).resize((side, side), Image.Resampling.BILINEAR, box=box)
    x = torch.from_numpy(np.array(resized))[None]
    return x - x.mean()


# -------- whole images ------------------------------------------------------------------------------------------------


def test_an_image_of_the_right_side_only_loses_its_mean():
    images = noise()
    x = prepared(images, 60)
    assert x.dtype == torch.float32 and x.shape == (3, 1, 60, 60)
    grey = images[:, None].float() / 255
    torch.testing.assert_close(x, grey - grey.mean((2, 3), keepdim=True))
    assert x.mean((2, 3)).abs().max() < 1e-6


@pytest.mark.parametrize("side", [17, 45, 90])
def test_resizing_is_pils(side):
    images = noise()
    for image, x in zip(images, prepared(images, side), strict=True):
        torch.testing.assert_close(x, by_pil(image, side), atol=1e-5, rtol=0)


# -------- windows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [17, 45, 60, 90])
def test_a_window_of_the_whole_image_is_the_prepared_image(side):
    images = noise()
    cut = windows(images, *places((0, 0.0, 0.0, 1.0), (2, 0.0, 0.0, 1.0)), side)
    torch.testing.assert_close(cut, prepared(images[[0, 2]], side), atol=1e-5, rtol=0)


def test_a_window_on_pixels_is_those_pixels():
    """x counts from the left, y from above."""
    images = noise()
    patch = windows(images, *places((1, 20 / 60, 5 / 60, 30 / 60)), 30)[0, 0]
    pixels = images[1, 5:35, 20:50].float() / 255
    torch.testing.assert_close(patch, pixels - pixels.mean(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [8, 30, 50])
@pytest.mark.parametrize(("x", "y", "extent"), [(20, 5, 30), (0, 0, 30), (29.5, 40.25, 19.75)])
def test_a_window_is_resized_as_pil_resizes_a_box(side, x, y, extent):
    images = noise()
    patch = windows(images, *places((1, x / 60, y / 60, extent / 60)), side)[0]
    torch.testing.assert_close(patch, by_pil(images[1], side, (x, y, x + extent, y + extent)), atol=1e-5, rtol=0)


def test_a_window_is_the_same_whatever_else_is_cut_beside_it():
    images = noise()
    small, large = (0, 0.1, 0.2, 0.2), (1, 0.0, 0.0, 0.9)
    both = windows(images, *places(small, large), 20)
    torch.testing.assert_close(both[:1], windows(images, *places(small), 20))
    torch.testing.assert_close(both[1:], windows(images, *places(large), 20))


def test_a_large_window_is_averaged_and_not_picked_from():
    stripes = torch.zeros(1, 64, 64, dtype=torch.uint8)
    stripes[:, :, ::2] = 255
    patch = windows(stripes, *places((0, 0.0, 0.0, 1.0)), 8)
    assert patch[..., 1:-1].abs().max() < 0.02  # of stripes between 0 and 1


def test_beyond_the_border_the_edge_goes_on():
    ramp = torch.arange(0, 240, 4, dtype=torch.uint8).expand(1, 60, 60).contiguous()  # by columns
    patch = windows(ramp, *places((0, -0.25, 0.25, 0.5)), 30)[0, 0]
    assert torch.isfinite(patch).all()
    torch.testing.assert_close(patch[:, :16], patch[:, :1].expand(-1, 16))
    torch.testing.assert_close(patch[:, 16] - patch[:, 15], torch.full((30,), 4 / 255))
    assert torch.isfinite(windows(ramp, *places((0, 2.0, 2.0, 0.5)), 30)).all()


def test_each_patch_has_a_mean_of_zero():
    rows = [(0, 0.1, 0.2, 0.3), (1, 0.5, 0.5, 0.5), (0, -0.1, 0.8, 0.4)]
    assert windows(noise(), *places(*rows), 16).mean((2, 3)).abs().max() < 1e-6


# -------- sharpening and blurring -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "sigma"), [(40, 0.6), (160, 1.0), (320, 2.0)])
def test_at_minus_one_an_image_is_blurred_by_a_gaussian(side, sigma):
    x = torch.rand(2, 1, side, side, generator=generator())
    blurred = sharpened(x, torch.tensor([-1.0, -1.0]))
    expected = ndimage.gaussian_filter(x.numpy(), sigma, mode="mirror", truncate=3, axes=(2, 3))
    torch.testing.assert_close(blurred, torch.from_numpy(expected), atol=1e-5, rtol=0)


def test_each_image_has_its_own_amount():
    x = torch.rand(4, 1, 40, 40, generator=generator())
    done = sharpened(x, torch.tensor([0.0, 0.5, -0.5, 1.0]))
    roughness = (done - x.mean()).diff(dim=3).std((1, 2, 3)) / x.diff(dim=3).std((1, 2, 3))
    assert torch.equal(done[0], x[0])
    assert roughness[2] < 0.9 < 1 < 1.1 < roughness[1] < roughness[3]
    blurred = sharpened(x, -torch.ones(4))
    torch.testing.assert_close(done[1], x[1] + 0.5 * (x[1] - blurred[1]))


def test_an_even_image_stays_as_it_is():
    x = torch.full((2, 1, 24, 24), 0.3)
    torch.testing.assert_close(sharpened(x, torch.tensor([1.0, -1.0])), x)


def test_half_of_the_images_are_neither_sharpened_nor_blurred():
    amount = amounts(20_000, generator())
    assert torch.equal(amount, amounts(20_000, generator()))
    changed = amount[amount != 0]
    assert 0.48 < len(changed) / 20_000 < 0.52
    assert -1 <= changed.min() < -0.99 and 0.99 < changed.max() < 1
    assert changed.mean().abs() < 0.03 and changed.abs().mean() == pytest.approx(0.5, abs=0.02)
