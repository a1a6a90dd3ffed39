"""Give every page what a shared link shows: a description, a title and a preview picture.

A chapter is described by the question on its card, another page by its first paragraph. The picture
is the same for all and comes from the repository, since an address in these tags must be absolute
and the built pages do not know where they are hosted.
"""

import html
import textwrap
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

PICTURE = "book/_static/teacher-and-student.jpg"
PICTURE_SAYS = "Eight people painted by the teacher, and the same eight by its student"
MAX_LETTERS = 200


def description(page: nodes.document) -> str:
    """Return the text that stands for a page, cut between two words."""
    for row in page.findall(nodes.row):
        cells = [entry.astext().strip() for entry in row.findall(nodes.entry)]
        if cells[0] == "Question":
            return shortened(cells[1])
    paragraphs = (node.astext() for node in page.findall(nodes.paragraph))
    return shortened(next(paragraphs, page.astext()))


def shortened(text: str) -> str:
    """Return a text on one line, of at most `MAX_LETTERS`."""
    return textwrap.shorten(text, MAX_LETTERS, placeholder=" …")


def add_tags(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Add the tags to a page that was written, not generated."""
    if doctree is None:
        return
    text = description(doctree)
    repository = app.config.html_theme_options["repository_url"]
    title = html.unescape(context["title"])
    tags = [
        ("name", "description", text), ("property", "og:description", text),
        ("property", "og:title", title), ("property", "og:site_name", app.config.project),
        ("property", "og:type", "article"),
        ("property", "og:image", f"{repository}/raw/main/{PICTURE}"),
        ("property", "og:image:alt", PICTURE_SAYS),
        ("name", "twitter:card", "summary_large_image"),
    ]
    context["metatags"] = context.get("metatags", "") + "\n".join(
        f'<meta {kind}="{key}" content="{html.escape(value)}">' for kind, key, value in tags
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the hook."""
    app.connect("html-page-context", add_tags)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
