"""Chapter 5: what matters in an image: content sources, callables from images to masks.

`content_source` looks one up by name; sources combine by `union`, `intersection`, `complement` and
`dilation`. A function of one's own works wherever a source of ours does.
"""

from .attention import GeneratorFeatures
from .class_activation import ClassActivation
from .masks import (
    ContentSource, check_mask, check_source, complement, dilation, everything, following,
    intersection, union, watches_a_generator,
)
from .parsers import ParserSource
from .sources import SOURCES, content_source, find_content, read_content
