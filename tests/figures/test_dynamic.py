"""Pictures of dynamic layers follow an image's turn, and tables of results are drawn as far as they are there."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fewscans import results
from fewscans.figures import dynamic
from fewscans.nn.dynamic import DynamicGroupConv
from fewscans.nn.gconv import act_on_image
from fewscans.results import Results

from .worlds import world

pytestmark = pytest.mark.usefixtures("one_thread")
ALL = (*dynamic.NETS, *dynamic.RIVALS, "centre")


def of(arms, attention: bool = True, real: bool = True) -> Results:
    """A made-up run of the dynamic experiment, in which mixing helps; arms without a network are not recorded."""
    found = world(arms=arms, real=real, strength=lambda arm, n: 0.3 * np.log10(n) + 0.6 * arm.startswith("dynamic"))
    records = [r for r in found.records if r["arm"] != "centre"]
    for record in records:
        if attention and record["arm"].startswith("dynamic"):
            record["attention"] = [{"entropy": 0.9 - 0.1 * k, "spread": 0.01 * record["n_train"]} for k in range(5)]
    about = found.about | {"experiment": "dynamic"}
    return Results(found.predictions, found.history, records, about, published=True, n_bootstrap=100)


def test_layers_of_both_attentions_follow_every_turn_and_mirror_image():
    worst = dynamic.errors(dynamic.stripes())
    assert list(worst.index) == ["invariant", "equivariant"] and worst.to_numpy().max() < 1e-5


def test_the_error_sees_a_layer_that_does_not_follow(monkeypatch):
    attend = DynamicGroupConv.attend

    def by_place(layer, x):
        """Weights that depend on what stands in one corner: they do not turn with the image."""
        return attend(layer, x * torch.linspace(0, 3, x.shape[-1]))

    monkeypatch.setattr(DynamicGroupConv, "attend", by_place)
    assert dynamic.errors(dynamic.stripes()).to_numpy().min() > 1e-4, "ten times what a layer is allowed"


def test_invariant_weights_stay_and_equivariant_ones_move_when_the_image_turns():
    lift, made = dynamic.layers()
    image = dynamic.stripes()
    turned = act_on_image(dynamic.P4M, dynamic.TURN, image)
    with torch.no_grad():
        before, after = ({kind: made[kind].attend(lift(x))[0] for kind in made} for x in (image, turned))
    assert torch.allclose(before["invariant"], after["invariant"], atol=1e-6)
    moved = (before["equivariant"] - after["equivariant"]).abs().max()
    assert moved > 1e-3, "a picture of weights that stay shows nothing"
    for a, b in zip(before["equivariant"], after["equivariant"], strict=True):
        assert torch.allclose(a.sort().values, b.sort().values, atol=1e-5), "the same weights in another order"


def test_the_picture_of_attention_shows_the_image_and_the_turned_one():
    axes = dynamic.attention(dynamic.stripes(), "Weights").figure.axes
    images = [a.images[0].get_array() for a in axes if a.images and a.images[0].get_array().shape == (48, 48)]
    assert len(images) == 2
    assert any(np.allclose(images[1], np.rot90(images[0], k), atol=1e-6) for k in (1, 3))


def test_attention_is_told_of_records_that_have_it_by_layer():
    table = dynamic.seen(of(("p4m", "dynamic")))
    assert set(table["arm"]) == {"dynamic"} and list(table["layer"][:5]) == list(dynamic.LAYERS)
    assert len(table) == 3 * 3 * 5
    assert dynamic.seen(of(("p4m",))).empty and dynamic.evenness(of(("p4m", "dynamic"), attention=False)) is None


def test_attention_is_drawn_at_the_largest_size_that_most_arms_have_and_says_which():
    picture = dynamic.evenness(of(("p4m", "dynamic", "dynamic-noise")))
    entropy, spread = picture.figure.axes
    assert len(entropy.get_lines()) == 2
    assert np.allclose(entropy.get_lines()[0].get_ydata(), [0.9, 0.8, 0.7, 0.6, 0.5])
    assert np.allclose(spread.get_lines()[0].get_ydata(), 3.0), "0.01 a patch, at 300 patches"
    labels = [text.get_text() for text in picture.figure.legends[0].get_texts()]
    assert len(labels) == 2 and "N = 300," in picture.title
    run = of(("p4m", "dynamic", "dynamic-noise"))
    fewer = [r for r in run.records if (r["arm"], r["n_train"]) != ("dynamic-noise", 300)]
    picture = dynamic.evenness(Results(run.predictions, run.history, fewer, run.about, n_bootstrap=100))
    assert len(picture.figure.axes[0].get_lines()) == 2 and "N = 100," in picture.title


@pytest.mark.parametrize(
    ("arms", "attention", "names"),
    [
        (ALL, True, {"dynamic_learning_curves", "dynamic_gains", "dynamic_attention"}),
        (("p4m", "dynamic", "dynamic-noise"), True, {"dynamic_learning_curves", "dynamic_gains", "dynamic_attention"}),
        (("Z2", "p4m", "dynamic"), False, {"dynamic_learning_curves", "dynamic_gains"}),
        (("Z2", "p4m", "centre"), False, {"dynamic_learning_curves"}),
        (("Z2", "dynamic"), False, {"dynamic_learning_curves"}),
    ],
)
def test_figures_are_drawn_as_far_as_the_tables_have_them(arms, attention, names, tmp_path):
    drawn = dynamic.figures(of(arms, attention))
    assert set(drawn) == names
    for name, picture in drawn.items():
        picture.save(tmp_path / f"{name}.png")
        assert "luna16-patches" in "".join(map(str, Image.open(tmp_path / f"{name}.png").text.values()))


def test_gains_are_of_dynamic_networks_alone_over_the_static_one():
    picture = dynamic.figures(of(ALL))["dynamic_gains"]
    labels = {text.get_text() for legend in picture.figure.legends for text in legend.get_texts()}
    assert labels == {dynamic_label for dynamic_label in map(label, dynamic.NETS[2:])}


def label(arm: str) -> str:
    return of(("p4m",)).arm(arm).label


def test_nothing_is_kept_before_anything_is_published(monkeypatch):
    monkeypatch.setattr(results, "published", lambda *_: None)
    assert dynamic.kept() == {}
    monkeypatch.setattr(results, "published", lambda *_: of(("p4m", "dynamic")))
    assert set(dynamic.kept()) == {"dynamic_learning_curves", "dynamic_gains", "dynamic_attention"}


def test_attention_of_one_seed_and_one_arm_is_a_line_without_a_band():
    run = of(("p4m", "dynamic"))
    one = [r for r in run.records if r["seed"] == 0 and r["n_train"] == 30]
    picture = dynamic.evenness(Results(run.predictions, run.history, one, run.about, n_bootstrap=100))
    assert isinstance(dynamic.seen(run), pd.DataFrame) and len(picture.figure.axes[0].get_lines()) == 1
