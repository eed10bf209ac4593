"""fewscans: published results on learning from few medical images, replicated."""

__version__ = "0.1.0"
