"""How strongly does each loss of a student pull at the start, by the pixels it compares?

    python benchmarks/gradient_lengths.py

For each of five pruned students, the length of the gradient of each unweighted loss with respect to
all weights, a mean over 12 batches of the training's size, noise drawn apart for teacher and
student as in training. Becomes data/gradient_lengths.csv. A mean over all pixels makes a loss on
fewer pixels weaker; data/scoreboard.toml raises its weights by the ratios that are printed.
Chapter 9.
"""

import argparse
import pathlib
import statistics
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import cagc_lib as cagc
from cagc_lib.content import ContentSource, find_content
from cagc_lib.distillation import DistillationConfig, distillation_losses
from cagc_lib.networks import ImageFeatures
from cagc_lib.scoreboard import device_name, write_table
from cagc_lib.training import generator_loss

TABLE = pathlib.Path(__file__).resolve().parents[1] / "data" / "gradient_lengths.csv"
RATIO = 0.7
# the pixels that a loss compares, by the names that the table has for them
COMPARED = {
    "portraits": "portraits", "everything": "everything", "dilated": "portraits within 3",
    "background": "outside portraits", "far": "portraits beyond 8",
}
COLUMNS = ("compared", "seed", "loss", "length", "std", "area", "batches", "batch_size", "device")


def lengths(
    checkpoint: cagc.Checkpoint, features: ImageFeatures, masks: dict[str, ContentSource],
    seed: int, args: argparse.Namespace,
) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    """(pixels compared, loss) -> gradient lengths and shares of pixels, one a batch."""
    teacher = checkpoint.generator
    scores = cagc.score_channels(
        teacher, find_content("portraits"), num_samples=args.score_samples, seed=seed
    )
    student = cagc.prune(teacher, cagc.plan_pruning(scores, RATIO), "preserved")
    weights = list(student.parameters())
    rng = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    found: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for _ in range(args.batches):
        z = torch.randn(args.batch_size, teacher.config.z_dim, generator=rng)
        with torch.no_grad():
            target = teacher(z, noise="random")
        image = student(z, noise="random")
        losses = {("everything", "adversarial"): generator_loss(checkpoint.discriminator(image))}
        area = {"everything": 1.0}
        for name, source in masks.items():
            mask = source(target)
            area[name] = mask.float().mean().item()
            parts = distillation_losses([target], [image], mask, DistillationConfig(), features)
            losses |= {(name, loss): value for loss, value in parts.items()}
        for key, value in losses.items():
            gradients = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
            squares = [g.square().sum() for g in gradients if g is not None]
            of_batches, areas = found.setdefault(key, ([], []))
            of_batches.append(torch.stack(squares).sum().sqrt().item())
            areas.append(area[key[0]])
    return found


def main(arguments: list[str] | None = None) -> None:
    """Write the table and print what the weights are to be multiplied with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", default="portraits")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--score-samples", type=int, default=400)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--table", type=pathlib.Path, default=TABLE)
    args = parser.parse_args(arguments)
    checkpoint = cagc.load_checkpoint(args.teacher)
    features = cagc.load_features(name="portraits-perceptual")
    masks = {name: find_content(text) for name, text in COMPARED.items()}
    rows, means = [], {}
    for seed in args.seeds:
        found = lengths(checkpoint, features, masks, seed, args)
        for (name, loss), (values, areas) in found.items():
            mean = statistics.mean(values)
            means.setdefault((name, loss), []).append(mean)
            rows.append({
                "compared": name, "seed": seed, "loss": loss, "length": f"{mean:.4f}",
                "std": f"{statistics.stdev(values):.4f}", "area": f"{statistics.mean(areas):.4f}",
                "batches": args.batches, "batch_size": args.batch_size, "device": device_name(),
            })
    write_table(rows, COLUMNS, args.table)
    for (name, loss), values in means.items():
        whole = means["everything", loss]
        print(f"{name}, {loss}: {statistics.mean(values):.3f}, everything is longer by "
              f"{statistics.mean(whole) / statistics.mean(values):.2f}")


if __name__ == "__main__":
    main()
