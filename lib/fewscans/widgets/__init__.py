"""Pictures with controls, for a reader to change by hand in a notebook: one module a widget.

A widget maps the values of its controls to a picture and a sentence. It needs a running kernel. A saved page shows the
first picture, which the widget's output carries as an image.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable
from typing import Any

import ipywidgets

from fewscans.figures.style import Picture

Draw = Callable[..., tuple[Picture, str]]


class ByHand(ipywidgets.VBox):
    """Controls, and below them a picture and a sentence that are made anew when a control changes.

    draw: called with the controls' values by name; returns the picture and what it says in words, which is also the
    picture's text for readers who cannot see it.   controls: name → widget with a `value`.   prepare: called before
    drawing with the control that changed, None at first; may set what the other controls offer.
    """

    def __init__(self, draw: Draw, prepare: Callable[[Any], None] | None = None, **controls: ipywidgets.ValueWidget):
        self.draw, self.prepare, self.controls, self.shown = draw, prepare, controls, ipywidgets.HTML()
        self.busy = False
        super().__init__([*controls.values(), self.shown])
        self.add_class("fewscans-by-hand")
        for control in controls.values():
            control.observe(lambda change: self.redraw(change["owner"]), "value")
        self.redraw()

    def redraw(self, changed: Any = None) -> None:
        """Draws the picture of the controls' values, once, whatever `prepare` changes in turn."""
        if self.busy:
            return
        self.busy = True
        try:
            if self.prepare:
                self.prepare(changed)
            self._show()
        finally:
            self.busy = False

    def _show(self) -> None:
        picture, self.sentence = self.draw(**{name: control.value for name, control in self.controls.items()})
        png, size = picture._repr_png_()
        self.image, self.size = base64.b64encode(png).decode("ascii"), size | {"alt": self.sentence}
        words = html.escape(self.sentence)
        source = f'src="data:image/png;base64,{self.image}" width="{size["width"]}"'
        self.shown.value = f'<img alt="{words}" {source}><p>{words}</p>'

    def _repr_mimebundle_(self, **options) -> tuple[dict, dict]:
        data = super()._repr_mimebundle_(**options)
        return data | {"image/png": self.image, "text/plain": self.sentence}, {"image/png": self.size}


def described(kind: type[ipywidgets.ValueWidget], description: str, **options) -> Any:
    """A control with room for its description, which reports a value once it is let go of."""
    if "continuous_update" in kind.class_trait_names():
        options["continuous_update"] = False
    style, layout = {"description_width": "9em"}, ipywidgets.Layout(width="620px")
    return kind(description=description, style=style, layout=layout, **options)
