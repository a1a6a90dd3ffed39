"""Number the figures by chapter, and say in words what a drawn one shows.

Sphinx numbers figures through the whole book where the contents are not numbered; a chapter's
number is in its file's name, so that the third figure of `06_...` becomes "Figure 6.3". A plotly
figure takes its words from the same place as a picture does, the cell's metadata.
"""

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

CHAPTER = re.compile(r"(?:.*/)?(\d\d)_")


def number_by_chapter(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Replace the running numbers by (chapter, place in it)."""
    for name, kinds in env.toc_fignumbers.items():
        chapter = CHAPTER.match(name)
        if chapter:
            for kind, numbers in kinds.items():
                ordered = sorted(numbers, key=numbers.__getitem__)
                kinds[kind] = {
                    label: (int(chapter[1]), place)
                    for place, label in enumerate(ordered, 1)
                }
    return []


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hook, after Sphinx's own numbering of the same event."""
    app.connect("env-get-updated", number_by_chapter, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
