"""Inception V3 has the published layers, sizes and names, and takes weights in torchvision's form."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fewscans.errors import DataError
from fewscans.nn.inception import InceptionV3, load_imagenet


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def small(levels=(0,), seed: int = 0) -> InceptionV3:
    """The paper's 40X-small, in evaluation."""
    network = InceptionV3(0.1, levels)
    network.reset_parameters(generator(seed))
    return network.eval()


@functools.cache
def full() -> InceptionV3:
    return InceptionV3().eval()


# -------- the published network ---------------------------------------------------------------------------------------


def test_the_full_network_has_the_published_number_of_parameters():
    """slim and Keras count 21,802,784, which is three numbers a norm: shift and moments, no scale. Ours are two.

    torchvision without its auxiliary head has 23,834,568, with a last layer of 1000 classes.
    """
    tower = full().towers[0]
    norms = sum(m.num_features for m in tower.modules() if isinstance(m, nn.BatchNorm2d))
    assert size(tower) + norms == 21_802_784
    assert size(tower) + 2049 * 1000 == 23_834_568
    assert size(full()) == 21_787_617


def test_the_small_network_has_about_300_000_parameters():
    assert size(small()) == 281_571


def test_parameters_of_each_block():
    blocks = {name: size(module) for name, module in full().towers[0].named_children() if size(module)}
    assert blocks == {
        "Conv2d_1a_3x3": 928, "Conv2d_2a_3x3": 9_280, "Conv2d_2b_3x3": 18_560,
        "Conv2d_3b_1x1": 5_280, "Conv2d_4a_3x3": 138_624,
        "Mixed_5b": 255_904, "Mixed_5c": 277_472, "Mixed_5d": 285_152,
        "Mixed_6a": 1_153_280, "Mixed_6b": 1_297_408, "Mixed_6c": 1_691_008, "Mixed_6d": 1_691_008,
        "Mixed_6e": 2_141_952,
        "Mixed_7a": 1_698_304, "Mixed_7b": 5_044_608, "Mixed_7c": 6_076_800,
    }  # fmt: skip


@torch.no_grad()
def test_maps_have_the_published_sizes():
    maps, x = {}, torch.zeros(1, 3, 299, 299)
    for name, module in full().towers[0].named_children():
        x = module(x)
        maps[name] = tuple(x.shape[1:3])
    assert maps == {
        "Conv2d_1a_3x3": (32, 149), "Conv2d_2a_3x3": (32, 147), "Conv2d_2b_3x3": (64, 147), "maxpool1": (64, 73),
        "Conv2d_3b_1x1": (80, 73), "Conv2d_4a_3x3": (192, 71), "maxpool2": (192, 35),
        "Mixed_5b": (256, 35), "Mixed_5c": (288, 35), "Mixed_5d": (288, 35),
        "Mixed_6a": (768, 17), "Mixed_6b": (768, 17), "Mixed_6c": (768, 17), "Mixed_6d": (768, 17),
        "Mixed_6e": (768, 17),
        "Mixed_7a": (1280, 8), "Mixed_7b": (2048, 8), "Mixed_7c": (2048, 8),
    }  # fmt: skip


def test_multiply_adds_are_the_published_ones():
    assert full().macs() / 1e9 == pytest.approx(5.71, abs=0.01)
    assert small().macs() / 1e9 == pytest.approx(0.219, abs=0.001)
    assert small((0, 1)).macs(75) == 2 * small().macs(75) > 0


@torch.no_grad()
def test_blocks_join_their_branches_in_torchvisions_order():
    """Written out: weights from ImageNet fit no other order, and no shape tells."""
    tower = small().towers[0]
    x = torch.rand(2, 3, 75, 75, generator=generator())
    for name, block in tower.named_children():
        if name == "Mixed_5b":
            joined = [
                block.branch1x1(x),
                block.branch5x5_2(block.branch5x5_1(x)),
                block.branch3x3dbl_3(block.branch3x3dbl_2(block.branch3x3dbl_1(x))),
                block.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1)),
            ]
        elif name == "Mixed_6a":
            double = block.branch3x3dbl_3(block.branch3x3dbl_2(block.branch3x3dbl_1(x)))
            joined = [block.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)]
        elif name == "Mixed_6b":
            y = block.branch7x7dbl_3(block.branch7x7dbl_2(block.branch7x7dbl_1(x)))
            joined = [
                block.branch1x1(x),
                block.branch7x7_3(block.branch7x7_2(block.branch7x7_1(x))),
                block.branch7x7dbl_5(block.branch7x7dbl_4(y)),
                block.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1)),
            ]
        elif name == "Mixed_7a":
            y = block.branch7x7x3_4(block.branch7x7x3_3(block.branch7x7x3_2(block.branch7x7x3_1(x))))
            joined = [block.branch3x3_2(block.branch3x3_1(x)), y, F.max_pool2d(x, 3, stride=2)]
        elif name == "Mixed_7b":
            y, z = block.branch3x3_1(x), block.branch3x3dbl_2(block.branch3x3dbl_1(x))
            joined = [block.branch1x1(x), block.branch3x3_2a(y), block.branch3x3_2b(y)]
            joined += [block.branch3x3dbl_3a(z), block.branch3x3dbl_3b(z)]
            joined += [block.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1))]
        else:
            joined = [block(x)]
        assert torch.equal(block(x), torch.cat(joined, 1)), name
        x = block(x)


def test_kernels_of_seven_are_rows_and_columns_in_torchvisions_order():
    block = full().towers[0].Mixed_6b
    names = ["branch7x7_2", "branch7x7_3", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"]
    kernels = [getattr(block, name).conv.kernel_size for name in names]
    assert kernels == [(1, 7), (7, 1), (7, 1), (1, 7), (7, 1), (1, 7)]
    last = full().towers[0].Mixed_7c
    assert last.branch3x3_2a.conv.kernel_size == last.branch3x3dbl_3a.conv.kernel_size == (1, 3)
    assert all(m.eps == 0.001 for m in full().modules() if isinstance(m, nn.BatchNorm2d))


# -------- patches in, logits out --------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [(0,), (0, 2)], ids=str)
def test_a_batch_of_patches_becomes_a_batch_of_logits_that_every_tower_decides(levels):
    network = small(levels)
    patches = [torch.rand(3, 3, 75, 75, generator=generator(i)).requires_grad_() for i in range(len(levels))]
    logits = network(*patches)
    assert logits.shape == (3,)
    logits.sum().backward()
    assert all(x.grad.abs().max() > 0 for x in patches)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_initial_weights_are_decided_by_the_generator():
    a, b, c = small().state_dict(), small().state_dict(), small(seed=1).state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["fc.weight"], c["fc.weight"])


def test_patches_too_small_too_many_and_widths_of_nothing_are_errors():
    with pytest.raises(ValueError, match="at least 75"):
        small()(torch.zeros(1, 3, 74, 75))
    with pytest.raises(ValueError, match="argument"):
        small()(torch.zeros(1, 3, 75, 75), torch.zeros(1, 3, 75, 75))
    with pytest.raises(ValueError, match="width"):
        InceptionV3(0)


# -------- weights in torchvision's form -------------------------------------------------------------------------------


def torchvisions(tower: nn.Module) -> dict[str, torch.Tensor]:
    """As a file of old has it: no counters of batches, but both classifiers."""
    state = {name: x.clone() for name, x in tower.state_dict().items() if not name.endswith("num_batches_tracked")}
    classifiers = ["fc.weight", "fc.bias", "AuxLogits.conv0.conv.weight", "AuxLogits.fc.bias"]
    return state | {name: torch.zeros(2) for name in classifiers}


@torch.no_grad()
def test_weights_load_into_every_tower_and_leave_the_last_layer(tmp_path):
    source, network = small(seed=1), small((0, 1))
    source.towers[0].Mixed_5b.branch1x1.bn.running_mean += 1
    torch.save(torchvisions(source.towers[0]), tmp_path / "weights.pth")
    last = network.fc.weight.clone()
    load_imagenet(network, tmp_path / "weights.pth")
    x = torch.rand(1, 3, 75, 75, generator=generator())
    assert all(torch.equal(tower(x), source.towers[0](x)) for tower in network.towers)
    assert torch.equal(network.fc.weight, last)


def test_names_are_torchvisions():
    names = full().towers[0].state_dict().keys()
    assert len([name for name in names if name.endswith(".conv.weight")]) == 94
    assert {
        "Conv2d_1a_3x3.conv.weight",
        "Mixed_6e.branch7x7dbl_5.bn.bias",
        "Mixed_7c.branch3x3dbl_3b.bn.running_var",
    } < names


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape", "no dictionary", "not a tensor"])
def test_a_state_that_does_not_fit_is_named_and_changes_nothing(fault, tmp_path):
    path, network = tmp_path / "weights.pth", small()
    state = torchvisions(small(seed=1).towers[0])
    name = "Mixed_5b.branch1x1.conv.weight"
    if fault == "missing":
        del state[name]
    elif fault == "unknown":
        state[name := "Mixed_5b.branch9x9.conv.weight"] = torch.zeros(1)
    elif fault == "shape":
        state[name] = state[name][:-1]
    elif fault == "not a tensor":
        state[name] = 3
    torch.save(list(state) if fault == "no dictionary" else state, path)
    before = {key: values.clone() for key, values in network.state_dict().items()}
    with pytest.raises(DataError) as raised:
        load_imagenet(network, path)
    assert str(path) in str(raised.value)
    assert (name in str(raised.value)) == (fault in ("missing", "unknown", "shape"))
    assert all(torch.equal(before[key], values) for key, values in network.state_dict().items())


class Code:
    """What a pickle may run on loading."""

    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("fault", ["absent", "empty", "text", "cut", "code"])
def test_a_file_without_weights_is_a_data_error_and_runs_no_code(fault, tmp_path, capsys):
    path = tmp_path / "weights.pth"
    if fault == "code":
        torch.save({"x": Code()}, path)
    elif fault != "absent":
        torch.save({"x": torch.zeros(1000)}, path)
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "text": b"<html>not found</html>", "cut": whole[: len(whole) // 2]}[fault])
    with pytest.raises(DataError, match="no readable state dict"):
        load_imagenet(small(), path)
    assert not capsys.readouterr().out
