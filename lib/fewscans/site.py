"""The site: `python -m fewscans.site` writes reports/index.html and reports/pages/ from what lies beside them.

Index, a page a result (reports/results/), the scorecard, a page a notebook that was run (reports/notebooks/). All are
linked, need no network, and open from the file system. A generator of documents (Sphinx, MyST-NB, furo) was weighed
against this: it brings some forty packages to pin, and a database of runs in which bytes differ from run to run.
"""

from __future__ import annotations

import html
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path

from fewscans import cards, files, guard, notebook, page, paths, scorecard
from fewscans import claims as claims_files
from fewscans.claims import Claims
from fewscans.scorecard import OWN, VERDICTS, Row
from fewscans.site_assets import SCRIPT, STYLE

FIRST, FACTORS = "gcnn_learning_curves.png", "data_efficiency.png"
WIDE = {"claim", "control", "its claim", "statement"}  # columns of sentences
SOME = {"remark", "what would settle it", "measured", "why", "question", "answer", "licence", "cite", "citation"}
INTRODUCTION = """
<p><strong>Learning from few scans, replicated.</strong> A workbook of notebooks that replicates published results on
training networks on few medical images. Each result states what its paper claims, runs the experiment, and ends in a
verdict that is computed from predictions, never typed.</p>
<p><em>Reproduced</em>: the 95 % interval lies wholly on the claimed side of the line that was named.
<em>Contradicted</em>: wholly on the other. <em>Inconclusive</em>: across it. Verdicts on <em>real data</em> are
replications; those on a <em>twin</em>, a synthetic data set, say only that the method works in this code.</p>
"""
ALT = {
    FIRST: "AUC over the number of training patches: the paper's table left, real CT patches right; the group network "
    "p4m lies above the plain network with few patches, and level with it at 1,000",
    FACTORS: "For each method and data set, how many times more training cases the plain network needs, with intervals",
    "data_efficiency_rivals.png": "The same factor for rivals and controls, such as averaging over turned copies",
}
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{pages}site.css">
</head>
<body>
<nav class="top" aria-label="site"><a class="home" href="{root}index.html">fewscans</a>{top}</nav>
<div class="whole">
<nav class="side" aria-label="contents"><details open><summary>Contents</summary>{side}</details></nav>
<main>
{body}
<nav class="turn" aria-label="pages">{turn}</nav>
<p class="foot">{foot}</p>
</main>
</div>
<script src="{pages}site.js"></script>
</body>
</html>
"""


@dataclass(frozen=True)
class Leaf:
    """One page.   name: of its file in pages/.   kind: the part of the contents that it stands in.   foot: what it was
    made of.
    """

    name: str
    title: str
    kind: str
    body: str
    foot: str = ""
    sections: Sequence[tuple[str, str]] = field(default_factory=tuple)


def build() -> list[Path]:
    """Writes the site; a page whose source is gone is removed with its folder. Returns the files."""
    claims, rows = claims_files.load(), scorecard.load()
    reports = paths.reports()
    stems = [entry["file"] for entry in paths.raw_params()["notebooks"].values()]
    ran = [stem for stem in stems if (reports / "notebooks" / f"{stem}.ipynb").is_file()]
    results = {path.stem: path for path in sorted((reports / "results").glob("*.md"))}
    leaves = [
        *(_of_markdown(path, path.stem, "Results", ran, claims) for path in results.values()),
        _of_markdown(_scorecard(), "scorecard", "Results", ran, claims),
        *(_of_notebook(reports / "notebooks" / f"{stem}.ipynb", claims, rows, ran) for stem in ran),
    ]
    index = Leaf("index", "fewscans: learning from few scans, replicated", "", _index(claims, rows, leaves, stems))
    shutil.rmtree(reports / "pages", ignore_errors=True)
    every = [index, *leaves]
    style = page.STYLE + STYLE + page.colours()
    return [
        *(files.write(_place(leaf), _whole(leaf, every)) for leaf in every),
        files.write(reports / "pages" / "site.css", style),
        files.write(reports / "pages" / "site.js", SCRIPT),
    ]


def _place(leaf: Leaf) -> Path:
    return paths.reports() / ("index.html" if leaf.name == "index" else f"pages/{leaf.name}.html")


def _scorecard() -> Path:
    mine = paths.build() / "scorecard.md"
    return mine if mine.is_file() else paths.reports() / "scorecard.md"


def _whole(leaf: Leaf, every: Sequence[Leaf]) -> str:
    """A page with its navigation."""
    at_root = leaf.name == "index"
    root, pages = ("", "pages/") if at_root else ("../", "")

    def link(other: Leaf, text: str, more: str = "") -> str:
        target = f"{root}index.html" if other.name == "index" else f"{pages}{other.name}.html"
        return f'<a href="{target}"{more}>{html.escape(text)}</a>'

    parts = {kind: [one for one in every if one.kind == kind] for kind in dict.fromkeys(one.kind for one in every)}
    side = ""
    for kind, members in parts.items():
        items = ""
        for one in members:
            inner = "".join(f'<li><a href="#{ref}">{name}</a></li>' for ref, name in one.sections)
            here = one is leaf
            current = ' aria-current="page"' if here else ""
            items += f"<li>{link(one, _short(one), current)}{f'<ul>{inner}</ul>' if here and inner else ''}</li>\n"
        side += f"{kind and f'<strong>{kind}</strong>'}<ul>\n{items}</ul>"
    place = every.index(leaf)
    before = link(every[place - 1], f"← {_short(every[place - 1])}") if place else "<span></span>"
    after = link(every[place + 1], f"{_short(every[place + 1])} →") if place + 1 < len(every) else ""
    top = "".join(link(members[0], kind) for kind, members in parts.items() if kind)
    return PAGE.format(
        title=html.escape(leaf.title), root=root, pages=pages, top=top, side=side, body=dressed(leaf.body),
        turn=before + after, foot=leaf.foot,
    )  # fmt: skip


def _short(leaf: Leaf) -> str:
    return "Overview" if leaf.name == "index" else leaf.title


def _of_notebook(path: Path, claims: Claims, rows: Sequence[Row], ran: Sequence[str]) -> Leaf:
    executed = notebook.read(path)
    body = re.sub(
        r'href="(\d\d_\w+)\.html',  # what was not run has no page, but its source
        lambda found: found[0] if found[1] in ran else f'href="../../notebooks/{found[1]}.ipynb',
        re.sub(r'href="\.\./reports/results/([\w-]+)\.md', r'href="\1.html', page.body(executed)),
    )
    papers = {paper: entry for paper, entry in claims.papers.items() if entry.get("notebook") == path.stem}
    said = "".join(_in_short(entry, [row for row in rows if row.paper == paper]) for paper, entry in papers.items())
    first = re.search(r"<p>.*?</p>", body, re.DOTALL)
    if not said and first:  # of no paper: what it begins with
        said, body = first[0], body[: first.start()] + body[first.end() :]
    heading = re.search(r"<h1.*?</h1>", body, re.DOTALL)
    cut = heading.end() if heading else 0
    box = f'\n<div class="short"><p><strong>In short</strong></p>{said}</div>\n'
    foot = f"Executed at profile {page.profile_of(executed)}; source: notebooks/{path.name}."
    return Leaf(path.stem, page.title(executed), "Notebooks", body[:cut] + box + body[cut:], foot, _sections(body))


def _in_short(entry: Mapping, rows: Sequence[Row]) -> str:
    """A paper's claim, what became of its headline claims, and why, as its claims' file says it."""
    counted = "; ".join(
        f"{where}: {said}"
        for where, real in (("on real data", True), ("on a twin", False))
        if (said := _counts([row for row in rows if row.headline and row.real is real]))
    )
    why = f" {html.escape(entry['why'][0].upper() + entry['why'][1:])}." if entry.get("why") else ""
    claim = f"<p><em>{html.escape(entry['short'])}</em>: {html.escape(entry['claim'])}</p>"
    return f"{claim}<p>Headline claims {counted}.{why}</p>"


def _counts(rows: Sequence[Row]) -> str:
    counted = [(sum(row.verdict == verdict for row in rows), verdict) for verdict in VERDICTS]
    return ", ".join(_counted(number, verdict) for number, verdict in counted if number)


def _of_markdown(path: Path, name: str, kind: str, ran: Sequence[str], claims: Claims) -> Leaf:
    from nbconvert.filters import markdown2html

    body = markdown2html(re.sub(r"^\*Written by .*\*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE))
    depth = "../" if name == "scorecard" else "../../"  # from the page's source to the project
    for stem in ran:
        body = body.replace(f'href="{depth}notebooks/{stem}.ipynb"', f'href="{stem}.html"')
    if name == "scorecard":
        body = body.replace('href="../notebooks/', 'href="../../notebooks/')
        body = re.sub(r'href="\.\./reports/results/([\w-]+)\.md"', r'href="\1.html"', body)
    body = body.replace('href="../scorecard.md"', 'href="scorecard.html"')
    body = re.sub(r'(<img alt="[^"]*" src="\.\./)figures/(\w+)\.png"[^>]*>', rf"\g<0>{_svg('../')}", body)
    title = re.search(r"<h1.*?>(.*?)(?:<a|</h1>)", body, re.DOTALL)
    shown = html.unescape(title[1]) if title else name
    foot = "Written by fewscans scorecard from claims/ and the prediction tables."
    return Leaf(name, shown, kind, body, foot, _sections(body))


def _svg(root: str) -> str:
    return rf' <a href="{root}svg/\2.svg">SVG</a>'


def _sections(body: str) -> list[tuple[str, str]]:
    """Identifiers and texts of the second headings."""
    found = re.findall(r'<h2[^>]*\bid="([^"]+)"[^>]*>(.*?)</h2>', body, re.DOTALL)
    return [(ref, re.sub(r"<a.*?</a>|<[^>]+>", "", text, flags=re.DOTALL).strip()) for ref, text in found]


def _index(claims: Claims, rows: Sequence[Row], leaves: Sequence[Leaf], stems: Sequence[str]) -> str:
    from nbconvert.filters import markdown2html

    pages = {leaf.name: leaf for leaf in leaves}
    table = markdown2html(scorecard.readme_table(list(rows), claims))
    for stem in stems:
        target = f"pages/{stem}.html" if stem in pages else f"../notebooks/{stem}.ipynb"
        table = table.replace(f'href="notebooks/{stem}.ipynb"', f'href="{target}"')
        result = stem.replace("_", "-")
        target = f"pages/{result}.html" if result in pages else f"results/{result}.md"
        table = table.replace(f'href="reports/results/{result}.md"', f'href="{target}"')
    cards = ""
    for entry in sorted(claims.papers.values(), key=lambda entry: entry.get("notebook") or "~"):
        result = (entry.get("notebook") or "").replace("_", "-")
        if entry.get("card") and result in pages:
            name, alt = next(iter(entry["card"]["figures"].items()))
            links = f'<a href="pages/{result}.html">The result</a>'
            if entry["notebook"] in pages:
                links += f' · <a href="pages/{entry["notebook"]}.html">the notebook</a>'
            picture = f'<img src="figures/{name}" alt="{html.escape(alt)}">'
            question = html.escape(entry["card"]["question"])
            cards += f'<div class="card"><h3>{html.escape(entry["short"])}</h3>{picture}'
            cards += f"<p>{question}</p><p>{links}</p></div>\n"
    listed = "".join(
        f'<li><a href="pages/{stem}.html">{html.escape(pages[stem].title)}</a></li>\n' if stem in pages
        else f'<li><a href="../notebooks/{stem}.ipynb">{stem}</a>: not run here; <code>make repro</code> runs it</li>\n'
        for stem in stems
    )  # fmt: skip
    decided = sum(row.verdict != "not tested" for row in rows if row.paper != OWN)
    every = (
        f"{decided} of {sum(row.paper != OWN for row in rows)} tests of the papers' claims have data here; "
        'the <a href="pages/scorecard.html">scorecard</a> lists all, and what would settle the open ones.'
    )
    caption = "Left: what the paper prints, for networks in space. Right: ours, on real CT patches. Click to enlarge."
    return f"""<div class="first"><div><h1>fewscans</h1>{INTRODUCTION}</div>
{_figure(FIRST, caption)}</div>
<h2 id="held">What was replicated, and what held</h2>
{table}
<p>{every}</p>
<h2 id="fewer">How many times fewer scans?</h2>
{_figure(FACTORS, "1: the method saves nothing. 10: ten times fewer cases. Arrows: beyond the training sizes.")}
<h2 id="results">The results, one by one</h2>
<div class="cards">
{cards}</div>
<h2 id="notebooks">Notebooks</h2>
<ul>
{listed}</ul>
"""


def _figure(name: str, caption: str) -> str:
    if not (paths.reports() / "figures" / name).is_file():
        return "<div></div>"
    picture = f'<img src="figures/{name}" alt="{html.escape(ALT[name])}">'
    svg = f' <a href="svg/{Path(name).stem}.svg">SVG</a>'
    return f"<figure>{picture}<figcaption>{caption}{svg}</figcaption></figure>"


def dressed(body: str) -> str:
    """Tables that scroll by themselves, with wide columns for sentences, and verdicts in their colours."""
    return re.sub(r"<table\b.*?</table>", lambda found: _table(found[0]), body, flags=re.DOTALL)


def _table(text: str) -> str:
    first = re.search(r"<tr\b.*?</tr>", text, re.DOTALL)
    heads = re.findall(r"<t[hd]\b.*?</t[hd]>", first[0] if first else "", re.DOTALL)
    names = [re.sub(r"<[^>]+>", "", cell).strip().replace('"', "&quot;") for cell in heads]
    kinds = ["wide" if name in WIDE else "some" if name in SOME else "" for name in names]

    stacked = "wide" in kinds  # on a phone, each row is a block whose cells say what they are

    def row(found: re.Match) -> str:
        columns = zip(chain(kinds, repeat("")), chain(names if stacked else [], repeat("")), strict=False)
        cell = r"<(t[hd])\b([^>]*)>(.*?)</\1>"
        return re.sub(cell, lambda one: _cell(one, *next(columns)), found[0], flags=re.DOTALL)

    rows = re.sub(r"<tr.*?</tr>", row, text, flags=re.DOTALL)
    return f'<div class="table{" stacked" * stacked}">{rows}</div>'


def _cell(found: re.Match, kind: str, name: str) -> str:
    tag, attributes, content = found.groups()
    one = "|".join(VERDICTS)
    verdict = re.fullmatch(rf"\s*[✓?✗–]?\s*({one})\s*", content)
    if re.fullmatch(rf"\s*\d+ ({one})(, \d+ ({one}))*\s*", content):
        content = re.sub(rf"(\d+) ({one}),?", lambda of: _counted(int(of[1]), of[2]), content)
    kinds = [kind] * (tag == "td" and bool(kind)) + (["verdict", _class(verdict[1])] if verdict else [])
    named = f' class="{" ".join(kinds)}"' if kinds else ""
    named += f' data-name="{name}"' if tag == "td" and name and content.strip() else ""
    return f"<{tag}{named}{attributes}>{content}</{tag}>"


def _counted(number: int, verdict: str) -> str:
    return f'<span class="verdict {_class(verdict)}">{number} {verdict}</span>'


def _class(verdict: str) -> str:
    return verdict.replace(" ", "-")


if __name__ == "__main__":
    with guard.guarded():
        if "--cards" in sys.argv:  # from git alone; in the pipeline, `fewscans scorecard` has written them
            cards.write(scorecard.load(local=False))
        build()
