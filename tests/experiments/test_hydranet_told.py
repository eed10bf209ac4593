"""What a run of regression from sums tells beside its predictions: failed or not, its score, the noise of gradients."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fewscans import train
from fewscans.experiments.hydranet import EXPERIMENT, noise
from fewscans.experiments.hydranet.arms import ARMS
from fewscans.experiments.hydranet.batches import Batches, seen
from fewscans.nn.regressor import BaseRegressor

from .test_hydranet import GRID, N, outputs, trained
from .toy_scans import make_scans


@pytest.fixture(scope="module")
def scans():
    return make_scans()


@pytest.mark.parametrize("arm", ["base-compute", "hydra-4", "hydra-4-black10"])
def test_a_run_failed_if_at_the_end_its_training_loss_is_that_of_guessing(scans, monkeypatch, arm):
    real = train.fit

    def record_of(share):
        def fit(net, n_train, batch, loss, validate, budget, seed, *rest):
            fitted = real(net, n_train, batch, loss, validate, budget, seed, *rest)
            for row in fitted.history:
                row["train_loss"] = guess * (share if row["step"] == budget.steps else 9.0)
            return fitted

        monkeypatch.setattr(train, "fit", fit)
        return trained(arm, scans)[0].record

    subset = EXPERIMENT._parts(GRID, scans, ARMS[arm], N, 1)["train"]
    y = scans.target[subset]
    unit = np.sqrt((y**2).mean()) if arm == "hydra-4-black10" else y.std()
    shown = {"base-compute": 1, "hydra-4": 4 * (N - 4) / (N - 1), "hydra-4-black10": 3.6 * (N - 3.7) / (N - 1)}[arm]
    guess = shown * y.var() / unit**2
    assert not record_of(0.85)["failed"] and record_of(1.05)["failed"]


def test_the_score_on_validation_is_the_share_of_variance_that_the_last_network_explains(scans):
    entry, weights = trained("hydra-4", scans)
    val = scans.indices("val")
    constant, offset = (float(weights[name]) for name in ("label.constant", "label.offset"))
    error = outputs(weights, "hydra-4", scans.images[val]) * constant + offset - scans.target[val]
    assert entry.record["val_score"] == pytest.approx(1 - (error**2).mean() / scans.target[val].var(), abs=1e-5)


# The noise of gradients


def measured(monkeypatch, updates: int = 0, in_parts: int = 6, **changes):
    """A network after some updates on toy scans, its batches, and what is told of its gradients."""
    monkeypatch.setattr(noise, "BATCHES", 40)
    monkeypatch.setattr(noise, "IN_PARTS", in_parts)
    some = make_scans(shape=(2, 4, 4))
    y = torch.from_numpy(some.target[:25]).float()
    images = seen(torch.from_numpy(some.images[:25]), "standard")
    y = (y - y.mean()) / y.std(unbiased=False)
    of = Batches(images, y, torch.ones(25, 3), ARMS["base-probe"], 0, 16, F.mse_loss, 0.0)
    of, net = replace(of, **changes), BaseRegressor(norm=True)
    net.reset_parameters(torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    for step in range(updates):
        optimiser.zero_grad()
        of.gradients(net.train(), *of.draw(step))
        optimiser.step()
    return net.eval(), of, noise.ratios(net, of)


def test_the_noise_is_that_of_gradients_computed_one_by_one(monkeypatch):
    """Of losses followed backwards in batches of 16, many of them."""
    net, of, found = measured(monkeypatch, updates=10)
    net, drawn = copy.deepcopy(net).train(), {"noise_singles": [], "noise_set": [], "noise_single": [], "all": []}
    generator = torch.Generator().manual_seed(5)
    for step in range(120):
        inputs, target = of.draw(100 + step)
        r = net(of.augmented(inputs.places.flatten(), inputs.decisions)) - target
        four = torch.randperm(16, generator=generator)[:4]
        values = r[four].square().mean(), r[four].sum().square(), r[four[0]].square(), r.square().mean()
        for gradients, value in zip(drawn.values(), values, strict=True):
            of_one = torch.autograd.grad(value, list(net.parameters()), retain_graph=True)
            gradients.append(torch.cat([g.flatten() for g in of_one]).double())
    drawn = {name: torch.stack(gradients) for name, gradients in drawn.items()}
    every = drawn.pop("all")
    signal = float(every.mean(0).square().sum() - every.var(0).sum() / len(every))
    traces = {name: float(gradients.var(0).sum()) for name, gradients in drawn.items()}
    assert found["noise_singles"] == pytest.approx(traces["noise_singles"] / signal, rel=0.6)
    assert found["noise_set"] / found["noise_singles"] == pytest.approx(
        traces["noise_set"] / 16 / traces["noise_singles"], rel=0.3
    )


def test_a_set_is_noisier_than_its_scans_one_by_one_and_one_scan_about_four_times_as_noisy(monkeypatch):
    _, _, found = measured(monkeypatch, updates=10)
    assert found["noise_set"] > 3 * found["noise_singles"] > 0
    assert found["noise_single"] == pytest.approx(4 * found["noise_singles"], rel=0.3)


def test_a_signal_too_weak_to_be_known_gives_a_lower_bound(monkeypatch):
    """Labels that are noise, and an untrained network."""
    _, of, _ = measured(monkeypatch, in_parts=1, labels=torch.randn(25, generator=torch.Generator().manual_seed(1)))
    found = noise.ratios(BaseRegressor(norm=True), of)
    assert 0 < found["noise_single"] < 16 * 40 * 3, "of 640 scans"


def test_measuring_leaves_network_and_generators_alone_and_gives_the_same_again(monkeypatch):
    net, of, found = measured(monkeypatch, updates=2, in_parts=2)
    state, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    with torch.no_grad():
        assert noise.ratios(net, of) == found
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items()) and not net.training
    assert torch.equal(torch.get_rng_state(), random)


def test_a_probe_trains_as_the_arm_that_it_varies_and_tells_of_several_points(scans, monkeypatch):
    for name, few in (("BATCHES", 2), ("IN_PARTS", 1), ("POINTS", 2)):
        monkeypatch.setattr(noise, name, few)
    (probe, weights), (plain, weights_too) = (trained(arm, scans) for arm in ("base-probe", "base-compute"))
    assert all(torch.equal(weights[name], value) for name, value in weights_too.items())
    assert probe.predictions["prediction"].equals(plain.predictions["prediction"])
    assert [row["step"] for row in probe.history] == [2, 4]
    assert all(row["noise_set"] > 0 and row["noise_single"] > 0 and row["noise_singles"] > 0 for row in probe.history)
