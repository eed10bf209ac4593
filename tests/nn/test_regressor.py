"""The base regressor is the network whose size the paper prints, and its randomness is decided by what it is given."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fewscans.nn.regressor import BaseRegressor, mask_seeds


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def regressor(dropout: float = 0.0, seed: int = 0, norm: bool = False) -> BaseRegressor:
    net = BaseRegressor(dropout, norm)
    net.reset_parameters(generator(seed))
    return net


def scans(count: int = 3, size=(6, 8, 10), seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 1, *size, generator=generator(seed))


def inputs_of_layers(net: BaseRegressor, *arguments) -> list[torch.Tensor]:
    """What each of the five layers was given."""
    seen = []
    handles = [layer.register_forward_pre_hook(lambda _, x: seen.append(x[0].detach().clone()))
               for layer in (*net.convolutions, net.output)]  # fmt: skip
    net(*arguments)
    for handle in handles:
        handle.remove()
    return seen


# -------- the paper's network -----------------------------------------------------------------------------------------


def test_parameters_are_as_many_as_the_paper_prints_layer_by_layer():
    net = BaseRegressor()
    counted = [sum(p.numel() for p in layer.parameters()) for layer in (*net.convolutions, net.output)]
    assert counted == [896, 27_680, 57_088, 110_656, 98]
    assert sum(p.numel() for p in net.parameters()) == sum(counted) == 196_418


def test_dropout_adds_no_parameters():
    assert sum(p.numel() for p in BaseRegressor(0.3).parameters()) == 196_418


def test_outputs_and_gradients_are_those_of_the_layers_in_the_papers_order():
    """Written out: convolution, ReLU, concatenation with the block's input, pooling, and again, then the average."""
    net = regressor().double()
    x = scans().double()

    def written_out(x):
        a, b, c, d = net.convolutions
        first = torch.cat([x, F.relu(b(F.relu(a(x))))], 1)
        pooled = F.max_pool3d(first, 2)
        second = torch.cat([pooled, F.relu(d(F.relu(c(pooled))))], 1)
        assert first.shape[1:] == (33, 6, 8, 10) and second.shape[1:] == (97, 3, 4, 5)
        return net.output(second.mean((2, 3, 4))).squeeze(1)

    ours, expected = net(x), written_out(x)
    assert torch.allclose(ours, expected, rtol=1e-12)
    parameters = list(net.parameters())
    for a, b in zip(
        torch.autograd.grad(ours.sum(), parameters), torch.autograd.grad(expected.sum(), parameters), strict=True
    ):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-14)


def test_a_voxel_reaches_14_voxels_of_features():
    net = regressor()
    x = torch.zeros(1, 1, 32, 32, 32)
    x[..., 15, 15, 15] = float("nan")  # reaches whatever depends on it
    seen = []
    net.convolutions[3].register_forward_hook(lambda _, __, y: seen.append(y[0, 0].isnan().nonzero()))
    net(x)
    assert (seen[0].amax(0) - seen[0].amin(0) + 1).tolist() == [7, 7, 7], "of features, 2 voxels apart"


def test_multiply_adds_are_those_of_the_convolutions_that_run():
    net, counted = regressor(), []
    for layer in net.convolutions:
        layer.register_forward_hook(lambda layer, _, y: counted.append(layer.weight.numel() * y[0, 0].numel()))
    net(scans(1, (7, 8, 10)))
    assert sum(counted) == net.macs((7, 8, 10))
    assert net.macs((48, 128, 128)) / (48 * 128 * 128) == 28_512 + 167_616 / 8


@pytest.mark.parametrize("size", [(2, 2, 2), (3, 5, 7), (40, 4, 6)])
def test_scans_of_any_size_become_one_number_each_and_train_every_parameter(size):
    net = regressor()
    out = net(scans(2, size))
    assert out.shape == (2,)
    out.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_a_scan_s_number_does_not_depend_on_the_others_in_the_batch():
    net, x = regressor().double(), scans().double()
    assert torch.allclose(net(x), torch.cat([net(one[None]) for one in x]), rtol=1e-12)


def test_the_last_layer_has_no_activation():
    outputs = torch.cat([regressor(seed=seed)(scans()) for seed in range(6)])
    assert outputs.min() < 0 < outputs.max()


def test_channels_last_changes_no_result():
    net, x = regressor().double(), scans().double()
    expected = net(x)
    assert torch.allclose(net.to(memory_format=torch.channels_last_3d)(x), expected, rtol=1e-12)


# -------- batch norm --------------------------------------------------------------------------------------------------


def test_with_norm_the_network_is_the_same_with_batch_norm_before_each_relu():
    net, x = regressor(norm=True).double(), scans(5).double()
    assert sum(p.numel() for p in net.parameters()) == 196_418 + 2 * (32 + 32 + 64 + 64)

    def behind(nth, y):
        y = net.convolutions[nth](y)
        mean, var = y.mean((0, 2, 3, 4), keepdim=True), y.var((0, 2, 3, 4), unbiased=False, keepdim=True)
        return F.relu((y - mean) / (var + 1e-5).sqrt())

    pooled = F.max_pool3d(torch.cat([x, behind(1, behind(0, x))], 1), 2)
    written_out = torch.cat([pooled, behind(3, behind(2, pooled))], 1).mean((2, 3, 4))
    assert torch.allclose(net.train()(x), net.output(written_out).squeeze(1), rtol=1e-10)


def test_in_evaluation_the_norm_couples_no_scans():
    net, x = regressor(norm=True).double().eval(), scans().double()
    assert torch.allclose(net(x), torch.cat([net(one[None]) for one in x]), rtol=1e-12)


# -------- images of depth 1 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", [False, True])
def test_at_depth_1_the_result_is_that_of_the_whole_kernels_with_zeros_about_the_plane(norm):
    net, x = regressor(norm=norm).double(), scans(3, (1, 8, 10)).double()

    def written_out(x):
        def behind(nth, y):
            return F.relu(net.norms[nth](net.convolutions[nth](y)))

        pooled = F.max_pool3d(torch.cat([x, behind(1, behind(0, x))], 1), (1, 2, 2))
        return net.output(torch.cat([pooled, behind(3, behind(2, pooled))], 1).mean((2, 3, 4))).squeeze(1)

    parameters = list(net.parameters())
    gradients = [torch.autograd.grad(y.square().sum(), parameters) for y in (net(x), written_out(x))]
    assert torch.allclose(net(x), written_out(x), rtol=1e-10)
    assert all(torch.allclose(a, b, rtol=1e-8, atol=1e-12) for a, b in zip(*gradients, strict=True))
    (kernel,) = torch.autograd.grad(net(x).square().sum(), [net.convolutions[2].weight])
    assert kernel[:, :, 1].any() and not kernel[:, :, [0, 2]].any()


def test_multiply_adds_at_depth_1_are_those_of_the_plane():
    assert BaseRegressor().macs((1, 48, 48)) == 48 * 48 * 28_512 / 3 + 24 * 24 * 167_616 / 3


# -------- initial weights ---------------------------------------------------------------------------------------------


def test_weights_begin_uniform_glorot_with_biases_zero():
    net = regressor()
    fans = [(1, 32, 27), (32, 32, 27), (33, 64, 27), (64, 64, 27), (97, 1, 1)]
    for layer, (fan_in, fan_out, taps) in zip((*net.convolutions, net.output), fans, strict=True):
        bound = (6 / ((fan_in + fan_out) * taps)) ** 0.5
        weight = layer.weight.detach()
        assert 0.95 * bound < weight.abs().max() <= bound
        tolerance = 4 * bound / weight.numel() ** 0.5
        assert weight.mean() == pytest.approx(0, abs=tolerance)
        assert weight.std() == pytest.approx(bound / 3**0.5, abs=tolerance)
        assert not layer.bias.any()


def test_a_generator_decides_all_initial_weights_and_nothing_else_does():
    net = BaseRegressor()
    before = torch.get_rng_state()
    net.reset_parameters(generator(5))
    assert torch.equal(torch.get_rng_state(), before), "torch's own generator is left alone"
    same, other = regressor(seed=5).state_dict(), regressor(seed=6).state_dict()
    assert all(torch.equal(v, same[k]) for k, v in net.state_dict().items())
    assert any(not torch.equal(v, other[k]) for k, v in net.state_dict().items())


# -------- dropout -----------------------------------------------------------------------------------------------------


def ones(dropout: float) -> BaseRegressor:
    """A network whose activations are all 1 where nothing is dropped."""
    net = BaseRegressor(dropout)
    with torch.no_grad():
        for layer in net.convolutions:
            layer.weight.zero_()
            layer.bias.fill_(1)
    return net


def test_dropout_acts_behind_each_convolution_and_behind_the_average():
    dropout, size = 0.3, (16, 16, 16)
    x, seeds = torch.ones(8, 1, *size), mask_seeds(8, generator())
    _, second, third, fourth, last = inputs_of_layers(ones(dropout), x, seeds)
    assert (second == 0).float().mean() == pytest.approx(dropout, abs=0.005)
    assert second.max() == pytest.approx(1 / (1 - dropout))
    skipped, pooled = third[:, :1], third[:, 1:]
    assert (skipped == 1).all(), "the block's input is passed on whole"
    assert (pooled == 0).float().mean() == pytest.approx(dropout**8, abs=1e-4), "dropped before the pool of 8 voxels"
    assert (fourth == 0).float().mean() == pytest.approx(dropout, abs=0.005)
    assert (last == 0).float().mean() == pytest.approx(dropout, abs=0.05)
    # Before the last mask a map's average is about 1: whole voxels were dropped behind the fourth convolution.
    kept = last[:, 33:][last[:, 33:] > 0] * (1 - dropout)
    assert kept.std() > 0.005 and kept.mean() == pytest.approx(1, abs=0.005)


def test_masks_of_an_image_follow_its_seed_and_not_its_company():
    net, x, seeds = regressor(0.3).double(), scans(4).double(), mask_seeds(4, generator())
    together = net(x, seeds)
    assert torch.allclose(together, torch.cat([net(x[i : i + 1], seeds[i : i + 1]) for i in range(4)]), rtol=1e-12)
    assert torch.allclose(together.flip(0), net(x.flip(0), seeds.flip(0)), rtol=1e-12)
    again, other = net(x, seeds.tolist()), net(x, seeds + 1)
    assert torch.equal(together, again) and not torch.allclose(together, other)


def test_images_with_different_seeds_lose_different_values():
    net, x = regressor(0.3), scans(1).expand(2, -1, -1, -1, -1)
    assert net(x, [1, 2]).diff().abs() > 1e-6
    assert net(x, [1, 1]).diff().abs() < 1e-6


def test_dropout_leaves_torch_s_own_generator_alone():
    net = regressor(0.3)
    before = torch.get_rng_state()
    net(scans(), [1, 2, 3])
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_dropped_when_predicting():
    plain, dropping = regressor(), regressor(0.3)
    x = scans()
    assert torch.equal(dropping.eval()(x), plain(x))
    assert torch.equal(dropping.eval()(x, [1, 2, 3]), plain(x))


def test_the_mean_over_masks_is_about_the_output_without():
    """Kept values are raised, so that nothing has to be scaled when predicting; checked where the network is linear."""
    net, x = ones(0.3), torch.ones(64, 1, 8, 8, 8)
    with torch.no_grad():
        net.output.weight.fill_(1 / 97)
        predicted = net.eval()(x)[0]
        outputs = net.train()(x, mask_seeds(64, generator()))
    # The 32 pooled features are maxima, which dropout raises: each kept one counts 1 / 0.7.
    expected = predicted + 32 / 97 * (1 / 0.7 - 1)
    assert outputs.mean() == pytest.approx(expected.item(), abs=4 * outputs.std().item() / 8)


# -------- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_is_a_probability_below_1(dropout):
    with pytest.raises(ValueError, match="dropout must be at least 0 and below 1"):
        BaseRegressor(dropout)


@pytest.mark.parametrize("shape", [(1, 8, 8, 8), (2, 2, 8, 8, 8), (1, 4, 1, 8, 8, 8)])
def test_images_of_another_form_are_refused(shape):
    with pytest.raises(ValueError, match=r"wants \(B, 1, D, H, W\)"):
        regressor()(torch.zeros(shape))


@pytest.mark.parametrize("size", [(4, 1, 8), (1, 8, 1)])
def test_an_image_too_small_to_pool_is_refused(size):
    with pytest.raises(ValueError, match=r"voxels is too small"):
        regressor()(torch.zeros(1, 1, *size))


def test_training_with_dropout_wants_a_seed_for_each_image():
    net = regressor(0.3)
    with pytest.raises(ValueError, match="mask_seeds"):
        net(scans())
    with pytest.raises(ValueError, match="3 images want as many seeds, got 2"):
        net(scans(), [1, 2])


def test_mask_seeds_come_from_the_generator_and_differ():
    seeds = mask_seeds((50, 4), generator(1))
    assert seeds.shape == (50, 4) and seeds.unique().numel() == 200
    assert torch.equal(seeds, mask_seeds((50, 4), generator(1)))
    assert mask_seeds(3, generator()).shape == (3,)


def test_the_regressor_is_a_module_like_others():
    """Weights go from one to another by name."""
    a, b = regressor(seed=0), regressor(seed=1)
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(scans()), b(scans()))
    assert isinstance(a, nn.Module) and set(a.state_dict()) == {
        *(f"convolutions.{i}.{name}" for i in range(4) for name in ("weight", "bias")), "output.weight", "output.bias",
    }  # fmt: skip
