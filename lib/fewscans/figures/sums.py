"""The idea of sums, shown on numbers: what sets are drawn, what their labels hold, which gradients they give.

Everything here is computed when it is shown, on untrained networks and labels at hand; nothing is read from a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

from fewscans import sets
from fewscans.figures.picture import Picture, sheet, styled
from fewscans.figures.wording import listed, markdown, number
from fewscans.nn import hydra
from fewscans.nn.regressor import BaseRegressor

BLUE, ORANGE = "#0072B2", "#E69F00"
DRAWN = 10_000
SMALL = (8, 10, 8)  # voxels of the images that gradients are compared on


def table_of_sets(labels: Sequence[float], unit: str, seed: int = 0, shown: int = 6) -> str:
    """Markdown: the first sets of an epoch, their labels, and the sum that the network is told."""
    labels = torch.from_numpy(np.array(labels, dtype=float))
    drawn = sets.epoch_sets(len(labels), len(labels), seed, epoch=0)[:shown]
    sums = sets.set_labels(labels, drawn)
    rows = []
    for nth, (members, total) in enumerate(zip(drawn.tolist(), sums.tolist(), strict=True), start=1):
        cells = ["black, 0" if i == sets.BLACK else f"scan {i + 1}, {labels[i]:.3g}" for i in members]
        rows.append([f"set {nth}", *cells, f"**{total:.3g} {unit}**".replace(" **", "**")])
    places = [f"place {k + 1}" for k in range(drawn.shape[1])]
    return markdown([f"of {len(labels)} scans", *places, "label of the set"], rows)


def distinct_table(sizes: Sequence[int] = (12, 24, 25, 30)) -> str:
    """Markdown: how many sets of up to four scans there are, and how many an epoch shows."""
    rows = [[f"{n}", f"{sets.distinct_sets(n):,}", f"{n}", f"{sets.distinct_sets(n) / n:,.0f}"] for n in sizes]
    return markdown(["training scans", "different sets of 1 to 4", "sets an epoch", "epochs to see as many"], rows)


def drawn_sets(labels: Sequence[float], p_black: float = sets.P_BLACK, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Of many sets: how many scans each holds that are not black, and its label."""
    labels = torch.from_numpy(np.array(labels, dtype=float))
    generator = torch.Generator().manual_seed(seed)
    drawn = sets.draw_sets(len(labels), DRAWN, p_black=p_black, generator=generator)
    return (drawn >= 0).sum(1).numpy(), sets.set_labels(labels, drawn).numpy()


def count_share(labels: Sequence[float], centred: bool = False, seed: int = 0) -> float:
    """Share of the variance of the sets' labels that is known from the number of scans that are not black alone."""
    labels = np.asarray(labels, dtype=float)
    count, total = drawn_sets(labels - labels.mean() if centred else labels, seed=seed)
    return float(np.corrcoef(count, total)[0, 1] ** 2)


@styled
def composition(
    labels: Mapping[str, Sequence[float]], seed: int = 0, units: Mapping[str, str] | None = None
) -> Picture:
    """How many of four are not black, drawn and expected; and, for each data set, sets' labels over that number.

    units: of the labels, by name; a count has none.
    """
    shares = {name: count_share(y, seed=seed) for name, y in labels.items()}
    told = [f"{share:.0%} ({name})" for name, share in shares.items()]
    title = f"The number of scans that are not black makes up {listed(told)} of the variance of sets' labels"
    note = f"{DRAWN:,} sets of 4, black with p = {sets.P_BLACK:g}, of all labels at hand. Dots: labels of sets, moved "
    note += "sideways at random. "
    note += "Line: their mean by number of scans."
    figure, axes = sheet(title, 1, 1 + len(labels), 3.3, note, width_ratios=[1.1, *[1] * len(labels)])
    first = axes[0, 0]
    any_labels = next(iter(labels.values()))
    count, _ = drawn_sets(any_labels, seed=seed)
    k = np.arange(sets.SIZE + 1)
    first.bar(k, np.bincount(count, minlength=sets.SIZE + 1) / len(count), color=BLUE, width=0.62, label="drawn")
    expected = stats.binom.pmf(k, sets.SIZE, 1 - sets.P_BLACK)
    first.plot(
        k, expected, linestyle="none", marker="_", markersize=17, markeredgewidth=2, color=ORANGE, label="Bin(4, 0.9)"
    )
    first.set_xticks(k)
    first.set_xlabel("not black")
    first.set_ylabel("share of the sets", fontsize=9)
    first.tick_params(labelsize=9)
    first.set_title("sets\nof four", fontsize=9.5)
    first.set_ylim(0, 1)
    first.legend(loc="upper left", fontsize=8, borderaxespad=0.1)
    for panel, (name, y) in zip(axes[0, 1:], labels.items(), strict=True):
        count, total = drawn_sets(y, seed=seed)
        some = slice(0, 1000)
        aside = np.random.default_rng(seed).uniform(-0.28, 0.28, 1000)
        panel.scatter(count[some] + aside, total[some], s=3, color=BLUE, alpha=0.25, linewidths=0)
        seen = np.unique(count)
        panel.plot(seen, [total[count == c].mean().round(4) for c in seen], color=ORANGE, linewidth=1.8)
        panel.set_xticks(k)
        panel.set_xlabel("not black")
        panel.set_title(name.replace(" ", "\n", 1), fontsize=9.5)
        panel.tick_params(labelsize=9)
        unit = (units or {}).get(name, "") or ("count" if units else "")
        panel.set_ylabel(f"label of the set ({unit})" if unit else "label of the set", fontsize=9)
    return Picture(
        figure, title, {"figure": "what sets' labels hold", "labels": {n: len(y) for n, y in labels.items()}}
    )


def centring_table(labels: Mapping[str, Sequence[float]], units: Mapping[str, str], seed: int = 0) -> str:
    """Markdown: of each data set's labels, how much of a set's label is a count, and what centring would change."""
    rows = []
    for name, y in labels.items():
        y = np.asarray(y, dtype=float)
        unit = units[name]
        rows.append([name, f"{y.mean():.3g} ± {y.std(ddof=1):.2g} {unit}", f"{count_share(y, seed=seed):.0%}",
                     f"{count_share(y, centred=True, seed=seed):.0%}", f"{y.mean():.3g} {unit}"])  # fmt: skip
    head = ["", "labels, mean ± sd", "a set's label: share that is a count of scans", "the same, centred",
            "what a black image then stands for"]  # fmt: skip
    return markdown(head, rows)


def layers_table() -> str:
    """Markdown: the base regressor, layer by layer, with its parameters."""
    net, rows = BaseRegressor(), []
    for nth, layer in enumerate(net.convolutions, start=1):
        rows.append(
            [f"convolution {nth}, 3 × 3 × 3, and ReLU", f"{layer.in_channels} → {layer.out_channels}", _count(layer)]
        )
        if nth == 2:
            rows.append(["block's input concatenated; max-pool 2 × 2 × 2", f"1 + {layer.out_channels}", "0"])
    last = net.output.in_features
    rows.append(
        [
            "block's input concatenated; global average",
            f"{last - net.convolutions[-1].out_channels} + {net.convolutions[-1].out_channels}",
            "0",
        ]
    )
    rows.append(["linear, no activation", f"{last} → 1", _count(net.output)])
    rows += [
        ["**all, alone**", "", f"**{_count(net)}**"],
        ["**all, in four branches**", "", f"**{_count(hydra.Hydra(net, 4))}**"],
    ]
    return markdown(["layer", "maps", "parameters"], rows)


def _count(layer: torch.nn.Module) -> str:
    return f"{sum(p.numel() for p in layer.parameters()):,}"


def _network(seed: int) -> BaseRegressor:
    net = BaseRegressor()
    net.reset_parameters(torch.Generator().manual_seed(seed))
    return net.double()


def _example(seed: int, n: int = 4) -> tuple[Tensor, Tensor]:
    """Images (n, 1, D, H, W) and labels (n,) about which an untrained network errs either way, in float64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 1, *SMALL, generator=generator, dtype=torch.float64)
    x = x ** torch.tensor([0.25, 1.0, 6.0, 2.0]).double()[:n, None, None, None, None]  # bright, grey, few bright voxels
    with torch.no_grad():
        return x, _network(seed)(x) + torch.tensor([1.0, -0.5, -1.5, 0.5]).double()[:n]


def _gradient(net: torch.nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in net.parameters()])


def gradients(seed: int = 0) -> dict[str, Tensor]:
    """Of one set of four images (the last black): by four branches, streamed, and of four single losses instead."""
    x, y = _example(seed)
    x[3], y[3] = 0, 0
    found = {}
    net = _network(seed)
    F.mse_loss(hydra.Hydra(net, 4)(x[None]), y.sum()[None]).backward()
    found["branched"] = _gradient(net)
    net = _network(seed)
    members = torch.tensor([[0, 1, 2, sets.BLACK]])
    hydra.streamed_step(net, lambda i: x[i], members, y.sum()[None], F.mse_loss, SMALL)
    found["streamed"] = _gradient(net)
    net = _network(seed)
    F.mse_loss(net(x), y, reduction="sum").backward()
    found["single"] = _gradient(net)
    return found


def gradients_in_words(found: Mapping[str, Tensor], seed: int = 0) -> str:
    """How far apart the two implementations are; what a loss on sums is in one update, and over all sets."""
    branched, streamed, single = (found[k] for k in ("branched", "streamed", "single"))
    apart = float((branched - streamed).abs().max() / branched.abs().max())
    cosine = float(F.cosine_similarity(branched, single, dim=0))
    return (
        f"Branched and streamed gradients differ by at most {apart:.0e} of the largest, in 64-bit arithmetic: "
        f"**{'the same' if apart < 1e-12 else 'not the same'}**.\n\n"
        "*One update*, on four images made to be told apart, with errors of either sign: the cosine of the angle "
        f"between the gradient of (Σ f − Σ y)² and that of four single squares, Σ (f − y)², is {number(cosine, 3)}. "
        "An update goes another way, then; it hears one number, where a batch of four hears four.\n\n"
        f"{over_all_sets(seed)}"
    )


def expected_square(errors: np.ndarray, size: int = sets.SIZE) -> tuple[float, float]:
    """What the squared sum of errors is on average over all sets of `size`, none black: two parts to be added.

    With m scans, n to a set and errors e: n mean(e²) (1 − (n − 1) / (m − 1)) + n (n − 1) m / (m − 1) mean(e)². Two
    scans of a set drawn without replacement are each of the m (m − 1) pairs as often, and Σ over pairs of e e' is
    m² mean(e)² − m mean(e²).   errors: (m,), m > 1.
    """
    m, n = len(errors), size
    single = n * np.mean(errors**2) * (1 - (n - 1) / (m - 1))
    return float(single), float(n * (n - 1) * m / (m - 1) * np.mean(errors) ** 2)


def over_all_sets(seed: int = 0, n_images: int = 25) -> str:
    """The identity of `expected_square`, seen on drawn sets; and what sets' gradients are on average; in words."""
    generator = torch.Generator().manual_seed(seed)
    drawn = sets.draw_sets(n_images, DRAWN, p_black=0.0, generator=generator)
    x = torch.rand(n_images, 1, *SMALL, generator=generator, dtype=torch.float64)
    net = _network(seed)
    errors = torch.randn(n_images, generator=generator, dtype=torch.float64) + 0.1
    rows = []
    for image in x:
        net.zero_grad()
        net(image[None]).sum().backward()
        rows.append(_gradient(net).clone())
    of_each = torch.stack(rows)  # (m, P): how the answer to each image moves with the weights
    of_sets = errors[drawn].sum(1)
    found, (single, common) = float((of_sets**2).mean()), expected_square(errors.numpy())
    m, n = n_images, sets.SIZE
    squares = 2 * errors @ of_each / m
    penalty = 2 * errors.mean() * of_each.mean(0)
    predicted = n * (1 - (n - 1) / (m - 1)) * squares + n * (n - 1) * m / (m - 1) * penalty
    weight = torch.zeros(m, dtype=torch.float64).index_add_(0, drawn.flatten(), of_sets.repeat_interleave(n))
    mean = 2 * weight @ of_each / DRAWN
    alike = float(F.cosine_similarity(mean, predicted, dim=0))
    return (
        f"*Over all sets*, an epoch asks for something familiar. Of {n} scans among {m}, none black, (Σ e)² is on "
        f"average {n} · mean(e²) · (1 − {n - 1}/{m - 1}) + {n * (n - 1)} · {m}/{m - 1} · mean(e)²: the ordinary mean "
        f"squared error, and a penalty on the mean error. For {m} random errors that is {number(single, 3)} + "
        f"{number(common, 3)} = {number(single + common, 3)}; in {DRAWN:,} drawn sets it comes to {number(found, 3)}. "
        f"Their gradients, averaged, have a cosine of {number(alike, 4)} with that of those two terms. So sums bring "
        "no new thing to learn: the usual loss, with more weight on being right on average, and one noisy number an "
        "update instead of four."
    )


def single_errors(seed: int = 0) -> str:
    """Markdown: two scans that are wrong in opposite directions: what each loss makes of them."""
    rows = []
    for wrong in ((1.0, 1.0), (1.0, -1.0), (1.0, 0.0)):
        a, b = wrong
        rows.append([f"{a:+g}, {b:+g}".replace("-", "−"), f"{a * a + b * b:g}", f"{(a + b) ** 2:g}",
                     f"{2 * a:+g}, {2 * b:+g}".replace("-", "−"), f"{2 * (a + b):+g}, {2 * (a + b):+g}"])  # fmt: skip
    head = [
        "errors of two scans",
        "sum of squares",
        "square of the sum",
        "slopes: each its own",
        "slopes: the set's, for both",
    ]
    return markdown(head, rows)


def inferences_in_words(seed: int = 0) -> str:
    """The two ways to ask one network of sums for a single scan, on an untrained network."""
    net = _network(seed)
    with torch.no_grad():
        net.output.bias.fill_(0.1)  # training moves it; here by hand
    x, _ = _example(seed, 1)
    alone, with_black, f0 = (
        float(v) for v in (hydra.single(net, x), hydra.with_black(net, x, 4), hydra.at_black(net, SMALL))
    )
    return (
        f"One untrained network with an output bias of 0.1, one scan: alone it says {number(alone)}, with three black "
        f"images beside it {number(with_black)}. The difference, {number(with_black - alone)}, is 3 · f(0), with "
        f"f(0) = {number(f0)}."
    )
