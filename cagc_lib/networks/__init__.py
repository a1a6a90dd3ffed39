"""Chapters 2, 8 and 12: every network there is, as an `nn.Module`, and what they have in common.

Generators and discriminators of StyleGAN2 and SN-GAN, by kind; the small networks that read images:
parser, features, classifier. `protocol` states what the road asks of any generator and of anything
that looks at images. Nothing here reads a file or trains.
"""

from .autoencoder import Autoencoder
from .classifier import Classifier
from .discriminator import Discriminator, DiscriminatorConfig, r1_penalty
from .features import (
    FeatureNetwork, StandardFeatures, appearance, at_most_256, perceptual_distance,
)
from .generator import (
    MAPPING_LR_MULTIPLIER, FullyConnected, Generator, GeneratorConfig, MappingNetwork, StyledConv,
    SynthesisNetwork, ToRGB, sliced_axes,
)
from .kinds import KINDS, build, check_pair, kind_of, matching_discriminator
from .parser import Parser
from .protocol import (
    Config, ImageFeatures, Lineage, PrunableGenerator, Shapes, check, check_images, check_positive,
    evaluating, first_parameter,
)
from .sngan import (
    Dense, SNGANConfig, SNGANDiscriminator, SNGANDiscriminatorConfig, SNGANGenerator, UpBlock,
)
