"""The site in a real browser, without its window: what a reader at a desk and one with a phone would stumble over."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import pytest

LOCAL = ("file:", "data:")
PICTURES = "[...document.images].map(i => [i.src.slice(-60), i.naturalWidth, i.alt])"
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def installed() -> str | None:
    """The browser's command."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator:
    """A browser; the test is skipped where there is none, and fails on a machine of CI, which must have one."""
    lacking = [name for name, found in {"Chromium (apt-get install chromium)": installed(),
               "Playwright (pip install playwright)": find_spec("playwright")}.items() if not found]  # fmt: skip
    if lacking:
        why = f"no {' and no '.join(lacking)} on this machine"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        webgl = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]  # on the processor
        browser = driver.chromium.launch(executable_path=installed(), args=["--no-sandbox", *webgl])
        yield browser
        browser.close()


def faults(browser, index: Path) -> list[str]:
    """What is wrong with the site behind its index, page by page; empty if nothing is.

    Words in the console, pictures that do not load, links that lead nowhere, pages wider than the window, pictures
    without a text, and anything that is fetched from elsewhere than the disk.
    """
    return sorted(_at(browser, index, DESK) | _at(browser, index, PHONE))


def _at(browser, index: Path, view: dict) -> set[str]:
    found: set[str] = set()
    page = browser.new_page(viewport=view)
    page.on("console", lambda message: found.add(f"console: {message.text}"))
    page.on("pageerror", lambda error: found.add(f"error: {error}"))
    page.on("request", lambda asked: asked.url.startswith(LOCAL) or found.add(f"fetches {asked.url}"))
    waiting = [index.resolve()]
    for path in waiting:  # which grows by what the pages lead to
        page.goto(path.as_uri())
        told = list(_of_page(page, path, view["width"]))
        found |= {f"{path.name} at {view['width']}: {text}" for text in told if isinstance(text, str)}
        waiting += sorted({other for other in told if isinstance(other, Path)} - set(waiting))
    page.close()
    return found


def _of_page(page, path: Path, width: int) -> Iterator[str | Path]:
    """What is wrong with one page, in words, and the pages that it leads to."""
    wide = page.evaluate("document.documentElement.scrollWidth")
    if wide > width:
        yield f"{wide} pixels wide"
    for source, loaded, text in page.evaluate(PICTURES):
        if not loaded:
            yield f"{source} does not load"
        if len(text) < 3:
            yield f"{source} has no text"
    for link in page.evaluate("[...document.links].map(a => a.href)"):
        target, _, part = link.partition("#")
        place = Path(unquote(target.removeprefix("file://")))
        if part and place == path and not page.evaluate("ids => ids.some(id => document.getElementById(id))",
                                                        [part, unquote(part)]):  # fmt: skip
            yield f"no part {part}"
        if target.startswith("file://") and not place.exists():
            yield f"leads to {place.name}, which is not there"
        elif target.startswith("file://") and place.suffix == ".html":
            yield place
