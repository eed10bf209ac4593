"""What Camelyon16's networks are taught: patches labelled by their centre, drawn in balance, turned and coloured."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fewscans.experiments import camelyon16
from fewscans.experiments.camelyon16.arms import ARMS, SMALL
from fewscans.slides import patches
from fewscans.slides.cells import NORMAL, NOTHING, TUMOUR
from fewscans.slides.heatmap import Geometry, heatmap, scaled, turned

from ..slides.fake import FakeSlide
from . import toy_slides
from .toy_slides import N, trained


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    return toy_slides.read(tmp_path_factory.mktemp("toy"))


# What is taught


def source_of(slides, spec, index, seed=0, geometry=None):
    return patches.Source(slides, index, camelyon16._taught(spec, slides, index, seed), geometry or slides.geometry,
                          spec.balanced)  # fmt: skip


@pytest.mark.parametrize("jitter", [False, True])
def test_a_patch_is_labelled_by_its_centre(slides, monkeypatch, jitter):
    """On slides that show nothing but where the tumour is."""

    def shown(cases, i, *_):
        return FakeSlide(np.repeat(toy_slides.tumour(str(cases.case[i]))[..., None] * np.uint8(255), 3, axis=2))

    monkeypatch.setattr(patches, "open_case", shown)
    source = source_of(slides, ARMS[SMALL], slides.indices("train"))
    (cut,), labels = source.draw(400, np.random.default_rng(0), jitter)
    near, far = (cut[:, 0, 12 - by : 28 + by, 12 - by : 28 + by].amax((1, 2)) > 0 for by in (-jitter, jitter))
    assert cut.shape == (400, 3, 40, 40) and (far[labels == 1]).all() and not near[labels == 0].any()
    assert cut[labels == 0, 0].amax((1, 2)).bool().any(), "beside the centre there may be some"


def test_patches_of_training_are_those_of_the_sweep(slides):
    geometry = Geometry(40, 16, (0, 1))
    index = slides.indices("train")[:1]
    with patches.open_case(slides, index[0]) as slide:
        cells = slides.cells[index[0]] != NOTHING
        asked = []
        heatmap(slide, _Keeps(asked), geometry, cells, dense=False)
    source = source_of(slides, ARMS["40x20x-small"], index, geometry=geometry)
    cut = source.cut([(index[0], row, column, 0, 0) for row, column in np.argwhere(cells)[: len(asked[0])]])
    source.close()
    assert all(torch.equal(scaled(one), other) for one, other in zip(cut, asked, strict=True))


class _Keeps(torch.nn.Module):
    """Keeps the first patches that it is asked about."""

    def __init__(self, asked):
        super().__init__()
        self.asked = asked

    def forward(self, *levels):
        self.asked += [] if self.asked else levels
        return torch.zeros(len(levels[0]))


UNEVEN = {  # slide → cells of normal tissue, of tumour
    0: (600, 0), 1: (20, 0), 2: (20, 200), 3: (10, 4),
}  # fmt: skip


def drawn(balanced, monkeypatch, n=6000):
    """(n, 3) slide, cell and label of patches of slides that differ much in size."""
    monkeypatch.setattr(patches, "open_case", lambda *_: None)
    labels = [np.repeat([NORMAL, TUMOUR, NOTHING], [*counts, 50])[None] for counts in UNEVEN.values()]
    source = patches.Source(SimpleNamespace(), list(UNEVEN), labels, Geometry(40, 16), balanced)
    monkeypatch.setattr(source, "cut", lambda places: places)
    places, label = source.draw(n, np.random.default_rng(0), jitter=False)
    assert all(labels[i][0, column] == k for (i, _, column, *_), k in zip(places, label, strict=True))
    return np.column_stack([[place[0] for place in places], [place[2] for place in places], label])


def test_tumour_or_normal_is_drawn_with_equal_chance_then_slides_then_cells(monkeypatch):
    table = drawn(True, monkeypatch)
    assert table[:, 2].mean() == pytest.approx(0.5, abs=0.02)
    for label, chance in ((NORMAL, [0.25, 0.25, 0.25, 0.25]), (TUMOUR, [0, 0, 0.5, 0.5])):
        of_label = table[table[:, 2] == label]
        share = np.bincount(of_label[:, 0].astype(int), minlength=4) / len(of_label)
        assert share == pytest.approx(chance, abs=0.03)
    cells = np.bincount(table[(table[:, 0] == 3) & (table[:, 2] == TUMOUR), 1].astype(int))[10:]
    assert len(cells) == 4 and cells / cells.sum() == pytest.approx([0.25] * 4, abs=0.05)


def test_the_naive_sampling_draws_every_cell_with_equal_chance(monkeypatch):
    table, total = drawn(False, monkeypatch), sum(map(sum, UNEVEN.values()))
    assert table[:, 2].mean() == pytest.approx(204 / total, abs=0.02)
    share = np.bincount(table[:, 0].astype(int)) / len(table)
    assert share == pytest.approx([sum(counts) / total for counts in UNEVEN.values()], abs=0.02)


def test_a_slide_whose_tumour_is_not_outlined_throughout_teaches_no_normal_tissue(slides):
    index = np.flatnonzero(slides.target == 1)[:3]
    exhaustive = np.ones(len(slides), bool)
    exhaustive[index[1]] = False
    data = replace(slides, about=slides.about.assign(exhaustive=exhaustive))
    for place, cells in enumerate(camelyon16._taught(ARMS[SMALL], data, index, 0)):
        assert (cells == TUMOUR).any() and (cells == NORMAL).any() == (place != 1)


def asked_sources(arm, data, monkeypatch):
    """What an arm's network is taught, and what validates it: the labels of two sources."""
    labels, real = [], patches.Source

    def source(slides, index, taught, *rest):
        labels.append(dict(zip(index.tolist(), taught, strict=True)))
        return real(slides, index, taught, *rest)

    monkeypatch.setattr(patches, "Source", source)
    trained(arm, data)
    monkeypatch.undo()
    return labels


def test_two_mislabelled_slides_teach_no_tumour_and_validation_is_left_alone(slides, monkeypatch):
    few = toy_slides.few(slides)
    taught, held = asked_sources(f"{SMALL}-mislabelled", few, monkeypatch)
    plain, held_too = asked_sources(SMALL, few, monkeypatch)
    wrong = [i for i in taught if not np.array_equal(taught[i], plain[i])]
    assert len(taught) == N and len(wrong) == 2
    for i in wrong:
        assert few.target[i] == 1 and not (taught[i] == TUMOUR).any()
        assert ((taught[i] == NORMAL) == (few.cells[i] != NOTHING)).all()
    assert all(np.array_equal(held[i], held_too[i]) for i in held) and (held[next(iter(held))] != TUMOUR).any()
    assert any((cells == TUMOUR).any() for cells in held.values())


def test_shuffled_patches_carry_the_labels_of_slides_permuted(slides):
    index, orders = slides.indices("train"), set()
    for seed in range(8):
        of_slides = []
        for i, cells in zip(index, camelyon16._taught(ARMS[f"{SMALL}-shuffled"], slides, index, seed), strict=True):
            assert ((cells == NOTHING) == (slides.cells[i] == NOTHING)).all()
            (label,) = np.unique(cells[cells != NOTHING])
            of_slides.append(int(label))
        assert sorted(of_slides) == sorted(slides.target[index])
        orders.add(tuple(of_slides))
    assert len(orders) > 4


# Augmentation


def some_patches(n=64):
    return torch.randint(0, 256, (n, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_augmentation_depends_on_its_generator_alone_and_treats_all_levels_alike():
    x = some_patches()
    first, again, other = (patches.augmented([x, x], torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first[0], again[0]) and torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])
    assert first[0].min() == -1 and first[0].max() == 1 and first[0].dtype == torch.float32


def test_each_of_eight_orientations_occurs_and_neutral_colours_are_left_alone(monkeypatch):
    x = some_patches()
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.full(shape, 0.5))
    (made,) = patches.augmented([x], torch.Generator().manual_seed(0))
    copies = torch.stack([scaled(turned(x, k)) for k in range(8)])  # (8, B, 3, P, P)
    same = (copies - made).abs().amax((2, 3, 4)) < 1e-5
    assert (same.sum(0) == 1).all() and same.any(1).all()
    monkeypatch.setattr(torch, "randint", lambda *_, generator: torch.zeros(len(x), dtype=torch.int64))
    (plain,) = patches.augmented([x], torch.Generator().manual_seed(0))
    torch.testing.assert_close(plain, scaled(x), atol=1e-5, rtol=0)


def test_hue_and_saturation_keep_grey_values_and_change_nothing_when_neutral():
    x = some_patches().float() / 255
    one, none = torch.ones(64, 1, 1, 1), torch.zeros(64, 1, 1, 1)
    torch.testing.assert_close(patches.coloured(x, one, none), x)
    turned_round = patches.coloured(x, one, one)
    torch.testing.assert_close(turned_round, x, atol=1e-5, rtol=0)
    grey = torch.tensor(patches.GREYS)[:, None, None]
    for saturation, hue in ((1.25 * one, none), (0.75 * one, 0.04 * one), (one, -0.04 * one)):
        made = patches.coloured(x, saturation, hue)
        assert (made - x).abs().max() > 0.01
        torch.testing.assert_close((made * grey).sum(1), (x * grey).sum(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(patches.coloured(x, none, none), (x * grey).sum(1, keepdim=True).expand_as(x))
