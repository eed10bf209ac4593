"""Do predicted probabilities mean what they say?

Training sets here are balanced (half positive), test sets are not (about 15 % positive), so a network that has learned
perfectly is still far off in the test set: it answers for a world with another prevalence. Either correct its
probabilities for the shift first (`adjust_prior`), or read the intercept as the shift that it is. AUC is not affected.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from fewscans.stats.auc import checked


def _probabilities(p) -> np.ndarray:
    p = np.asarray(p, dtype=float)
    wrong = p[~((p >= 0) & (p <= 1))]
    if wrong.size:
        raise ValueError(f"a probability lies between 0 and 1, got {wrong.flat[0]}")
    return p


def adjust_prior(p, prior_from: float, prior_to: float) -> np.ndarray:
    """Probabilities learned where a share `prior_from` of the cases is positive, as they hold where `prior_to` is.

    Bayes' rule for a shift of the classes' shares alone (what the positives look like is the same): the odds are
    multiplied by the ratio of the two prior odds (Saerens et al., Neural Computation 14, 2002).
    """
    p = _probabilities(p)
    for name, prior in (("prior_from", prior_from), ("prior_to", prior_to)):
        if not 0 < prior < 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {prior}")
    ratio = prior_to / (1 - prior_to) / (prior_from / (1 - prior_from))
    up = p * ratio
    return up / (up + (1 - p))  # never above 1: the bracket keeps a certain 1 exact


def brier(y, p) -> float:
    """Mean squared difference of outcome and probability; lower is better, and always answering q scores at best
    q(1 - q).
    """
    y, p = checked(y, _probabilities(p))
    return float(np.mean((p - y) ** 2))


def reliability(y, p, bins: int = 10) -> pd.DataFrame:
    """Predicted against observed share of positives in bins of equal mass.

    Bins hold equally many cases, to one (not equal widths: those leave most bins empty when most cases are easy);
    cases with the same probability stay together, so there may be fewer bins. Columns: cases, predicted (mean),
    observed (share), low, high (95 % Wilson interval of observed).
    """
    y, p = checked(y, _probabilities(p))
    if not 1 <= bins <= y.size:
        raise ValueError(f"bins must lie between 1 and the {y.size} cases, got {bins}")
    values, code, count = np.unique(p, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2  # each distinct probability goes where its middle case falls
    label = np.minimum((middle * bins / y.size).astype(int), bins - 1)[code]
    table = pd.DataFrame({"bin": label, "predicted": p, "observed": y}).groupby("bin")
    table = pd.concat([table.size().rename("cases"), table.mean()], axis=1).reset_index(drop=True)
    z, n, share = 1.959964, table["cases"], table["observed"]
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return table.assign(low=(centre - half).clip(lower=0), high=(centre + half).clip(upper=1))


def expected_calibration_error(y, p, bins: int = 10) -> float:
    """Mean distance of predicted and observed share over bins of equal mass (`reliability`), weighted by cases.

    Above 0 by chance alone even for perfect probabilities, the more so with many bins or few cases: compare like
    with like.
    """
    table = reliability(y, p, bins)
    return float((table["cases"] * (table["predicted"] - table["observed"]).abs()).sum() / table["cases"].sum())
