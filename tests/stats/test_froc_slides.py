"""CAMELYON16's rule against the steps of its script and MONAI's port, and the same score from a prediction table."""

import math

import numpy as np
import pandas as pd
import pytest

from fewscans.data.formats import lesions
from fewscans.stats.froc import RATES, SLIDE_RATES, FrocCurve, Marks, camelyon16_froc, sensitivities
from fewscans.stats.reference import Reference
from fewscans.stats.resample import Resampled
from fewscans.stats.scores import score

from .asked import score_interval

COLUMNS = ["probability", "x", "y"]
MICRONS = 0.243


def table(*rows):
    return pd.DataFrame(list(rows), columns=COLUMNS)


def at(row, column, probability, level=5):
    """A detection in the middle of a pixel of the mask."""
    return probability, (column + 0.5) * 2**level, (row + 0.5) * 2**level


def blank(height=60, width=90):
    return np.zeros((height, width), np.uint8)


def lesion(*boxes, mask=None):
    """A mask with rectangles (row, column, height, width) of tumour; of 40 x 40 pixels they are no ITC."""
    mask = blank() if mask is None else mask
    for row, column, height, width in boxes:
        mask[row : row + height, column : column + width] = 255
    return mask


def world(seed, n_slides=7, levels=1024):
    """Slides with some lesions and ITC each, without any, without a mask; detections in and around them, with ties."""
    rng = np.random.default_rng(seed)
    masks, detections = {}, {}
    for i in range(n_slides):
        mask = blank(*rng.integers(60, 140, 2))
        for _ in range(rng.choice([0, 1, 4]) if i else 2):
            row, column = rng.integers(0, np.array(mask.shape) - 5)
            side = rng.choice([2, 8, 20, 45]) if i else 45
            lesion((row, column, side, rng.integers(1, side + 1) if i else 45), mask=mask)
        n = rng.integers(0, 25)
        places = rng.integers(0, np.array(mask.shape)[:, None], (2, n)) + rng.random((2, n))
        inside = np.argwhere(mask)
        if len(inside) and n:
            near = rng.random(n) < 0.5
            places[:, near] = inside[rng.integers(len(inside), size=near.sum())].T + 0.25
        y, x = places * 32
        p = rng.integers(0, levels, n) / levels
        detections[f"test_{i:03d}"] = pd.DataFrame({"probability": p, "x": x.round(2), "y": y.round(2)})
        masks[f"test_{i:03d}"] = mask if mask.any() or rng.random() < 0.5 else None
    return masks, detections


# ---- the steps of the script


def labelled(mask):
    """Labels and the list of ITC of a level-5 mask."""
    from scipy import ndimage
    from skimage import measure

    if mask is None or not mask.any():
        return np.zeros((150, 150), int), []
    grown = ndimage.distance_transform_edt(255 - mask) < 75 / (MICRONS * 2**5 * 2)
    labels = measure.label(ndimage.binary_fill_holes(grown), connectivity=2)
    itc = [r.label for r in measure.regionprops(labels) if r.axis_major_length < 275 / (MICRONS * 2**5)]
    return labels, itc


def steps(masks, detections, negative=False):
    """The script's lists: probabilities of false positives, of lesions (0: ITC, or missed), number of lesions."""
    false, true, n_lesions = [], [], 0
    for slide, mask in masks.items():
        labels, itc = labelled(mask)
        best = dict.fromkeys(range(1, labels.max() + 1), 0.0)
        n_lesions += len(best) - len(itc)
        for probability, x, y in detections[slide].itertuples(index=False):
            hit = labels[int(y / 2**5), int(x / 2**5)]
            if hit == 0:
                false += [] if negative and best else [probability]
            elif hit not in itc:
                best[hit] = max(best[hit], probability)
        true += best.values()
    return np.array(false), np.array(true), n_lesions


def points(false, true, n_lesions, n_slides):
    """The script's points, highest threshold first: (0, 0), then each probability but the lowest."""
    thresholds = sorted({*false, *true}, reverse=True)[:-1]
    x = [0, *(np.sum(false >= t) / n_slides for t in thresholds)]
    return np.array(x), np.array([0, *(np.sum(true >= t) / n_lesions for t in thresholds)])


def same_points(curve, x, y, zero):
    """Ours are the script's points in its order. Without a 0 among its probabilities we have one more, the last."""
    n = len(x)
    assert len(curve.sensitivity) == n + (not zero)
    np.testing.assert_array_equal(curve.false_positives[:n], x)
    np.testing.assert_array_equal(curve.sensitivity[:n], y)


@pytest.mark.parametrize("levels", [1024, 6])
@pytest.mark.parametrize("seed", range(25))
def test_the_curve_is_that_of_the_scripts_steps(seed, levels):
    masks, detections = world(seed, levels=levels)
    for per in ("slide", "negative slide"):
        false, true, n_lesions = steps(masks, detections, per == "negative slide")
        n_slides = len(masks) if per == "slide" else sum(m is None or not m.any() for m in masks.values())
        if not n_slides:
            with pytest.raises(ValueError, match="none of the 7 scans is negative"):
                camelyon16_froc(masks, detections, per)
            continue
        curve = camelyon16_froc(masks, detections, per)
        x, y = points(false, true, n_lesions, n_slides)
        same_points(curve, x, y, 0 in [*false, *true])
        if 0 in [*false, *true]:
            assert curve.score() == pytest.approx(np.interp(SLIDE_RATES, x, y).mean(), abs=1e-12)


@pytest.mark.parametrize("seed", range(25))
def test_the_curve_and_the_score_are_monais(seed):
    """MONAI lists thresholds upwards and ends with (0, 0): its points are reversed. Its lists come from its own rule of
    what a detection hits, with labels by the script's steps. k / 1024 is the same number in single precision.
    """
    from monai.metrics.froc import compute_fp_tp_probs, compute_froc_curve_data, compute_froc_score

    masks, detections = world(seed)
    lists = []
    for slide, mask in masks.items():
        labels, itc = labelled(mask)
        p, x, y = (detections[slide][column].to_numpy() for column in COLUMNS)
        lists.append(compute_fp_tp_probs(p, y, x, labels, itc, 5))
    false, true = (np.concatenate([part[i] for part in lists]) for i in (0, 1))
    x, y = compute_froc_curve_data(false, true, sum(n for _, _, n in lists), len(masks))
    zero = 0 in false or 0 in true
    curve = camelyon16_froc(masks, detections)
    same_points(curve, x[::-1], y[::-1], zero)
    if zero:
        assert curve.score() == pytest.approx(compute_froc_score(x, y), abs=1e-12)


def test_the_random_slides_hold_what_is_hard():
    held = dict.fromkeys(("itc", "hit itc", "second hit", "missed", "tie", "no mask", "empty", "only itc"), 0)
    for seed in range(25):
        masks, detections = world(seed)
        held["tie"] += pd.concat(detections.values())["probability"].duplicated().any()
        for slide, mask in masks.items():
            labels, itc = labelled(mask)
            frame = detections[slide]
            hits = labels[(frame["y"] // 32).astype(int), (frame["x"] // 32).astype(int)]
            held["itc"] += len(itc) > 0
            held["only itc"] += len(itc) == labels.max() > 0
            held["hit itc"] += np.isin(hits, itc).any()
            held["second hit"] += len(set(hits[hits > 0])) < (hits > 0).sum()
            held["missed"] += len(set(hits[hits > 0])) < labels.max()
            held["no mask"] += mask is None
            held["empty"] += frame.empty
    assert min(held.values()) >= 5, held
    probabilities = [pd.concat(world(seed, levels=6)[1].values())["probability"] for seed in range(25)]
    assert sum((p == 0).any() for p in probabilities) >= 5


# ---- worked examples


def test_a_detection_is_the_pixel_that_it_lies_in():
    masks = {"a": lesion((10, 20, 40, 40))}
    labels = lesions.label(masks["a"], MICRONS * 32).labels
    row, column = np.argwhere(labels)[0]
    for y, found in ((row * 32, 1.0), (row * 32 - 0.5, 0.0), (row * 32 + 31.9, 1.0)):
        assert camelyon16_froc(masks, {"a": table((0.5, column * 32, y))}).sensitivity[-1] == found


def test_several_hits_find_a_lesion_once_at_the_highest_probability():
    hits = table(at(30, 30, 0.2), at(40, 40, 0.7), at(30, 40, 0.4), at(2, 85, 0.6))
    curve = camelyon16_froc({"a": lesion((10, 20, 40, 40))}, {"a": hits})
    assert curve.thresholds.tolist() == [math.inf, 0.7, 0.6]
    assert curve.sensitivity.tolist() == [0, 1, 1] and curve.false_positives.tolist() == [0, 0, 1]


def test_isolated_cells_are_neither_found_nor_missed_and_detections_there_are_ignored():
    masks = {"a": lesion((10, 5, 40, 40), (30, 75, 3, 3))}
    curve = camelyon16_froc(masks, {"a": table(at(30, 20, 0.5), at(31, 76, 0.9))})
    assert curve.thresholds.tolist() == [math.inf, 0.5] and curve.marks.nodules.tolist() == [1]
    assert curve.sensitivity.tolist() == [0, 1] and curve.false_positives.tolist() == [0, 0]


def test_lesions_closer_than_75_micrometres_are_found_together():
    for gap, sensitivity in ((8, 1.0), (9, 0.5)):  # 9 and 10 pixels from the last of one to the first of the other
        masks = {"a": lesion((5, 0, 50, 38), (5, 38 + gap, 50, 38))}
        assert camelyon16_froc(masks, {"a": table(at(20, 10, 0.5))}).sensitivity[-1] == sensitivity


def test_a_detection_in_a_hole_finds_the_lesion_around_it():
    ring = lesion((5, 5, 50, 50))
    ring[20:40, 20:40] = 0
    assert camelyon16_froc({"a": ring}, {"a": table(at(30, 30, 0.5))}).sensitivity[-1] == 1


def test_false_positives_of_all_slides_count_or_those_of_negative_ones():
    masks = {"a": lesion((10, 20, 40, 40)), "b": None, "c": blank(), "d": lesion((5, 5, 3, 3))}
    wrong = [at(1, 1, 0.5)]
    detections = {
        "a": table(at(30, 30, 0.4), *wrong),
        "b": table(*wrong * 2),
        "c": table(*wrong),
        "d": table(*wrong * 9),
    }
    assert camelyon16_froc(masks, detections).false_positives[-1] == 13 / 4
    curve = camelyon16_froc(masks, detections, per="negative slide")
    assert curve.false_positives.tolist() == [0, 3 / 2, 3 / 2] and curve.sensitivity.tolist() == [0, 0, 1]
    assert curve.marks.counted.tolist() == [False, True, True, False]  # isolated cells make no negative slide


def test_without_detections_nothing_is_found_and_slides_still_divide():
    masks = {"a": lesion((10, 20, 40, 40)), "b": None, "c": blank()}
    curve = camelyon16_froc(masks, dict.fromkeys("abc", table()))
    assert curve.score() == 0 and curve.sensitivity.tolist() == [0]
    some = {"a": table(), "b": table(), "c": table(at(1, 1, 0.5))}
    assert camelyon16_froc(masks, some).false_positives.tolist() == [0, 1 / 3]


def test_the_lowest_point_is_kept_where_the_script_drops_it():
    """All lesions found and no isolated cells: its list has no 0, so the point of the lowest probability goes."""
    masks, detections = {"a": lesion((10, 20, 40, 40))}, {"a": table(at(30, 30, 0.1), at(1, 1, 0.9))}
    x, y = points(*steps(masks, detections), 1)
    assert y.tolist() == [0, 0]
    curve = camelyon16_froc(masks, detections)
    assert curve.sensitivity.tolist() == [0, 0, 1] and curve.score(1) == 1


def test_the_six_rates_are_the_default_and_others_can_be_asked_for():
    assert SLIDE_RATES == (0.25, 0.5, 1, 2, 4, 8)
    curve = camelyon16_froc(*world(1, n_slides=20))
    assert curve.score() == curve.score(SLIDE_RATES) == np.mean([curve.score(rate) for rate in SLIDE_RATES])
    assert curve.score() != curve.score(RATES)
    assert curve.interval().value == curve.score() and curve.interval(8).value == curve.score(8)
    assert FrocCurve.of(curve.marks).score() == curve.score(RATES)


def test_another_level_and_pixel_size_scale_the_lesions():
    """A mask of half the pixels a side at twice the size: the same detections find the same lesions."""
    masks, detections = world(2)
    whole = {slide: None if m is None else m.repeat(2, axis=0).repeat(2, axis=1) for slide, m in masks.items()}
    twice = {slide: frame.assign(x=2 * frame["x"], y=2 * frame["y"]) for slide, frame in detections.items()}
    one = camelyon16_froc(whole, detections, level=4)
    other = camelyon16_froc(whole, twice, level=5, microns_per_pixel=MICRONS / 2)
    np.testing.assert_array_equal(one.sensitivity, other.sensitivity)
    np.testing.assert_array_equal(one.false_positives, other.false_positives)


# ---- resamples


@pytest.mark.parametrize("per", ["slide", "negative slide"])
@pytest.mark.parametrize("seed", range(6))
def test_weighing_slides_equals_copying_them(seed, per):
    masks, detections = world(seed)
    masks["test_006"], masks["test_005"] = None, blank(150, 150)
    curve = camelyon16_froc(masks, detections, per)
    weights = np.random.default_rng(seed).multinomial(7, np.full(7, 1 / 7), size=25).astype(float)
    weights = weights[(weights @ curve.marks.nodules > 0) & (weights @ curve.marks.counted > 0)]
    assert len(weights) > 10
    for row, values in zip(weights, sensitivities(curve.marks, weights, SLIDE_RATES), strict=True):
        copies = {f"{slide}#{k}": slide for slide, w in zip(masks, row, strict=True) for k in range(int(w))}
        drawn = ({copy: of[slide] for copy, slide in copies.items()} for of in (masks, detections))
        resample = camelyon16_froc(*drawn, per)
        np.testing.assert_allclose(values, [resample.score(rate) for rate in SLIDE_RATES], atol=1e-12)


def test_an_interval_per_negative_slide_needs_negative_slides_in_the_resamples():
    n = 30
    found = np.tile([True, False], n)
    marks = (np.random.default_rng(0).random(2 * n), found, np.repeat(np.arange(n), 2), np.arange(n) % 2)
    curve = FrocCurve.of(Marks.ranked(*marks, counted=marks[-1] == 0), SLIDE_RATES)
    interval = curve.interval(n_bootstrap=200)
    assert interval.low <= curve.score() <= interval.high
    few = FrocCurve.of(Marks.ranked(*marks, counted=np.arange(n) == 0))
    with pytest.raises(ValueError, match="of the resamples of 30 scans hold a nodule and a negative scan"):
        few.interval()


# ---- the score from a prediction table


def tables(masks, detections, slots=30):
    """Predictions of one seed and the reference: a case per lesion and isolated cells, and slots for false alarms."""
    cases, reference = [], []
    for slide, mask in masks.items():
        frame = detections[slide].sort_values("probability", ascending=False)
        labels, itc = labelled(mask)
        hit = labels[(frame["y"] // 32).astype(int), (frame["x"] // 32).astype(int)]
        reference.append(("scan", slide, "", "", np.nan))
        for k in range(1, labels.max() + 1):
            name = f"{slide}/{k}"
            cases.append((name, slide, frame["probability"][hit == k].max() if (hit == k).any() else 0.0))
            if k in itc:
                reference.append(("excluded", slide, "", name, np.nan))
            else:
                reference += [("nodule", slide, name, "", np.nan), ("hit", slide, name, name, np.nan)]
        false = frame["probability"][hit == 0].to_numpy()
        cases += [(f"{slide}/f{k}", slide, p) for k, p in enumerate([*false, *[0.0] * (slots - len(false))])]
    predictions = pd.DataFrame(cases, columns=["case", "group", "prediction"])
    run = {"arm": "a", "n_train": 9, "seed": 0, "split": "test-lesions", "target": 0.0}
    return predictions.assign(**run), pd.DataFrame(reference, columns=["kind", "scan", "nodule", "case", "malignant"])


@pytest.mark.parametrize("seed", range(15))
def test_the_score_of_a_table_is_that_of_the_coordinates(seed):
    masks, detections = world(seed, levels=20)
    masks["test_006"] = None
    predictions, reference = tables(masks, detections)
    for name, per, rates in (
        ("lesion_froc", "slide", None), ("lesion_froc@8", "slide", 8), ("lesion_froc@0.5", "slide", 0.5),
        ("lesion_froc:negative", "negative slide", None), ("lesion_froc:negative@8", "negative slide", 8),
    ):  # fmt: skip
        made = Resampled(predictions, name, n_bootstrap=100, rng=seed, reference=reference)
        curve = camelyon16_froc(masks, detections, per)
        assert made.values("a", 9)[0] == pytest.approx(curve.score(rates), abs=1e-12)
        bound = made.score.bind(made.cell("a", 9), Reference.of(reference))
        weights = np.random.default_rng(seed).multinomial(7, np.full(7, 1 / 7), size=50).astype(float)
        weights = weights[bound.usable(weights)]
        assert (weights @ curve.marks.counted > 0).all()
        expected = sensitivities(curve.marks, weights, curve.rates if rates is None else rates).mean(axis=1)
        prediction = made.cell("a", 9).prediction[0]
        np.testing.assert_allclose(bound.resample(prediction, weights), expected, atol=1e-12)


def test_a_prediction_of_zero_is_no_detection_as_it_would_be_in_froc():
    masks = {"a": lesion((5, 0, 45, 35), (5, 50, 45, 35)), "b": None}
    detections = {"a": table(at(20, 10, 0.5)), "b": table(at(1, 1, 0.7))}
    for slots in (1, 40):
        predictions, reference = tables(masks, detections, slots)
        assert Resampled(predictions, "lesion_froc@100", reference=reference).values("a", 9) == [0.5]
        missed = Resampled(predictions.assign(split="test"), "froc@100", reference=reference)
        assert missed.values("a", 9) == [1.0]


def test_the_split_of_lesions_is_chosen_by_the_score():
    masks, detections = world(3)
    predictions, reference = tables(masks, detections)
    slides = pd.DataFrame({"case": ["s", "t"], "group": ["s", "t"], "target": [0.0, 1.0], "prediction": [0.2, 0.3],
                           "arm": "a", "n_train": 9, "seed": 0, "split": "test"})  # fmt: skip
    both = pd.concat([predictions, slides])
    assert len(Resampled(both, "lesion_froc@8", reference=reference).cell("a", 9).case) == len(predictions)
    assert Resampled(both, "auc").values("a", 9).tolist() == [1.0]
    assert score("lesion_froc:negative@8").rows == "-lesions" and score("froc").rows == ""
    with pytest.raises(ValueError, match="no split 'test-lesions'; it holds test"):
        Resampled(slides, "lesion_froc", reference=reference)


def test_a_score_of_lesions_has_an_interval_over_seeds_and_slides():
    masks, detections = zip(*(world(seed) for seed in range(4)), strict=True)
    masks, detections = (
        {f"{k}/{slide}": v for k, some in enumerate(of) for slide, v in some.items()} for of in (masks, detections)
    )
    predictions, reference = tables(masks, detections)
    rng = np.random.default_rng(0)
    seeds = [predictions.assign(seed=s, prediction=predictions["prediction"] * rng.uniform(0.5, 1, len(predictions)))
             for s in range(3)]  # fmt: skip
    for name in ("lesion_froc", "lesion_froc:negative@8"):
        made = Resampled(pd.concat(seeds), name, n_bootstrap=200, reference=reference)
        interval = score_interval(made, "a", 9)
        assert 0 <= interval.low < interval.value < interval.high <= 1
        assert made.spread({("a", 9): 1.0}).n_groups == 28


# ---- what is refused


GOOD = {"masks": {"a": lesion((10, 20, 40, 40)), "b": None}, "detections": {"a": table(at(1, 1, 0.5)), "b": table()}}


def given(slide, frame):
    return {"detections": GOOD["detections"] | {slide: frame}}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"masks": GOOD["masks"] | {"c": None}}, "slide 'c' is in masks and not in detections"),
        (given("c", table()), "slide 'c' is in detections and not in masks"),
        ({"masks": {}, "detections": {}}, "masks is empty"),
        (given("a", pd.DataFrame({"probability": [1.0], "x": [1]})), "of slide 'a': column 'y' is missing"),
        (given("b", pd.DataFrame()), "of slide 'b': column 'probability' is missing"),
        (given("a", table((0.5, 1, 1), (0.5, 90 * 32, 7))), "'a': row 1 .*x 2880.0, y 7.0. lies outside the slide"),
        (given("a", table((0.5, 7, 60 * 32))), "'a': row 0 .*x 7.0, y 1920.0. lies outside the slide"),
        (given("a", table((0.5, -1, 1))), "'a': row 0 .*x -1.0, y 1.0. lies outside the slide"),
        (given("b", table((0.5, 1, -1))), "'b': row 0 .*x 1.0, y -1.0. lies outside the slide"),
        (given("a", table((-0.5, 1, 1))), "'a': row 0 .probability -0.5.* has a probability below 0"),
        (given("a", table((np.nan, 1, 1))), "'a': probability is nan in row 0"),
        (given("b", table((0.5, np.inf, 1))), "'b': x is inf in row 0"),
        ({"masks": GOOD["masks"] | {"b": np.eye(60)}}, "mask of slide 'b': the mask holds 1.0 but never 255"),
        ({"masks": {"a": blank(), "b": None}}, "none of the 2 scans holds a nodule"),
        ({"masks": {"a": GOOD["masks"]["a"]}, "detections": {"a": table()}, "per": "negative slide"}, "is negative"),
        ({"per": "scan"}, "per must be 'slide' or 'negative slide', got 'scan'"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_the_value(change, complaint):
    camelyon16_froc(**GOOD, per="negative slide")
    with pytest.raises(ValueError, match=complaint):
        camelyon16_froc(**GOOD | change)


@pytest.mark.parametrize("name", ["lesion_froc@", "lesion_froc@0", "lesion_froc@x", "lesion_froc:positive",
                                  "lesion_froc:negative@-1", "lesion_froc@8:negative"])  # fmt: skip
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match="unknown score .* lesion_froc:negative@RATE"):
        score(name)


def test_a_table_without_negative_slides_cannot_be_scored_by_them():
    predictions, reference = tables({"a": GOOD["masks"]["a"]}, {"a": GOOD["detections"]["a"]})
    with pytest.raises(ValueError, match="none of the 1 scans of the reference is negative"):
        Resampled(predictions, "lesion_froc:negative", reference=reference).values("a", 9)
