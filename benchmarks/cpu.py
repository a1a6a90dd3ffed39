"""How fast is this book on a CPU? Four questions, a subcommand each.

    python benchmarks/cpu.py generator [--networks full pruned] [--batches 1 8] [--rounds 5]
        [--modes eager compiled "compiled bfloat16"]
    python benchmarks/cpu.py training [--network sngan] [--rounds 3] [--compile]
    python benchmarks/cpu.py scoring [--samples 400] [--repeats 3]
    python benchmarks/cpu.py portraits [--batch 128] [--repeats 15]

generator: how much faster is our synthesis network than the textbook's form (textbook.py)? Ours
    runs eager, compiled (inductor, freezing) and compiled in bfloat16. Every form first has to
    agree with the textbook's images; one that does not is reported and never timed. Chapter 3.
training: how many images a second does it train on? Rounds of 16 steps, so that R1 and path length
    come at their own pace, of the default 64 px teacher and of its 70% student with all losses; or
    of the SN-GAN that ships and its 70% student, by their recipes, on the photographs in
    data/cifar10. Networks that only look at images have new weights: time does not depend on them.
    Chapters 8 and 12.
scoring: how long does scoring the channels of the portraits teacher take, by the batch-summed score
    of the paper's code and by the per-sample variant? Content is the portraits parser's. Chapter 6.
portraits: how many portraits a second does it draw, at 64 and at 128 pixels? Chapter 5.

What is compared takes turns, so that a busy machine slows all alike. A row each, with p20, p50 and
p80 of the rounds, is printed and appended to data/benchmarks/NAME_cpu.csv, or to --csv. --threads
is 2, and for the generator what torch would take.
"""

import argparse
import itertools
import pathlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rows import append, common_options, quantiles
from textbook import FULL, PRUNED, random_generator, textbook_synthesis

import cagc_lib as cagc
from cagc_lib.checkpoints import data_dir
from cagc_lib.content import ClassActivation, ParserSource
from cagc_lib.datasets import image_source, portrait_parameters, render_parameters
from cagc_lib.distillation import DistillationConfig
from cagc_lib.networks import Classifier, FeatureNetwork, Parser, build, matching_discriminator
from cagc_lib.training import SNGAN_RECIPE, Lesson, Steps, TrainConfig, TrainState

NETWORKS = {"full": FULL, "pruned": PRUNED}
# largest error of a form, as a share of the largest value
TOLERANCE = {"textbook": 0.0, "eager": 1e-4, "compiled": 1e-4, "compiled bfloat16": 3e-2}
MODES = tuple(TOLERANCE)[1:]
STEPS = 16
# of teacher and student
SHAPES = {
    "stylegan2": (
        cagc.GeneratorConfig(64, (160,) * 6 + (80,) * 2 + (40,) * 2, 128, 128, 4),
        cagc.GeneratorConfig(64, (48,) * 6 + (24,) * 2 + (12,) * 2, 128, 128, 4),
    ),
    "sngan": (cagc.SNGANConfig(), cagc.SNGANConfig(channels=(77,) * 7)),
}
Key = TypeVar("Key")


def in_turns(work: dict[Key, Callable[[], object]], rounds: int) -> dict[Key, list[float]]:
    """Seconds of each call, round by round."""
    taken: dict[Key, list[float]] = {key: [] for key in work}
    for _ in range(rounds):
        for key, call in work.items():
            start = time.perf_counter()
            call()
            taken[key].append(time.perf_counter() - start)
    return taken


def columns(values: Iterable[float], unit: str, digits: int) -> dict[str, float]:
    """The quantiles p20, p50 and p80 as columns of a row."""
    found = zip((20, 50, 80), quantiles(list(values)), strict=True)
    return {f"p{percent}_{unit}": round(value, digits) for percent, value in found}


def forms(g: cagc.Generator) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """The functions w -> images that are to be compared."""

    def lowered(w: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return g.synthesis(w)

    compiled = partial(torch.compile, fullgraph=True, dynamic=False)
    every = partial(textbook_synthesis, g), g.synthesis, compiled(g.synthesis), compiled(lowered)
    return dict(zip(TOLERANCE, every, strict=True))


@torch.no_grad()
def compare(name: str, batch: int, modes: list[str], rounds: int) -> list[dict]:
    """Check the forms asked for, then time them beside the textbook's."""
    g = random_generator(NETWORKS[name]).requires_grad_(False)
    w = g.mapping(torch.randn(batch, g.config.z_dim, generator=torch.Generator().manual_seed(1)))
    truth, every = textbook_synthesis(g, w), forms(g)
    errors, work = {}, {}
    for mode in ("textbook", *(m for m in MODES if m in modes)):
        errors[mode] = float((every[mode](w).float() - truth).abs().max() / truth.abs().max())
        if errors[mode] <= TOLERANCE[mode]:
            work[mode] = partial(every[mode], w)
        else:
            print(f"{name} batch {batch} {mode}: NOT TIMED, differs by {errors[mode]:.1e} "
                  f"(allowed {TOLERANCE[mode]:.0e})")
    taken = in_turns(work, rounds)
    middle = {mode: quantiles(seconds)[1] for mode, seconds in taken.items()}
    return [
        {"resolution": g.config.resolution, "rounds": rounds, "network": name, "batch": batch,
         "mode": mode, **columns((1e3 * s for s in seconds), "ms", 2),
         "speedup": round(middle["textbook"] / middle[mode], 3),
         "max_relative_error": f"{errors[mode]:.1e}"}
        for mode, seconds in taken.items()
    ]


def generator(args: argparse.Namespace) -> Iterator[dict]:
    """One row a network, batch size and form."""
    # the weights are constants here: inductor may lay them out once for its convolutions
    with torch._inductor.config.patch(freezing=True):
        for name, batch in itertools.product(args.networks, args.batches):
            yield from compare(name, batch, args.modes, args.rounds)


def lesson(network: str) -> Lesson:
    """What a student learns from: a teacher, content and features, all with new weights."""
    teacher = build(SHAPES[network][0]).requires_grad_(False)
    if network == "sngan":
        features = Classifier([f"class {k}" for k in range(10)]).eval().requires_grad_(False)
        return Lesson(teacher, DistillationConfig(), ClassActivation(features), features)
    features = FeatureNetwork({"a": [0.0, 1.0]}).eval().requires_grad_(False)
    return Lesson(teacher, DistillationConfig(), ParserSource(Parser()), features)


def recipes(network: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield what is trained, its arithmetic, and the fields of its TrainConfig."""
    if network == "sngan":
        # as the shipped ones were trained; float32 would take minutes a round
        values = SNGAN_RECIPE | {"d_lr": 4e-4, "flip": True, "data": str(data_dir() / "cifar10")}
        yield "teacher", "bfloat16", values | {"d_steps": 2}
        yield "student", "bfloat16", values | {"d_steps": 1}
        return
    for autocast in ("off", "bfloat16"):
        for name in ("teacher", "student"):
            yield name, autocast, {"data": "portraits", "pool": 64}


def settings(network: str, compiled: bool) -> dict[str, Steps]:
    """Build one runner a row."""
    whole, small = SHAPES[network]
    taught = lesson(network)
    runners = {}
    for name, autocast, values in recipes(network):
        for fast in (False, True) if compiled else (False,):
            config = TrainConfig.from_dict(values | {"autocast": autocast, "compile": fast})
            g = build(whole if name == "teacher" else small)
            state = TrainState(g, build(matching_discriminator(whole)), config)
            source = image_source(config.data, whole.resolution, 0, config.pool, config.flip)
            label = "SN-GAN " * (network == "sngan") + name
            label += f", {'float32' if autocast == 'off' else autocast}"
            tutor = None if name == "teacher" else taught
            runners[label + (", compiled" if fast else "")] = Steps(state, source, tutor)
    return runners


def training(args: argparse.Namespace) -> Iterator[dict]:
    """One row a network and arithmetic."""

    def several(steps: Steps) -> None:
        for _ in range(STEPS):
            steps()

    runners = settings(args.network, args.compile)
    for steps in runners.values():
        steps()
    work = {label: partial(several, steps) for label, steps in runners.items()}
    for label, taken in in_turns(work, args.rounds).items():
        batch = runners[label].state.config.batch_size
        rates = (STEPS * batch / seconds for seconds in taken)
        row = {"rounds": args.rounds, "batch": batch, "setting": label}
        yield row | columns(rates, "images_per_s", 1)


def scoring(args: argparse.Namespace) -> Iterator[dict]:
    """One row a variant of the score."""
    score = partial(
        cagc.score_channels, cagc.load_generator("portraits"), cagc.content_source("portraits"),
        num_samples=args.samples,
    )
    work = {"batch-summed": score, "per sample": partial(score, per_sample=True)}
    for variant, seconds in in_turns(work, args.repeats).items():
        row = {"repeats": args.repeats, "samples": args.samples, "variant": variant}
        yield row | columns(seconds, "s", 2)


def portraits(args: argparse.Namespace) -> Iterator[dict]:
    """One row a resolution."""
    params = portrait_parameters(range(args.batch))
    work = {side: partial(render_parameters, params, side) for side in (64, 128)}
    # to warm up
    in_turns(work, 1)
    for resolution, taken in in_turns(work, args.repeats).items():
        row = {"repeats": args.repeats, "batch": args.batch, "resolution": resolution}
        yield row | columns((args.batch / seconds for seconds in taken), "images_per_s", 1)


def main(given: list[str] | None = None) -> None:
    """Answer one question: print the rows and record them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="QUESTION")

    def command(
        measure: Callable[[argparse.Namespace], Iterator[dict]], threads: int = 2, **numbers: int
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(measure.__name__)
        common_options(sub, f"{measure.__name__}_cpu", threads)
        for name, default in numbers.items():
            sub.add_argument(f"--{name}", type=int, default=default)
        sub.set_defaults(measure=measure)
        return sub

    sub = command(generator, torch.get_num_threads(), rounds=5)
    sub.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    sub.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    sub.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    sub = command(training, rounds=3)
    sub.add_argument("--network", choices=SHAPES, default="stylegan2")
    sub.add_argument("--compile", action="store_true", help="minutes of compiling first")
    command(scoring, samples=400, repeats=3)
    command(portraits, batch=128, repeats=15)
    args = parser.parse_args(given)
    torch.set_num_threads(args.threads)
    rows = []
    for row in args.measure(args):
        print(*(f"{name} {value}" for name, value in row.items()), sep="  ", flush=True)
        rows.append(row)
    append(rows, args.csv)


if __name__ == "__main__":
    main()
