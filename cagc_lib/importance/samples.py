"""What sample i of a score draws: z, noise maps and a generator of its own, whatever the batch."""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from ..networks import PrunableGenerator, first_parameter

Batches = Iterable[range]


def draw_samples(
    g: PrunableGenerator, batch: range, seed: int, noise: str
) -> tuple[Tensor, str | list[Tensor], list[torch.Generator]]:
    """Return z [N, z_dim], noise maps and, for what follows, each sample's own generator."""
    draws = [own_draws(seed, index) for index in batch]
    place = first_parameter(g)
    z = torch.stack([torch.randn(g.config.z_dim, generator=draw) for draw in draws]).to(place)
    if noise == "const":
        return z, noise, draws
    maps = [[torch.randn(1, s, s, generator=d) for d in draws] for s in g.config.noise_sides]
    return z, [torch.stack(rows).to(place) for rows in maps], draws


def own_draws(seed: int, index: int) -> torch.Generator:
    """A CPU generator for one sample, seeded by a hash so that neighbours are unrelated."""
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def zeros(g: PrunableGenerator) -> list[Tensor]:
    """One float64 vector of zeros per width, to add scores up in."""
    # float64: 400 float32 terms added in float32 would lose the last digit that breaks ties
    device = first_parameter(g).device
    return [torch.zeros(c, dtype=torch.float64, device=device) for c in g.config.channels]
