"""The kinds of network there are, by the configuration that fixes their shapes.

    kind          generator                         discriminator
    "stylegan2"   GeneratorConfig -> Generator      DiscriminatorConfig -> Discriminator
    "sngan"       SNGANConfig -> SNGANGenerator     SNGANDiscriminatorConfig -> SNGANDiscriminator

What they share is stated in `protocol`. Chapter 12.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from .discriminator import Discriminator, DiscriminatorConfig
from .generator import Generator, GeneratorConfig
from .sngan import SNGANConfig, SNGANDiscriminator, SNGANDiscriminatorConfig, SNGANGenerator


@dataclass(frozen=True)
class Kind:
    """What people call one kind of network, and its classes."""

    title: str
    generator_config: type
    generator: type[nn.Module]
    discriminator_config: type
    discriminator: type[nn.Module]


KINDS = {
    "stylegan2": Kind("StyleGAN2", GeneratorConfig, Generator, DiscriminatorConfig, Discriminator),
    "sngan": Kind(
        "SN-GAN", SNGANConfig, SNGANGenerator, SNGANDiscriminatorConfig, SNGANDiscriminator
    ),
}


def kind_of(config: Any) -> str:
    """Return the name of the kind that a generator's or a discriminator's config belongs to."""
    for name, kind in KINDS.items():
        if isinstance(config, kind.generator_config | kind.discriminator_config):
            return name
    got = type(config).__name__
    raise ValueError(f"config: got {got}, expected that of a network ({', '.join(KINDS)})")


def build(config: Any) -> nn.Module:
    """Build the network, with new weights, that a config describes; a ValueError for another."""
    kind = KINDS[kind_of(config)]
    generator = isinstance(config, kind.generator_config)
    return (kind.generator if generator else kind.discriminator)(config)


def check_pair(got: Any, expected: Any, what: str, *sizes: str) -> None:
    """Refuse the configs of two networks that cannot work together: of two kinds or other sizes.

    `what` names the first one in the error, `sizes` the fields that must agree.
    """
    kinds = [KINDS[kind_of(config)].title for config in (got, expected)]
    pairs = [("kind", *kinds), *((n, getattr(got, n), getattr(expected, n)) for n in sizes)]
    for name, a, b in pairs:
        if a != b:
            raise ValueError(f"{what}: got {name} {a}, expected {b}")


def matching_discriminator(config: Any) -> Any:
    """Return the shapes of the discriminator that goes with a generator's.

    StyleGAN2: at every size the width of the generator's last convolution there. SN-GAN: the
    paper's four blocks of 128, whatever the generator; more of them above 128 px.
    """
    if isinstance(config, SNGANConfig):
        return SNGANDiscriminatorConfig(config.resolution, (128,) * max(4, config.levels - 3))
    # one width per resolution, 4x4 first, then the discriminator's order: full size first
    return DiscriminatorConfig(config.resolution, config.channels[1::2][::-1])
