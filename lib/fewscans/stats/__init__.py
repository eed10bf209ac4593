"""From prediction tables to numbers with intervals. Nothing here needs torch, or a GPU."""

from fewscans.stats.estimate import Estimate

__all__ = ["Estimate"]
