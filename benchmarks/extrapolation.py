"""How often does a learning curve fitted up to N / 4 cover the score at N? On published tables, networks alone.

    python benchmarks/extrapolation.py [RUN ...]

RUN: runs of this machine on PneumoniaMNIST, brought in as one's own by `docs/own_data_examples.py`. They fix the rule
of the interval: `stats.learning_curve.WIDENING` is the smallest of `WIDENINGS` with which at least 95 % of their
curves cover. Coverage with that rule is then measured on LUNA16 patches and AdrenalMNIST3D, which did not choose it.
"""

from __future__ import annotations

import sys

from fewscans import results
from fewscans.results import Results
from fewscans.stats import learning_curve

PUBLISHED = ("luna16-patches", "adrenalmnist3d")
WIDENINGS = (1.0, 1.25, 1.5, 2.0, 3.0)


def told(found: Results) -> list[bool]:
    """Prints a line for each curve; whether each covers."""
    table, inside = found.resampled(), []
    trained = [arm for arm in found.arms if found.arm(arm).trivial is None and found.arm(arm).computed_with is None]
    for arm, n, ok in learning_curve.checked(table, trained):
        interval = learning_curve.fit(table, arm, n / 4).score(n)
        print(f"{found.run} {arm} N = {n}: {table.values(arm, n).mean():.3f}, foretold {interval.text()}, {ok}")
        inside.append(ok)
    return inside


def main() -> None:
    runs, chosen = [results.read_run(run) for run in sys.argv[1:]], learning_curve.WIDENING
    for widening in WIDENINGS if runs else ():
        learning_curve.WIDENING = widening
        inside = [ok for found in runs for ok in told(found)]
        print(f"widened by {widening:g}: {sum(inside)} of {len(inside)} covered on {', '.join(sys.argv[1:])}")
        if sum(inside) >= 0.95 * len(inside):
            break
    learning_curve.WIDENING = chosen
    inside = [ok for dataset in PUBLISHED for ok in told(results.load_published("gcnn", dataset))]
    print(f"widened by {chosen:g}: {sum(inside)} of {len(inside)} covered on {' and '.join(PUBLISHED)}")


if __name__ == "__main__":
    main()
