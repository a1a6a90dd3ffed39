"""Content-aware GAN compression: a generator made smaller where nobody looks.

The files of this package are the road of the book, in the order of `tests/test_architecture.py`:
operators, networks (StyleGAN2 and SN-GAN), checkpoints, portraits, content, importance, pruning,
calibration, distillation, training, costs, metrics, figures. What a notebook needs is
re-exported here.
"""

from .calibration import calibrate, layer_drift
from .checkpoints import (
    Checkpoint,
    load_checkpoint,
    load_generator,
    save_checkpoint,
    save_generator,
)
from .content import content_source
from .costs import latency, layer_table, macs, parameters
from .features import load_features, perceptual_distance
from .generator import Generator, GeneratorConfig
from .importance import ChannelScores, gradient_scores, salt_and_pepper, score_channels
from .metrics import Report, evaluate
from .portraits import Portraits, render_portraits
from .pruning import PruningPlan, plan_pruning, prune
from .sngan import SNGANConfig, SNGANGenerator

__all__ = [
    "ChannelScores",
    "Checkpoint",
    "Generator",
    "GeneratorConfig",
    "Portraits",
    "PruningPlan",
    "Report",
    "SNGANConfig",
    "SNGANGenerator",
    "calibrate",
    "content_source",
    "evaluate",
    "gradient_scores",
    "latency",
    "layer_drift",
    "layer_table",
    "load_checkpoint",
    "load_features",
    "load_generator",
    "macs",
    "parameters",
    "perceptual_distance",
    "plan_pruning",
    "prune",
    "render_portraits",
    "salt_and_pepper",
    "save_checkpoint",
    "save_generator",
    "score_channels",
]
