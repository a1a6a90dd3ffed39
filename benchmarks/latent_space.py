"""Is a student's latent space smoother and better disentangled than its teacher's?

    python benchmarks/latent_space.py

Teacher and students are measured on the same latents, places and noise maps. An interval comes from
a bootstrap over pairs, samples or edited images, in which all networks are drawn alike, so that the
ratio of a student to the teacher has an interval of its own: what is long in one is mostly long in
the other, and cancels. Every measure of every network becomes one row of data/latent_space.csv:

    path_w                path length in W; the primary measure of smoothness
    autoencoder_path_w    the same by the second eye
    path_z                path length in Z
    variety               perceptual distance of two samples
    path_w_share          path_w over variety
    separability_karras   exp of the sum of H(Y|X); the primary measure of disentanglement
    separability          share of the entropy that w explains
    edit_leakage          change of all other attributes per change of the edited one

What this leaves out is the luck of the one training run behind each network. Chapter 11.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import cagc_lib as cagc
from cagc_lib.checkpoints import load_autoencoder
from cagc_lib.editing import (
    AttributeScale,
    Directions,
    EditEffect,
    Separability,
    attribute_scale,
    edit_effect,
    regression_directions,
    separability,
    transfer_directions,
)
from cagc_lib.metrics import path_lengths, trimmed_mean, variety
from cagc_lib.scoreboard import device_name, write_table
from cagc_lib.scoreboard.measures import EDITED, STRENGTH

TABLE = pathlib.Path(__file__).resolve().parents[1] / "data" / "latent_space.csv"
NAMES = ("portraits-11x", "portraits-2x", "portraits-4x", "portraits-24x", "portraits-89x")
COLUMNS = (
    "network", "measure", "samples", "value", "low", "high", "ratio", "ratio_low", "ratio_high",
    "device",
)
DRAWS = 2_000

Statistic = Callable[[torch.Tensor], float]


def of_separability(found: Separability, measure: str) -> Statistic:
    """A statistic of held-out samples, by their numbers."""
    def value(index: torch.Tensor) -> float:
        drawn = Separability(found.names, found.labels[index], found.predicted[index])
        return getattr(drawn, measure)
    return value


def of_leakage(effects: list[EditEffect]) -> Statistic:
    """Mean over edits of leakage per unit of change, by the images' numbers."""
    moved = torch.stack([effect.moved for effect in effects], 1)
    elsewhere = torch.stack([effect.elsewhere for effect in effects], 1)
    return lambda index: (elsewhere[index].mean(0) / moved[index].mean(0).abs()).mean().item()


def measured(
    g: cagc.Generator, teacher: cagc.Generator, pairs: int, samples: int, edits: int,
    taught: tuple[AttributeScale, Directions],
) -> dict[str, tuple[int, Statistic]]:
    """Every measure: how many values it has, and what it makes of those with given numbers."""
    features = cagc.load_features()
    lengths = path_lengths(g, features, pairs)
    second = path_lengths(g, load_autoencoder(), pairs)
    arcs = path_lengths(g, features, pairs, space="z")
    unlike = variety(g, features, pairs)
    scale, directions = taught
    apart = separability(g, features, samples, scale=scale)
    ours = directions if g is teacher else transfer_directions(directions, teacher, g)
    content = cagc.content_source("portraits")
    effects = [
        edit_effect(g, ours, i, STRENGTH, features, content, edits, scale=scale, steps=1)
        for i in range(len(EDITED))
    ]
    return {
        "path_w": (pairs, lambda i: trimmed_mean(lengths[i])),
        "autoencoder_path_w": (pairs, lambda i: trimmed_mean(second[i])),
        "path_z": (pairs, lambda i: trimmed_mean(arcs[i])),
        "variety": (pairs, lambda i: unlike[i].mean().item()),
        "path_w_share": (pairs, lambda i: trimmed_mean(lengths[i]) / unlike[i].mean().item()),
        "separability_karras": (apart.num_samples, of_separability(apart, "score")),
        "separability": (apart.num_samples, of_separability(apart, "explained")),
        "edit_leakage": (edits, of_leakage(effects)),
    }


def drawn(count: int, statistic: Statistic, draws: int) -> torch.Tensor:
    """A statistic of all values and of `draws` bootstrap samples, alike for one count: [1 + D]."""
    draw = torch.Generator().manual_seed(0)
    numbers = [torch.arange(count)]
    numbers += [torch.randint(count, (count,), generator=draw) for _ in range(draws)]
    return torch.tensor([statistic(index) for index in numbers], dtype=torch.float64)


def middle(values: torch.Tensor) -> list[str]:
    """The value of all and the 95% interval of the bootstrap, as texts."""
    ends = values[1:].quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return [f"{x:.6g}" for x in (values[0].item(), *ends.tolist())]


def main(arguments: list[str] | None = None) -> None:
    """Measure the teacher, then each student beside it; the table is written after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", default="portraits")
    parser.add_argument("--names", nargs="+", default=list(NAMES))
    parser.add_argument("--pairs", type=int, default=2_000)
    parser.add_argument("--samples", type=int, default=4_000, help="half of them are held out")
    parser.add_argument("--edits", type=int, default=200, help="images of each edit")
    parser.add_argument("--draws", type=int, default=DRAWS, help="of the bootstrap")
    parser.add_argument("--table", type=pathlib.Path, default=TABLE)
    args = parser.parse_args(arguments)
    teacher, features = cagc.load_generator(args.teacher).eval(), cagc.load_features()
    scale = attribute_scale(teacher, features, args.samples)
    directions = regression_directions(teacher, features, EDITED, args.samples, scale=scale)
    rows, theirs = [], {}
    for name in [args.teacher, *args.names]:
        g = teacher if name == args.teacher else cagc.load_generator(name).eval()
        found = measured(
            g, teacher, args.pairs, args.samples, args.edits, (scale, directions)
        )
        for measure, (count, statistic) in found.items():
            values = drawn(count, statistic, args.draws)
            theirs.setdefault(measure, values)
            numbers = [*middle(values), *middle(values / theirs[measure])]
            texts = [name, measure, count, *numbers, device_name()]
            rows.append(dict(zip(COLUMNS, texts, strict=True)))
            print(*texts[:-1], flush=True)
        write_table(rows, COLUMNS, args.table)


if __name__ == "__main__":
    main()
