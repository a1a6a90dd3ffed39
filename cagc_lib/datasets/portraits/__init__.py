"""Chapter 5: the portraits, drawn by our own code from a seed, with their exact labels."""

from .anatomy import COLUMNS
from .render import (
    ATTRIBUTES, CLASS_NAMES, MIN_RESOLUTION, Portraits, parameters_from_latents,
    portrait_parameters, render_parameters, render_portraits,
)
