"""Chapter 11: can a smaller generator still be edited?

An image is brought into the latent space, latents are mixed and morphed, directions are found along
which one thing changes, and an edit is made, kept inside the content, carried from teacher to
student, and measured in both.
"""

from .attributes import AttributeScale, attribute_scale
from .directions import Directions, pca_directions, regression_directions, sefa_directions
from .edits import confine_edit, edit, edit_mask, transfer_directions
from .latents import lerp, map_latents, mix_styles, slerp, truncate
from .measures import (
    EditEffect, Separability, TransferError, edit_effect, separability, transfer_error,
)
from .projection import Projection, mean_w, project
