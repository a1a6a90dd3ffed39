"""Content-aware GAN compression: a generator made smaller where nobody looks.

The rooms of this package are the road of the book: ops, networks, checkpoints, datasets, content,
importance, pruning, distillation, training, compression, metrics, editing, scoreboard, export, cli.
Each imports only from those before it; figures stands apart. A room says in its first lines what it
is for. The public names are here.
"""

from .checkpoints import (
    Checkpoint, load_checkpoint, load_features, load_generator, save_checkpoint, save_generator,
)
from .compression import compress
from .content import content_source
from .datasets import Portraits, render_portraits
from .importance import ChannelScores, gradient_scores, salt_and_pepper, score_channels
from .metrics import (
    Report, evaluate, latency, layer_table, macs, parameters, path_lengths, peak_memory,
)
from .networks import Generator, GeneratorConfig, SNGANConfig, SNGANGenerator, perceptual_distance
from .pruning import PruningPlan, plan_pruning, prune
from .training import calibrate, layer_drift

__all__ = [
    "ChannelScores", "Checkpoint", "Generator", "GeneratorConfig", "Portraits", "PruningPlan",
    "Report", "SNGANConfig", "SNGANGenerator", "calibrate", "compress", "content_source",
    "evaluate", "gradient_scores", "latency", "layer_drift", "layer_table", "load_checkpoint",
    "load_features", "load_generator", "macs", "parameters", "path_lengths", "peak_memory",
    "perceptual_distance", "plan_pruning", "prune", "render_portraits", "salt_and_pepper",
    "save_checkpoint", "save_generator", "score_channels",
]
