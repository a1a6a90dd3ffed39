"""Chapters 7, 8 and 12: networks learn: teachers, students, and the small ones that read images.

`config` says how, `state` holds what changes, `steps` do it, `loop` runs them in a run folder;
`calibration` repairs a pruned network's statistics without any step.
"""

from .adversarial import (
    discriminator_loss, draw_latents, draw_noise, generator_loss, hinge_discriminator_loss,
    hinge_generator_loss, path_lengths,
)
from .calibration import LayerDrift, calibrate, layer_drift
from .config import SNGAN_RECIPE, TrainConfig
from .loop import check_lessons, train_student, train_teacher
from .recognition import accuracy, train_network
from .run_folder import INPUTS, check_resumed, fingerprint, held
from .state import TrainState
from .steps import Lesson, Steps, proximal_step
from .supervised import HELD_OUT_SEED, augment, gaussian_blur
