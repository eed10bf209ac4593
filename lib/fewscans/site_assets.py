"""How the site looks, and what its one script does: sort tables, enlarge figures. Both are this project's own."""

from __future__ import annotations

STYLE = """
body { max-width: none; margin: 0; padding: 0; overflow-wrap: anywhere; }
.top { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; align-items: baseline; padding: .7rem 1.2rem; }
.top { border-bottom: 1px solid #d8dde3; background: #f6f8fa; }
.top a { text-decoration: none; } .top .home { font-weight: 700; color: #1c1e21; font-size: 1.1rem; }
.whole { display: grid; grid-template-columns: 15rem minmax(0, 1fr); max-width: 80rem; margin: 0 auto; }
.side { font-size: .88rem; line-height: 1.4; padding: 1.2rem .8rem 2rem 1.2rem; }
.side { position: sticky; top: 0; align-self: start; max-height: 100vh; overflow-y: auto; box-sizing: border-box; }
.side details { margin: 0; } .side summary { font-size: .95rem; margin-bottom: .4rem; }
.side ul { list-style: none; margin: 0 0 1rem; padding: 0; } .side li { margin: .3rem 0; }
.side ul ul { margin: .2rem 0 .4rem; padding-left: .8rem; border-left: 2px solid #d8dde3; font-size: .82rem; }
.side a { text-decoration: none; color: #30363d; } .side a[aria-current] { font-weight: 700; color: #0b5cad; }
main { min-width: 0; padding: .4rem 1.2rem 3rem; }
main > h1:first-child { margin-top: 1rem; }
.cell, .text_cell, .output_area, .output_wrapper, .output_subarea, .inner_cell { min-width: 0; max-width: 100%; }
.table { overflow-x: auto; margin: .8rem 0; } .table table { margin: 0; }
table tr, table th, table td { text-align: left !important; overflow-wrap: normal; }
table, table td, table th { border-width: 0 0 1px; border-color: #d8dde3; border-style: solid; }
td.wide { min-width: 16rem; } td.some { min-width: 11rem; }
table th, table td { padding: .3rem .5rem; }
th[aria-sort] { cursor: pointer; } th[aria-sort]::after { content: " \\2195"; color: #8a949e; }
th[aria-sort="ascending"]::after { content: " \\2191"; } th[aria-sort="descending"]::after { content: " \\2193"; }
.verdict { white-space: nowrap; font-weight: 600; }
.verdict.reproduced { color: #00654a; background: #e3f4ee; }
.verdict.contradicted { color: #8f3d00; background: #fdeee3; }
span.verdict { padding: 0 .3em; border-radius: 3px; }
.verdict.inconclusive { color: #4a525a; background: #eef0f2; } .verdict.not-tested { color: #5f6872; font-weight: 400; }
.short { border-left: 4px solid #0b5cad; background: #eef5fc; padding: .6rem 1rem; margin: 1rem 0; }
.short p { margin: .3rem 0; }
.first { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1.25fr); gap: 1.5rem; align-items: start; }
.first h1 { margin: .6rem 0 .4rem; }
figure { margin: 1rem 0; } figcaption { font-size: .86rem; color: #4a525a; line-height: 1.4; }
main img { cursor: zoom-in; max-width: min(100%, 46rem); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)); gap: 1.2rem; }
.card { border: 1px solid #d8dde3; border-radius: 6px; padding: .4rem 1rem .8rem; } .card h3 { margin: .5rem 0; }
.card p { margin: .4rem 0; font-size: .92rem; }
.turn { display: flex; justify-content: space-between; gap: 1rem; margin-top: 3rem; border-top: 1px solid #d8dde3; }
.turn a { padding: .8rem 0; text-decoration: none; } .foot { font-size: .8rem; color: #5f6872; }
dialog { border: 0; padding: 0; max-width: 100vw; max-height: 100vh; width: 100vw; height: 100vh; background: #fff; }
dialog::backdrop { background: #fff; } dialog img { cursor: zoom-out; max-width: none; display: block; margin: auto; }
dialog img { width: min(max(100vw, 55rem), 100rem); }
dialog button { position: fixed; top: .6rem; right: .6rem; font-size: 1rem; }
summary { font-size: 1.05rem; } main details { margin: .8rem 0; }
@media (max-width: 62rem) {
  .whole { display: block; } .side { position: static; max-height: none; padding: .6rem 1.2rem; }
  .side { border-bottom: 1px solid #d8dde3; }
  .first { display: block; } td.wide { min-width: 14rem; } td.some { min-width: 11rem; }
}
@media (max-width: 40rem) {
  .stacked thead { display: none; } .stacked table, .stacked tbody, .stacked tr, .stacked td { display: block; }
  .stacked tr { border: 1px solid #d8dde3; border-radius: 6px; margin: .7rem 0; padding: .3rem 0; }
  .stacked td { border: 0; min-width: 0; padding: .15rem .6rem; } .stacked td:empty { display: none; }
  .stacked td[data-name]::before { content: attr(data-name) ": "; color: #5f6872; font-size: .85em; font-weight: 400; }
}
@media print { .side, .top, .turn { display: none; } .whole { display: block; } }
"""

SCRIPT = """"use strict";
// Tables: a click on a heading, or Enter, sorts by its column; numbers by the first of a cell, empty cells last.
const number = (text) => { const found = text.replace(/[\\u2212]/g, "-").replace(/(\\d),(?=\\d{3})/g, "$1")
  .match(/^[<> \\u2713\\u2717?]*(-?\\d+(?:\\.\\d+)?(?:e[+-]?\\d+)?)/); return found ? parseFloat(found[1]) : null; };
function sort(table, column, heading) {
  const down = heading.getAttribute("aria-sort") === "ascending";
  for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [row, row.cells[column] ? row.cells[column].textContent.trim() : ""]);
  const numeric = rows.every(([, text]) => text === "" || text === "\\u2013" || number(text) !== null);
  rows.sort(([, a], [, b]) => {
    if ((a === "") !== (b === "")) return a === "" ? 1 : -1;
    const order = numeric ? (number(a) ?? -Infinity) - (number(b) ?? -Infinity) : a.localeCompare(b, "en");
    return down ? -order : order;
  });
  for (const [row] of rows) body.append(row);
}
for (const table of document.querySelectorAll("main table")) {
  if (!table.tHead || !table.tBodies[0] || table.tHead.rows.length !== 1 || table.tBodies[0].rows.length < 3) continue;
  if (table.querySelector("[rowspan], [colspan]:not([colspan='1'])")) continue;
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    heading.setAttribute("aria-sort", "none");
    heading.tabIndex = 0;
    heading.addEventListener("click", () => sort(table, column, heading));
    heading.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(table, column, heading); });
  });
}
// Figures: a click shows one as wide as the window; another click, the button or Escape goes back.
const dialog = document.createElement("dialog"), close = document.createElement("button");
close.textContent = "close";
close.addEventListener("click", () => dialog.close());
document.body.append(dialog);
for (const image of document.querySelectorAll("main img")) {
  image.tabIndex = 0;
  const show = () => {
    const large = image.cloneNode();
    for (const name of ["width", "height", "tabindex"]) large.removeAttribute(name);
    large.addEventListener("click", () => dialog.close());
    dialog.replaceChildren(close, large);
    dialog.showModal();
  };
  image.addEventListener("click", (event) => { event.preventDefault(); show(); });
  image.addEventListener("keydown", (event) => { if (event.key === "Enter") show(); });
}
// On a phone the contents begin folded.
if (matchMedia("(max-width: 62rem)").matches) document.querySelector(".side details")?.removeAttribute("open");
"""
