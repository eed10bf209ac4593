"""Both forms of Hydranet are the same network and the same gradients; only memory tells them apart."""

import weakref

import pytest
import torch
from torch.nn import functional as F

from fewscans.nn.hydra import Hydra, streamed_step
from fewscans.nn.regressor import BaseRegressor, mask_seeds

SIZE = (4, 6, 5)
BLACK = -1
LOSSES = {"MSE": F.mse_loss, "MAE": F.l1_loss}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def regressor(dropout: float = 0.0, seed: int = 0) -> BaseRegressor:
    """In double precision, and with biases, as after training: f(0) is not 0."""
    net = BaseRegressor(dropout).double()
    net.reset_parameters(generator(seed))
    with torch.no_grad():
        for layer in (*net.convolutions, net.output):
            layer.bias.uniform_(-0.2, 0.5, generator=generator(seed + 1))
    return net


def scans(count: int = 7, size=SIZE) -> torch.Tensor:
    return torch.rand(count, 1, *size, dtype=torch.float64, generator=generator(2))


def gathered(images: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
    """(B, n, 1, D, H, W), zeros where the set has a black image."""
    out = torch.zeros(*sets.shape, *images.shape[1:], dtype=images.dtype)
    for place in (sets >= 0).nonzero().tolist():
        out[tuple(place)] = images[sets[tuple(place)]]
    return out


def gradients(net: BaseRegressor) -> list[torch.Tensor]:
    return [p.grad for p in net.parameters()]


def largest_difference(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    """Relative to the largest gradient of all."""
    scale = max(float(g.abs().max()) for g in b)
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True)) / scale


def branched(net, images, sets, labels, loss, seeds=None) -> tuple[torch.Tensor, list[torch.Tensor]]:
    net.zero_grad()
    value = loss(Hydra(net, sets.shape[1])(gathered(images, sets), seeds), labels)
    value.backward()
    return value.detach(), gradients(net)


def streamed(net, images, sets, labels, loss, seeds=None, at_once=1) -> tuple[torch.Tensor, list[torch.Tensor]]:
    net.zero_grad()
    value = streamed_step(net, images.__getitem__, sets, labels, loss, images.shape[2:], seeds, at_once)
    return value, gradients(net)


# -------- branches ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("branches", [1, 2, 4, 9])
def test_branches_share_the_base_s_parameters(branches):
    net = Hydra(BaseRegressor(), branches)
    assert sum(p.numel() for p in net.parameters()) == 196_418


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_output_is_the_sum_over_the_set_s_images(n):
    net, x = regressor(), scans(2 * n).unflatten(0, (2, n))
    expected = torch.stack([sum(net(image[None])[0] for image in a_set) for a_set in x])
    assert torch.allclose(Hydra(net, 4)(x), expected, rtol=1e-12)


def test_the_order_of_a_set_does_not_matter():
    net, x = Hydra(regressor()), scans(8).unflatten(0, (2, 4))
    assert torch.allclose(net(x), net(x[:, [2, 0, 3, 1]]), rtol=1e-12)


def test_a_zero_image_is_passed_through_as_any_other():
    """What makes an image black is the sampler's doing; its output f(0) is part of the sum."""
    net, x = regressor(), scans(4).unsqueeze(0)
    x[0, 1] = 0
    others = Hydra(net)(x[:, [0, 2, 3]])
    at_black = net(torch.zeros(1, 1, *SIZE).double())
    assert torch.allclose(Hydra(net)(x) - others, at_black, rtol=1e-10) and at_black.abs() > 1e-3


def test_the_loss_on_sums_is_another_than_the_sum_of_losses():
    """(Σ(f - y))² is not Σ(f - y)²: nor are the gradients parallel."""
    net, images, labels = regressor(), scans(4), torch.tensor([0.3, 2.0, -1.0, 0.5]).double()
    _, on_sums = branched(net, images, torch.arange(4)[None], labels.sum()[None], F.mse_loss)
    net.zero_grad()
    F.mse_loss(net(images), labels, reduction="sum").backward()
    a, b = (torch.cat([g.flatten() for g in grads]) for grads in (on_sums, gradients(net)))
    assert F.cosine_similarity(a, b, 0).abs() < 0.999


@pytest.mark.parametrize("shape", [(2, 5, 1, *SIZE), (2, 0, 1, *SIZE), (2, 1, *SIZE)])
def test_sets_of_another_form_or_larger_than_the_branches_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(B, n, 1, D, H, W\) with n of 1 to 4"):
        Hydra(BaseRegressor())(torch.zeros(shape))


def test_a_network_without_branches_is_refused():
    with pytest.raises(ValueError, match="at least 1 branch, got 0"):
        Hydra(BaseRegressor(), 0)


def test_seeds_are_one_an_image():
    with pytest.raises(ValueError, match=r"seeds must be \(2, 4\)"):
        Hydra(regressor(0.3))(scans(8).unflatten(0, (2, 4)), mask_seeds((4, 2), generator()))


# -------- streaming ---------------------------------------------------------------------------------------------------

SETS = {
    "no black image": torch.tensor([[0, 1, 2, 3], [4, 5, 6, 0], [2, 6, 1, 5]]),
    "black images": torch.tensor([[0, BLACK, 2, BLACK], [4, 5, BLACK, 0], [BLACK, BLACK, BLACK, BLACK]]),
    "one image twice": torch.tensor([[3, 3, 1, BLACK], [1, 3, 1, 1]]),
    "one place": torch.tensor([[0], [BLACK], [5]]),
}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("sets", SETS.values(), ids=SETS)
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_streamed_gradients_are_those_of_the_branched_network(loss, sets, dropout):
    net, images = regressor(dropout), scans()
    labels = torch.linspace(-1, 3, len(sets)).double()
    seeds = mask_seeds(sets.shape, generator(3)) if dropout else None
    value, expected = branched(net, images, sets, labels, loss, seeds)
    ours, found = streamed(net, images, sets, labels, loss, seeds)
    assert ours == pytest.approx(value.item(), rel=1e-12)
    assert largest_difference(found, expected) < 1e-12


def test_streaming_without_replaying_the_masks_would_be_found():
    """The check above can fail: other masks in the second pass give other gradients."""
    net, images, sets = regressor(0.3), scans(), SETS["no black image"]
    labels, seeds = torch.ones(3).double(), mask_seeds(sets.shape, generator(3))
    _, expected = branched(net, images, sets, labels, F.mse_loss, seeds)
    forward, calls = net.forward, []

    def forgetful(x, seeds):
        calls.append(None)
        return forward(x, [seeds[0] + (len(calls) > sets.numel())])

    net.forward = forgetful
    _, found = streamed(net, images, sets, labels, F.mse_loss, seeds)
    assert len(calls) == 2 * sets.numel() and largest_difference(found, expected) > 1e-3


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("at_once", [2, 5, 100])
def test_how_many_images_share_a_pass_changes_no_gradient(at_once, dropout):
    net, images, sets, labels = regressor(dropout), scans(), SETS["black images"], torch.ones(3).double()
    seeds = mask_seeds(sets.shape, generator(3)) if dropout else None
    _, expected = branched(net, images, sets, labels, F.mse_loss, seeds)
    _, found = streamed(net, images, sets, labels, F.mse_loss, seeds, at_once)
    assert largest_difference(found, expected) < 1e-12


def test_any_loss_on_the_sums_will_do():
    net, images, sets = regressor(), scans(), SETS["black images"]
    labels = torch.tensor([0.5, 1.0, 2.0]).double()

    def loss(prediction, labels):  # joins the sets of the batch, as a correlation would
        return (prediction - labels).std() + F.huber_loss(prediction, labels, delta=0.1)

    value, expected = branched(net, images, sets, labels, loss)
    ours, found = streamed(net, images, sets, labels, loss)
    assert ours == pytest.approx(value.item(), rel=1e-12) and largest_difference(found, expected) < 1e-12


def test_mixed_precision_around_both_passes_reaches_every_weight():
    """Within one `autocast`, weights cast in the pass without graph must not be used again in the pass with it.

    Values are not compared: on maps this small torch's own bfloat16 convolution on a CPU is not to be relied on.
    """
    net, images, sets, labels = regressor().float(), scans().float(), SETS["black images"], torch.ones(3)
    with torch.autocast("cpu", torch.bfloat16):
        _, found = streamed(net, images, sets, labels, F.mse_loss)
    assert all(g is not None and g.any() for g in found)


def test_gradients_add_to_those_that_are_there():
    net, images, sets, labels = regressor(), scans(), SETS["black images"], torch.ones(3).double()
    _, once = streamed(net, images, sets, labels, F.mse_loss)
    once = [g.clone() for g in once]
    streamed_step(net, images.__getitem__, sets, labels, F.mse_loss, SIZE)
    assert largest_difference(gradients(net), [2 * g for g in once]) < 1e-12


def test_images_pass_twice_and_the_same_one_with_the_same_masks_not_again():
    asked = []
    images, sets = scans(), torch.tensor([[0, BLACK, 1, BLACK], [1, 2, 0, BLACK]])

    def image(index):
        asked.append(index)
        return images[index]

    net = regressor()
    passed = []
    net.register_forward_hook(lambda *_: passed.append(None))
    streamed_step(net, image, sets, torch.ones(2).double(), F.mse_loss, SIZE)
    assert asked == [0, 1, 2] * 2 and len(passed) == 2 * 4, "three images and one for all that is black"
    asked.clear()
    dropping = regressor(0.3)
    streamed_step(dropping, image, sets, torch.ones(2).double(), F.mse_loss, SIZE, mask_seeds((2, 4), generator()))
    assert sorted(asked) == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2], "other masks, another pass"


class Kept:
    """A tensor that waits for the backward pass; counts its bytes until nothing needs it any more."""

    def __init__(self, tensor: torch.Tensor, memory: dict[str, int], weights: set[int]):
        self.tensor = tensor
        size = 0 if tensor.data_ptr() in weights else tensor.numel() * tensor.element_size()
        memory["now"] += size
        memory["most"] = max(memory["most"], memory["now"])
        weakref.finalize(self, lambda: memory.update(now=memory["now"] - size))


def most_kept(step, net, n: int, dropout: float) -> int:
    """Bytes that the graph of one set of n different images holds at its largest, beside the weights."""
    memory, weights = {"now": 0, "most": 0}, {p.data_ptr() for p in net.parameters()}
    images, sets = scans(n), torch.arange(n)[None]
    seeds = mask_seeds((1, n), generator()) if dropout else None
    with torch.autograd.graph.saved_tensors_hooks(lambda t: Kept(t, memory, weights), lambda kept: kept.tensor):
        step(net, images, sets, torch.ones(1).double(), F.mse_loss, seeds)
    assert memory["now"] == 0, "all was given back"
    return memory["most"]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_streaming_32_images_a_set_keeps_no_more_than_4(dropout):
    net = regressor(dropout)
    few, many = (most_kept(streamed, net, n, dropout) for n in (4, 32))
    assert many == few > 0
    assert most_kept(branched, net, 32, dropout) > 7 * most_kept(branched, net, 4, dropout), "branches keep them all"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.ones(3, 1)}, r"labels \(B,\), got \(3, 4\) and \(3, 1\)"),  # would be broadcast to (3, 3)
        ({"labels": torch.ones(2)}, r"labels \(B,\), got \(3, 4\) and \(2,\)"),
        ({"sets": torch.arange(3)}, r"sets must be \(B, n\)"),
        ({"seeds": torch.ones(3, 3)}, r"seeds must be \(3, 4\)"),
        ({"size": (4, 4, 4)}, r"image 0 must be \(1, 4, 4, 4\), got \(1, 4, 6, 5\)"),
        ({"at_once": 0}, "at_once must be at least 1 image, got 0"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_gradient(change, message):
    net = regressor()
    given = {"sets": SETS["no black image"], "labels": torch.ones(3), "size": SIZE, "seeds": None} | change
    with pytest.raises(ValueError, match=message):
        streamed_step(net, scans().__getitem__, loss=F.mse_loss, **given)
    assert all(p.grad is None for p in net.parameters())
