"""How often does a learning curve fitted up to N / 4 cover the score at N? On published tables, networks alone.

    python benchmarks/extrapolation.py [RUN ...]

Of LUNA16 patches and AdrenalMNIST3D. `stats.learning_curve.WIDENING`, a factor of the interval, is to be fixed on
PneumoniaMNIST beforehand and is 1 until that is run. RUN: runs of this machine besides, such as gcnn-my-pneumoniamnist
after `docs/own_data_examples.py`.
"""

from __future__ import annotations

import sys

from fewscans import results
from fewscans.results import Results
from fewscans.stats import learning_curve

PUBLISHED = ("luna16-patches", "adrenalmnist3d")


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
    for run in sys.argv[1:]:
        inside = told(results.read_run(run))
        print(f"{run}: {sum(inside)} of {len(inside)} covered")
    inside = [ok for dataset in PUBLISHED for ok in told(results.load_published("gcnn", dataset))]
    print(f"{sum(inside)} of {len(inside)} covered on {' and '.join(PUBLISHED)}")


if __name__ == "__main__":
    main()
