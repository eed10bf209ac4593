"""Figures that several results share, drawn from tidy tables of estimates (arm, n_train, value, low, high, censored).

What a single notebook draws stands in that notebook, or in the figures file of its result: `gcnn`, `hydranet`.
"""
