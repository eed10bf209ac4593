"""`python -m fewscans.figures`: redraw what git keeps under reports/figures/, from git alone."""

from fewscans.figures.published import redraw

if __name__ == "__main__":
    for path in redraw():
        print(f"wrote {path.name}")
