"""Chapters 7 and 10: what a network costs, and how good its images are.

Each measure overall and inside the content, against real images and against a teacher.
"""

from .costs import (
    Latency, LayerCost, count_macs, latency, layer_table, macs, parameters, peak_memory,
    stylegan2_rows,
)
from .distances import (
    compare_features, density_coverage, feature_statistics, frechet_distance, kernel_distance,
    mask_images, mean_iou, precision_recall, psnr,
)
from .evaluate import REFERENCE_SEED, Report, evaluate, evaluate_intervals, sample_inputs
from .intervals import feature_half_widths, frechet_influence, half_width, kernel_influence
from .smoothness import (
    EPSILON, PUBLIC_PATH, noise_distances, on_arc, path_lengths, trimmed_mean, variety,
)
