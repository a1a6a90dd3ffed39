"""Make every page work from a disk, without a network.

Four things in the stock Jupyter Book 1 pages do not. Mathematics comes from a public server: here
MathJax is copied out of the installed `sphinx-mathjax-offline` package. The live-code button
sphinx-thebe is wired in twice and raises a script error although it is switched off: here it is
dropped. A chapter's "Download" link would ask GitHub: here it points at the copy beside the page,
while the notebook itself keeps the link for readers on GitHub, Colab and Jupyter. The theme
preloads its icon fonts in a way that a browser refuses from a disk: here they load when the style
sheet asks.
"""

import re
import shutil
from importlib.metadata import files
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

MATHJAX = "vendor/mathjax"
ENTRY = "tex-mml-chtml.js"
FONTS = "output/chtml/fonts/woff-v2"


def use_local_mathjax(app: Sphinx, config: Config) -> None:
    """Point sphinx.ext.mathjax at the copied files."""
    config.mathjax_path = f"{MATHJAX}/{ENTRY}"


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Copy the one MathJax script used and its fonts, 1.6 MB of the package's 40."""
    if error is not None or app.builder.format != "html":
        return
    entry = next(
        f for f in files("sphinx-mathjax-offline") or [] if f.name == ENTRY
    )
    source = Path(str(entry.locate())).parent
    target = Path(app.outdir) / "_static" / MATHJAX
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / ENTRY, target / ENTRY)
    shutil.copytree(source / FONTS, target / FONTS, dirs_exist_ok=True)


def drop_font_preloads(app: Sphinx, error: Exception | None) -> None:
    """Remove the theme's font preloads from every page; the fonts themselves still load."""
    if error is not None or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        kept = re.sub(r'<link rel="preload" as="font"[^>]*>\n?', "", text)
        if kept != text:
            page.write_text(kept, encoding="utf-8")


def drop_thebe(
    app: Sphinx,
    pagename: str,
    templatename: str,
    context: dict[str, Any],
    doctree: Any,
) -> None:
    """Remove sphinx-thebe's scripts from a page."""

    def is_thebe(script: Any) -> bool:
        attributes = getattr(script, "attributes", {})
        return "thebe" in f"{script} {attributes.get('body', '')}".lower()

    context["script_files"] = [
        s for s in context.get("script_files", []) if not is_thebe(s)
    ]


def localise_downloads(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Turn links to a chapter's notebook on GitHub into links to the built page's own copy."""
    if app.builder.format != "html":
        return
    remote = app.config.html_theme_options["repository_url"] + "/raw/main/"
    up = "../" * docname.count("/")
    for link in list(doctree.findall(nodes.reference)):
        uri = link.get("refuri", "")
        if uri.startswith(remote) and uri.endswith(".ipynb"):
            href = f"{up}_sources/{uri.removeprefix(remote)}"
            html = f'<a class="download" href="{href}" download>{link.astext()}</a>'
            link.replace_self(nodes.raw(text=html, format="html"))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the hooks; the last one runs after the theme has added its scripts."""
    app.connect("config-inited", use_local_mathjax)
    app.connect("doctree-resolved", localise_downloads)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", copy_mathjax)
    app.connect("build-finished", drop_font_preloads)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
