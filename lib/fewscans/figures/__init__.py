"""Figures of the workbook, one idea a file; what is drawn, and the words under it, follow from the tables alone.

`picture` makes every figure look alike and repeatable, `arms` gives each arm its colour, `sources` finds the tables.
`python -m fewscans.figures` redraws what git keeps under reports/figures/, from git alone.
"""
