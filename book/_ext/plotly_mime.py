"""Draw stored plotly figures in the rendered book, without a network.

Plotly 6 and later store a figure as `application/vnd.plotly.v1+json` only, an output type that
MyST-NB does not know and drops with a warning. This extension turns it into a
`<div class="plotly-mime">` holding the figure's JSON; `book/_static/plotly-mime.js` draws it with
the plotly.min.js that the installed plotly package carries, copied beside the pages at the end of
the build. Pages without a figure load neither script.
"""

import html
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.core.render import load_mime_renders
from sphinx.application import Sphinx

MIME = "application/vnd.plotly.v1+json"
BUNDLE = "vendor/plotly.min.js"


class PlotlyMime:
    """A MyST-NB output renderer for one plotly figure."""

    mime_priority_overrides = (("*", MIME, 1),)

    @staticmethod
    def handle_mime(
        renderer: Any, data: Any, inline: bool
    ) -> list[nodes.Element] | None:
        """Return the figure as one raw HTML node; None leaves other output types alone."""
        if inline or data.mime_type != MIME:
            return None
        figure = data.content
        keep = {
            key: figure[key]
            for key in ("data", "layout", "frames")
            if key in figure
        }
        words = data.cell_metadata.get("mystnb", {}).get("image", {})
        alt = html.escape(words.get("alt", ""))
        label = f' role="img" aria-label="{alt}"' if alt else ""
        # "</" inside a string would end the script element early
        text = json.dumps(keep, separators=(",", ":")).replace("</", "<\\/")
        drawn = (
            f'<div class="plotly-mime"{label}><script type="application/json">'
            + text
            + "</script></div>"
        )
        return [
            nodes.raw(text=drawn, format="html", classes=["output", "plotly"])
        ]


def add_scripts(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: Any,
) -> None:
    """Add plotly and the drawing script to a page that holds a figure."""
    if 'class="plotly-mime"' in context.get("body", ""):
        app.add_js_file(BUNDLE)
        app.add_js_file("plotly-mime.js")


def copy_bundle(app: Sphinx, error: Exception | None) -> None:
    """Copy plotly.min.js out of the installed package."""
    if error is None and app.builder.format == "html":
        target = Path(app.outdir) / "_static" / BUNDLE
        target.parent.mkdir(parents=True, exist_ok=True)
        with (files("plotly") / "package_data" / "plotly.min.js").open(
            "rb"
        ) as source:
            target.write_bytes(source.read())


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer and the hooks."""
    renderers = load_mime_renders()
    if PlotlyMime not in renderers:
        renderers.append(PlotlyMime)
    app.connect("html-page-context", add_scripts)
    app.connect("build-finished", copy_bundle)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
