"""A page to read and to send: an executed notebook as one HTML file that needs no network, nor any other file.

nbconvert's own full pages fetch MathJax, RequireJS and Mermaid from a CDN; its body alone, in a page of ours, fetches
nothing, for it has no scripts at all. The site (`fewscans.site`) has the same bodies, with links between them.
"""

from __future__ import annotations

import html
import logging
import re

import nbformat

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.6 system-ui, sans-serif; color: #1c1e21; background: #fff; }
body { margin: 2rem auto; max-width: 54rem; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.25; margin: 2rem 0 .6rem; }
a { color: #0b5cad; } a.anchor-link { display: none; }
img, svg { max-width: 100%; height: auto; }
pre, code { font: 13px/1.45 ui-monospace, Menlo, Consolas, monospace; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
code { background: #f2f4f6; padding: .1em .25em; border-radius: 3px; }
pre code { background: none; padding: 0; }
.input_area, .text_cell_render pre { background: #f6f8fa; border-radius: 5px; padding: .6rem .8rem; margin: .8rem 0; }
.prompt { display: none; }
.output_stderr { background: #fff4f2; padding: .4rem .8rem; }
.output_subarea { margin: .6rem 0; overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; margin: .8rem 0; }
th, td { border-bottom: 1px solid #d8dde3; padding: .3rem .7rem; text-align: left; vertical-align: top; }
th { border-bottom: 1.5px solid #8a949e; }
details { margin: 2rem 0; } summary { cursor: pointer; font-size: 1.3rem; font-weight: 600; }
blockquote { border-left: 3px solid #c9d1d9; margin-left: 0; padding-left: 1rem; color: #4a525a; }
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="fewscans-profile" content="{profile}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
<hr><p><small>fewscans · profile: {profile}</small></p>
</body>
</html>
"""


def render(notebook: nbformat.NotebookNode) -> str:
    """The page of an executed notebook: its first heading is the title; setup and appendix are folded; the profile is
    at the foot.
    """
    style = f"{STYLE}{colours()}"
    profile = profile_of(notebook)
    return PAGE.format(title=html.escape(title(notebook)), profile=profile, style=style, body=body(notebook))


def body(notebook: nbformat.NotebookNode) -> str:
    """What the cells say and showed, as HTML; links to other notebooks lead to their pages."""
    from nbconvert.exporters import HTMLExporter

    log = logging.getLogger("fewscans.page")
    log.setLevel(logging.ERROR)  # a missing alternative text is not worth a line per figure
    exporter = HTMLExporter(template_name="basic", log=log)
    whole = ""
    for name, cells in _parts(notebook):
        part = exporter.from_notebook_node(nbformat.from_dict(dict(notebook) | {"cells": cells}))[0].strip()
        whole += f"\n<details><summary>{name}</summary>\n{part}\n</details>\n" if name else part
    return re.sub(r'href="(\d\d_\w+)\.ipynb', r'href="\1.html', whole)  # one page leads to the next


def colours() -> str:
    """Style of code."""
    from pygments.formatters import HtmlFormatter

    return f"{HtmlFormatter(style='friendly').get_style_defs('.highlight')}\n.highlight {{ background: none; }}"


def profile_of(notebook: nbformat.NotebookNode) -> str:
    return html.escape(str(notebook.metadata.get("fewscans", {}).get("profile") or "unknown"))


def _parts(notebook: nbformat.NotebookNode) -> list[tuple[str, list]]:
    """Cells, and under which name they are folded: the first code, as long as it shows nothing, and the appendix."""
    cells = list(notebook.cells)
    end = next((i for i, cell in enumerate(cells) if cell.source.startswith("## Appendix")), len(cells))
    first = next((i for i, cell in enumerate(cells[:end]) if cell.cell_type == "code"), end)
    after = next((i for i in range(first, end) if cells[i].cell_type != "code" or cells[i].outputs), end)
    parts = [("", cells[:first]), ("Setup", cells[first:after]), ("", cells[after:end]), ("Appendix", cells[end:])]
    return [(name, some) for name, some in parts if some]


def title(notebook: nbformat.NotebookNode) -> str:
    """The first heading."""
    for cell in notebook.cells:
        heading = re.search(r"^#\s+(.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
        if heading:
            return heading[1].strip()
    return "fewscans"
