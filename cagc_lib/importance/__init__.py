"""How much each channel matters to the content: the scores that pruning sorts by.

    I   = G(z),   I_N = I with a share p of the content pixels set to -1 or +1 (salt and pepper)
    L   = sum over the batch, channels and pixels of |I_N - I|
    s_c = mean over outputs and taps of |dL / dW[:, c]|,   W: the raw weights that read channel c

summed over batches of z. Width k is read by convolution k, the last width by the last ToRGB; in an
SN-GAN by a block's first convolution and its shortcut, and the mean is over both. A channel matters
if its outgoing weights move the content's pixels a lot. Liu et al. 2021 (arXiv 2104.02244) and the
public code's Util/content_aware_pruning.py; the other methods are its baselines
(Util/pruning_metrics.py) and two yardsticks of ours, "taylor" and "ablation".

    L_d = sum over channels and pixels of |G(w + 5 d) - G(w)|,   d: a principal direction of w
    s_c = variance over ten d of  mean over outputs and taps of |dL_d / dW[:, c]|

summed over z, is "diversity": what moves the image differently in different directions. Chung et
al. 2024 (arXiv 2403.13548). "content-diversity", ours, is its square root, a deviation, times the
content-aware score, each divided by its width's mean. Scores are float32 [C_k], one vector per
width. Chapter 6.
"""

from .baselines import weight_norms
from .diversity import STRENGTH, falling_eigenvectors, principal_directions
from .gradients import gradient_scores, mean_gradients, salt_and_pepper
from .methods import score_channels
from .samples import draw_samples
from .scores import METHODS, ChannelScores, check_scores
