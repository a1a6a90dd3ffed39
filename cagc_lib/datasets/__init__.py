"""Chapters 1 and 5: where real images come from: portraits, folders, archives, CIFAR-10.

A source is a function of positions: the same seed and place give the same images on any machine.
"""

from .cifar10 import fetch_cifar10
from .images import (
    ClassFolders, ImageSource, image_sizes, image_source, mixed_seed, read_image, save_sheet,
)
from .portraits.anatomy import COLUMNS
from .portraits.render import (
    ATTRIBUTES, CLASS_NAMES, MIN_RESOLUTION, Portraits, parameters_from_latents,
    portrait_parameters, render_parameters, render_portraits,
)
