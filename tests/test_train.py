"""The training loop: every step decided by (seed, purpose, step) alone, cut and taken up again to the same bytes."""

import warnings
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from fewscans import train
from fewscans.errors import Stopped
from fewscans.train import Budget

N = 40


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in one order, as in a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Interrupted(Exception):
    """Stands in for a kill."""


def problem():
    """A small regression with dropout-free batch norm, so that running statistics must be kept as well."""
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(N, 6, generator=random), torch.randn(N, generator=random)
    with torch.random.fork_rng(), torch.no_grad():
        net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0))
        for parameter in net.parameters():
            parameter.uniform_(-0.5, 0.5, generator=random)
    return net, x, y


def fitted(
    steps=24,
    eval_every=4,
    seed=0,
    checkpoint=None,
    cut_at=None,
    rate=1e-2,
    validate=None,
    n_train=N,
    seen=None,
    on_step=None,
):
    """A training of the small problem, cut when step `cut_at` would begin."""
    net, x, y = problem()

    def batch(indices, step):
        if step == cut_at:
            raise Interrupted
        if seen is not None:
            seen.append(step)
        shake = torch.randn(len(indices), 6, generator=train.generator(seed, "augmentation", step))
        return x[indices] + 0.1 * shake, y[indices]

    def measured(net):
        assert not net.training and not torch.is_grad_enabled()
        return {"val_loss": float(F.mse_loss(net(x), y)), "small_val_loss": float(F.mse_loss(net(x[:5]), y[:5]))}

    budget = Budget(steps, 10, rate, eval_every)
    done = train.fit(net, n_train, batch, F.mse_loss, validate or measured, budget, seed, checkpoint, on_step)
    return net, done


def same(a, b) -> bool:
    """Histories, best states and final weights are equal to the last bit."""
    (net_a, a), (net_b, b) = a, b
    states = [(net_a.state_dict(), net_b.state_dict())] + [(a.best[name], b.best[name]) for name in a.best]
    return (
        a.history == b.history
        and a.best_loss == b.best_loss
        and a.best.keys() == b.best.keys()
        and all(torch.equal(x[key], y[key]) for x, y in states for key in x)
    )


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    assert same(fitted(), fitted())
    assert not same(fitted(), fitted(seed=1))


@pytest.mark.parametrize("cut_at", [1, 4, 5, 12, 23])
def test_a_run_cut_anywhere_ends_as_if_it_had_not_been(tmp_path, cut_at):
    checkpoint = tmp_path / "run.checkpoint"
    with pytest.raises(Interrupted):
        fitted(checkpoint=checkpoint, cut_at=cut_at)
    again = []
    assert same(fitted(), fitted(checkpoint=checkpoint, seen=again))
    assert again == list(range(cut_at // 4 * 4, 24)), "it goes on from the last validation"


def test_a_run_cut_many_times_ends_as_if_it_had_not_been(tmp_path):
    for cut_at in (5, 6, 9, 17, 22):
        with pytest.raises(Interrupted):
            fitted(checkpoint=tmp_path / "run.checkpoint", cut_at=cut_at)
    assert same(fitted(), fitted(checkpoint=tmp_path / "run.checkpoint"))


@pytest.mark.parametrize("stop_at", [1, 2, 4, 7, 8, 11, 23])
def test_a_run_told_to_stop_saves_the_step_it_is_at_and_ends_as_if_it_had_not_been(tmp_path, stop_at):
    done = []

    def told(steps):
        done.append(steps)
        if sum(done) == stop_at:
            raise Stopped

    checkpoint, again = tmp_path / "run.checkpoint", []
    with pytest.raises(Stopped):
        fitted(checkpoint=checkpoint, on_step=told)
    assert same(fitted(), fitted(checkpoint=checkpoint, seen=again))
    assert again == list(range(stop_at, 24)), "no step is lost"


def test_a_run_told_to_stop_at_every_step_still_ends_and_at_its_last_step_it_is_finished(tmp_path):
    def told_after(calls):
        def told(steps):
            done.append(steps)
            if len(done) > calls:
                raise Stopped

        done = []
        return told

    checkpoint = tmp_path / "run.checkpoint"
    for step in range(23):
        with pytest.raises(Stopped):
            fitted(checkpoint=checkpoint, on_step=told_after(step > 0))  # a call first tells of what was done before
    assert same(fitted(), fitted(checkpoint=checkpoint, on_step=told_after(1)))


def test_seconds_add_up_over_the_parts_of_a_cut_run(tmp_path):
    with pytest.raises(Interrupted):
        fitted(checkpoint=tmp_path / "run.checkpoint", cut_at=20)
    first = torch.load(tmp_path / "run.checkpoint", weights_only=True)["fitted"]["seconds_wall"]
    assert 0 < first < fitted(checkpoint=tmp_path / "run.checkpoint")[1].seconds_wall


@pytest.mark.parametrize("kept", [0, 100, 0.5])
def test_a_checkpoint_cut_short_is_removed_with_a_warning_and_the_run_starts_afresh(tmp_path, kept):
    checkpoint = tmp_path / "run.checkpoint"
    with pytest.raises(Interrupted):
        fitted(checkpoint=checkpoint, cut_at=20)
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    again = []
    with pytest.warns(UserWarning, match=r"run\.checkpoint: not a readable checkpoint .*starts afresh"):
        done = fitted(checkpoint=checkpoint, seen=again)
    assert again[0] == 0 and same(fitted(), done)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path, monkeypatch):
    checkpoint, save = tmp_path / "run.checkpoint", torch.save

    def cut(state, content):
        save(state, content)
        if state["step"] == 12:
            raise Interrupted

    monkeypatch.setattr(torch, "save", cut)
    with pytest.raises(Interrupted):
        fitted(checkpoint=checkpoint)
    monkeypatch.undo()
    again = []
    assert same(fitted(), fitted(checkpoint=checkpoint, seen=again)) and again[0] == 8


def test_progress_counts_every_step_once_those_done_before_a_cut_among_them(tmp_path):
    told = []
    net, x, y = problem()
    budget, losses = Budget(9, 10, 1e-2, 4), {"val_loss": 1.0}
    for cut_at in (6, None):
        told.clear()

        def batch(indices, step, cut_at=cut_at):
            if step == cut_at:
                raise Interrupted
            return x[indices], y[indices]

        try:
            train.fit(net, N, batch, F.mse_loss, lambda net: losses, budget, 0, tmp_path / "c", told.append)
        except Interrupted:
            continue
    assert told == [4, 1, 1, 1, 1, 1]


@given(n_train=st.integers(2, 70), batch_size=st.integers(1, 40), seed=st.integers(0, 5), passes=st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_every_sample_comes_once_a_pass(n_train, batch_size, seed, passes):
    size = min(batch_size, n_train)
    steps = -(-passes * n_train // size)
    drawn = torch.cat([train.batch_indices(n_train, batch_size, step, seed) for step in range(steps)]).tolist()
    assert len(drawn) == steps * size
    for start in range(0, passes * n_train, n_train):
        assert sorted(drawn[start : start + n_train]) == list(range(n_train))


@given(n_train=st.integers(20, 60), seed=st.integers(0, 5))
@settings(deadline=None, max_examples=20)
def test_passes_and_seeds_are_shuffled_anew(n_train, seed):
    def order(p, s):
        return train.batch_indices(n_train, n_train, p, s).tolist()

    assert order(0, seed) == order(0, seed)
    assert len({tuple(order(p, s)) for p in (0, 1) for s in (seed, seed + 1)}) == 4


def test_generators_are_one_s_own_for_each_seed_purpose_and_step():
    purposes = ("initialisation", "order", "augmentation", "noise")
    keys = [(seed, purpose, step) for seed in (0, 1, 2) for purpose in purposes for step in range(5)]
    first = [tuple(torch.rand(4, generator=train.generator(*key)).tolist()) for key in keys]
    assert len(set(first)) == len(keys)
    assert first == [tuple(torch.rand(4, generator=train.generator(*key)).tolist()) for key in keys]
    stream = torch.stack([torch.rand(2000, generator=train.generator(*key)) for key in keys])
    correlation = torch.corrcoef(stream) - torch.eye(len(keys))
    assert correlation.abs().max() < 0.12, "no two are shifted or scaled copies"


def test_global_random_state_decides_nothing_and_is_left_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = fitted()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(first, fitted())


def test_the_best_checkpoint_is_the_earliest_with_the_lowest_loss_of_each_validation_set():
    losses = [3.0, 1.0, 2.0, 1.0, float("nan"), 1.5]
    small = [5.0, 5.0, 4.0, 4.0, 4.0, 0.5]
    states = []

    def validate(net):
        states.append({k: v.clone() for k, v in net.state_dict().items()})
        return {"val_loss": losses[len(states) - 1], "small_val_loss": small[len(states) - 1]}

    _, done = fitted(validate=validate)
    assert done.best_loss == {"val_loss": 1.0, "small_val_loss": 0.5}
    for name, index in (("val_loss", 1), ("small_val_loss", 5)):
        assert all(torch.equal(done.best[name][key], states[index][key]) for key in states[index])
        assert not torch.equal(done.best[name]["0.weight"], states[index - 1]["0.weight"])


def test_no_finite_validation_loss_leaves_no_checkpoint_to_choose():
    _, done = fitted(validate=lambda net: {"val_loss": float("nan"), "small_val_loss": float("inf")})
    assert done.best == {} and len(done.history) == 6


def test_a_loss_that_is_not_finite_names_the_step_and_the_remedy(tmp_path):
    with pytest.raises(FloatingPointError, match=r"nan|inf.* at step \d+; lower the learning rate 1e\+30"):
        fitted(rate=1e30, eval_every=2, checkpoint=tmp_path / "c")


def test_history_tells_steps_epochs_and_mean_losses():
    _, done = fitted(steps=10, eval_every=4)
    assert [row["step"] for row in done.history] == [4, 8, 10], "the last step is validated always"
    assert [row["epoch"] for row in done.history] == [1.0, 2.0, 2.5]
    assert Counter(tuple(row) for row in done.history) == {
        ("step", "epoch", "train_loss", "val_loss", "small_val_loss"): 3
    }


def test_a_batch_larger_than_the_training_set_is_all_of_it():
    assert sorted(train.batch_indices(6, 30, 0, 0).tolist()) == list(range(6))
    assert fitted(n_train=6)[1].history[0]["epoch"] == 4.0


def test_training_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted()


# An optimiser, gradients and a schedule of the caller's


class Noting(torch.optim.SGD):
    """Plain descent that notes the rate of each step."""

    def __init__(self, parameters, lr, rates):
        super().__init__(parameters, lr=lr, momentum=0.5)
        self.rates = rates

    def step(self, closure=None):
        self.rates.append(self.param_groups[0]["lr"])
        return super().step(closure)


def described(checkpoint=None, cut_at=None, rates=None, schedule=lambda done: 1 - done, gradients=None):
    """Eight steps of the small problem with all three."""
    net, x, y = problem()

    def batch(indices, step):
        if step == cut_at:
            raise Interrupted
        return x[indices], y[indices]

    return net, train.fit(
        net, N, batch, F.mse_loss, lambda net: {"val_loss": float(F.mse_loss(net(x), y))}, Budget(8, 10, 0.1, 2), 0,
        checkpoint, None, lambda parameters, lr: Noting(parameters, lr, [] if rates is None else rates), gradients,
        schedule,
    )  # fmt: skip


def test_the_schedule_s_share_of_the_rate_is_that_of_the_budget_done():
    rates, still = [], []
    described(rates=rates)
    assert rates == pytest.approx([0.1 * (1 - step / 8) for step in range(8)]) and rates[-1] < rates[0] / 7
    described(rates=still, schedule=None)
    assert still == [0.1] * 8


@pytest.mark.parametrize("cut_at", [3, 4, 7])
def test_a_cut_run_sees_the_rates_it_would_have_seen(tmp_path, cut_at):
    whole, rates, again = described(), [], []
    described(rates=rates)
    with pytest.raises(Interrupted):
        described(tmp_path / "run.checkpoint", cut_at)
    assert same(whole, described(tmp_path / "run.checkpoint", rates=again))
    assert again == rates[cut_at // 2 * 2 :]


def test_the_caller_s_optimiser_takes_the_steps():
    net, x, y = problem()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5)
    for step in range(8):
        indices = train.batch_indices(N, 10, step, 0)
        optimiser.zero_grad()
        F.mse_loss(net.train()(x[indices]), y[indices]).backward()
        optimiser.step()
    trained, _ = described(schedule=None)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), trained.parameters(), strict=True))


def test_the_caller_s_gradients_are_the_ones_used_and_their_loss_the_one_told():
    """Twice the loss is twice the gradients and, in plain descent, half the rate of the same training."""

    def doubled(net, x, y):
        assert all(p.grad is None for p in net.parameters()), "none are left over"
        return train.backward(lambda output, target: 2 * F.mse_loss(output, target), net, x, y)

    plain, told = described(schedule=None)
    twice, told_twice = described(schedule=lambda done: 0.5, gradients=doubled)
    for a, b in zip(plain.parameters(), twice.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert [row["train_loss"] for row in told_twice.history] == pytest.approx(
        [2 * row["train_loss"] for row in told.history], rel=1e-5
    )
    assert not torch.allclose(described(schedule=None, gradients=doubled)[0][0].weight, plain[0].weight, atol=1e-3)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 16, 64])
def test_half_precision_gives_nearly_the_gradients_of_full_precision(depth, channels):
    layer = nn.Conv3d(channels, 64, 3, padding=1)
    x = torch.randn(8, channels, depth, 6, 6, generator=torch.Generator().manual_seed(0))
    gradients = []
    for half in (False, True):
        layer.zero_grad()
        with train.mixed_precision(torch.device("cpu"), half):
            y = layer(x)
        y.float().square().sum().backward()
        gradients.append(layer.weight.grad.clone())
    full, half = gradients
    assert 0 < float((full - half).abs().max()) or depth == 2
    assert float((full - half).abs().max()) < 0.05 * float(full.abs().max())
