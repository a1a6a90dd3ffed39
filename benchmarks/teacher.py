"""Is the portraits teacher worth compressing?

    python benchmarks/teacher.py curve runs/teacher [--every 600]
    python benchmarks/teacher.py judge [--teacher portraits] [--projected 16] [--steps 150]

`curve` measures a training run's average network as it stands in the run folder; with --every it
looks again after so many seconds until the run is over, once per checkpoint. `judge` measures the
finished teacher: truncation, style mixing, real portraits in its place (the best that can be), and
how near held-out portraits come when projected into W and W+, beside the nearest of as many random
samples as there are measured. Rows go to data/teacher.csv; those of the same kind and setting are
replaced. Chapter 2.
"""

import argparse
import pathlib
import sys
import time
from collections.abc import Iterator
from functools import cache

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import cagc_lib as cagc
from cagc_lib.checkpoints import load_training_state
from cagc_lib.content import ContentSource
from cagc_lib.editing import project
from cagc_lib.metrics import REFERENCE_SEED, compare_features, mask_images
from cagc_lib.scoreboard import device_name, read_table, write_table
from cagc_lib.training import TrainConfig

TABLE = pathlib.Path(__file__).resolve().parents[1] / "data" / "teacher.csv"
MEASURES = ("frechet", "precision", "recall")
COLUMNS = (
    "kind", "setting", "images", "seconds", "samples", "device", "torch",
    *MEASURES, *(f"content_{name}" for name in MEASURES), "l1", "content_l1", "perceptual",
)
# held-out portraits of two kinds: far from the trainers' seeds and from the reference's
HELD_OUT = REFERENCE_SEED + 1_000_000


class Mixing(cagc.Generator):
    """A generator whose images take their fine styles from the next latent of the batch."""

    def forward(
        self, z: torch.Tensor, truncation_psi: float = 1.0, noise: str | list = "const"
    ) -> torch.Tensor:
        """Map z [N, z_dim] to images; the crossover goes round the layers with the batch."""
        w = self.mapping(z)
        ws = w[:, None].expand(-1, self.config.num_ws, -1).clone()
        for i in range(len(z)):
            cut = 1 + i % (self.config.num_ws - 1)
            ws[i, cut:] = w[(i + 1) % len(z)]
        return self.synthesis(ws, noise)


def record(table: pathlib.Path, row: dict) -> None:
    """Put a row into the table, in place of an older one of its kind and setting."""
    rows = {(r["kind"], r["setting"]): r for r in read_table(table)}
    row = {"device": device_name(), "torch": torch.__version__} | row
    row |= {k: f"{v:.5g}" for k, v in row.items() if isinstance(v, float)}
    rows[row["kind"], str(row["setting"])] = row
    write_table(rows.values(), COLUMNS, table)
    print(row, flush=True)


@cache
def content() -> ContentSource:
    """The portraits' content, one object, so that evaluate() describes its reference once."""
    return cagc.content_source("portraits")


def measured(g: cagc.Generator, samples: int, psi: float = 1.0) -> dict:
    """Distance, precision and recall, overall and inside the content."""
    report = cagc.evaluate(g, samples, content=content(), truncation_psi=psi).to_dict()
    names = [f"{part}{name}" for part in ("", "content_") for name in MEASURES]
    return {"samples": samples} | {name: report[name] for name in names}


def curve(args: argparse.Namespace) -> None:
    """Measure a run's checkpoints, each once, as they appear."""
    seen, over = None, False
    while not over:
        state = load_training_state(args.run / "state.pt")
        config = TrainConfig.from_dict(state["config"])
        over = not args.every or state["step"] >= config.steps
        if state["step"] != seen and state["step"] >= config.warm_start:
            seen = state["step"]
            g = cagc.Generator(cagc.GeneratorConfig.from_dict(state["generator_config"]))
            g.load_state_dict(state["average"])
            images = (seen - config.warm_start) * config.batch_size
            row = {"kind": "curve", "setting": images, "images": images}
            row["seconds"] = round(state["seconds"])
            record(args.table, row | measured(g.eval(), args.samples))
        if not over:
            time.sleep(args.every)


def portraits(first: int, count: int, side: int) -> Iterator[torch.Tensor]:
    """Batches of 50 rendered portraits."""
    for start in range(first, first + count, 50):
        yield cagc.render_portraits(range(start, min(start + 50, first + count)), side).images


def real(args: argparse.Namespace, side: int) -> dict:
    """Held-out portraits measured as if a generator had drawn them."""
    network = cagc.load_features()
    embedded: dict[str, list] = {"": [], "content_": []}
    for first in (REFERENCE_SEED, HELD_OUT):
        whole, inside = [], []
        for images in portraits(first, args.samples, side):
            whole.append(network.embed(images))
            inside.append(network.embed(mask_images(images, content()(images))))
        embedded[""].append(torch.cat(whole))
        embedded["content_"].append(torch.cat(inside))
    row = {"samples": args.samples}
    for part, (a, b) in embedded.items():
        row |= {f"{part}{name}": value for name, value in compare_features(a, b).items()}
    return row


def nearness(images: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> dict:
    """Mean distances of images to their targets."""
    features = cagc.load_features()
    difference = (images - targets).abs()
    return {
        "l1": difference.mean().item(),
        "content_l1": ((difference * mask).sum() / (3 * mask.sum())).item(),
        "perceptual": cagc.perceptual_distance(features, images, targets).mean().item(),
    }


@torch.no_grad()
def projections(g: cagc.Generator, args: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    """Held-out portraits: nearest random sample, projected into W, into W+."""
    side = g.config.resolution
    targets = torch.cat(list(portraits(HELD_OUT, args.projected, side)))
    mask = content()(targets)
    z = torch.randn(args.samples, g.config.z_dim, generator=torch.Generator().manual_seed(0))
    drawn = torch.cat([g(part) for part in z.split(50)])
    nearest = torch.cdist(targets.flatten(1), drawn.flatten(1), p=1).argmin(1)
    yield "nearest sample", nearness(drawn[nearest], targets, mask)
    features = cagc.load_features(name="portraits-perceptual")
    for space in ("w", "w+"):
        parts = [project(g, t, features, space, args.steps).images for t in targets.split(16)]
        yield f"projected into {space.upper()}", nearness(torch.cat(parts), targets, mask)


def judge(args: argparse.Namespace) -> None:
    """Measure the finished teacher from every side."""
    g = cagc.load_generator(args.teacher)
    for psi in (1.0, 0.85, 0.7, 0.5, 0.3):
        record(args.table, {"kind": "truncation", "setting": psi} | measured(g, args.samples, psi))
    mixing = Mixing(g.config).eval().requires_grad_(False)
    mixing.load_state_dict(g.state_dict())
    record(args.table, {"kind": "mixing", "setting": "mixed"} | measured(mixing, args.samples))
    row = {"kind": "real", "setting": "portraits"} | real(args, g.config.resolution)
    record(args.table, row)
    for setting, row in projections(g, args):
        row = {"kind": "projection", "setting": setting, "samples": args.projected} | row
        record(args.table, row)


def main(arguments: list[str] | None = None) -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=pathlib.Path, default=TABLE)
    parser.add_argument("--samples", type=int, default=2_000, help="images measured")
    commands = parser.add_subparsers(required=True)
    sub = commands.add_parser("curve")
    sub.add_argument("run", type=pathlib.Path, help="run folder of `train teacher`")
    sub.add_argument("--every", type=int, default=0, help="seconds between looks; 0 looks once")
    sub.set_defaults(command=curve)
    sub = commands.add_parser("judge")
    sub.add_argument("--teacher", default="portraits")
    sub.add_argument("--projected", type=int, default=32, help="held-out portraits to project")
    sub.add_argument("--steps", type=int, default=300, help="of each projection")
    sub.set_defaults(command=judge)
    args = parser.parse_args(arguments)
    args.command(args)


if __name__ == "__main__":
    main()
