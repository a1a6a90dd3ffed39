"""The command line, `python -m cagc_lib COMMAND`: train, compress, evaluate, convert and more.

It reads arguments and hands them to `commands.py`; everything it does is one call away in Python.
Bad input ends with one line on stderr and exit status 2; a run that was interrupted ends with 130
and can be resumed. Chapter 1 uses it.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ..importance import METHODS
from ..networks import KINDS
from ..pruning import RGB_GAINS
from . import commands
from .arguments import (
    channels,
    count,
    distillation,
    integer,
    natural,
    number,
    seed_and_device,
    seeds,
    training,
    trust,
)

# what stands for portraits where it is not said
SHIPPED = "portraits for the shipped networks; others have no default"
_TOP = """examples:
  python -m cagc_lib compress portraits --ratio 0.7 --out student.safetensors
  python -m cagc_lib evaluate student.safetensors --teacher portraits
  python -m cagc_lib generate student.safetensors --seeds 0-15 --psi 0.7 --out sheet.png
  python -m cagc_lib train teacher --warm-start 12000 --images 200000 --out runs/teacher

A FILE is a .safetensors of this project, a rosinality or CAGC .pt, an NVIDIA .pkl, or a name: the
shipped portraits and portraits-11x, or a model of others such as ffhq-256, downloaded when it is
first asked for. COMMAND --help says more.
"""
_COMPRESS = """examples:
  prune only, a minute:
    python -m cagc_lib compress portraits --ratio 0.7 --out student.safetensors
  a network of your own, without a parser; pruned only:
    python -m cagc_lib compress mine.pkl --ratio 0.7 --content everything --rgb-gain preserved \\
        --out student.safetensors
  the same, and distilled with pictures of your own; --resume goes on where it stopped:
    python -m cagc_lib compress mine.pkl --ratio 0.7 --content everything --rgb-gain preserved \\
        --perceptual 0 --data photos/ --distil-images 20000 --out student.safetensors
  the paper's recipe, hours; stop it when you like and continue with --resume:
    python -m cagc_lib compress portraits --ratio 0.7 --rgb-gain preserved --round-to 8 \\
        --distil-images 200000 --run runs/student --out student.safetensors
"""
_EVALUATE = """One line a measure: Frechet distance (smaller is better), precision and recall (1 is
best); content_... the same inside the content only; with --teacher, distances to the teacher's
image of the same z. The class Report in cagc_lib/metrics.py explains units.

examples:
  python -m cagc_lib evaluate portraits-11x --teacher portraits
  python -m cagc_lib evaluate student.safetensors --num-samples 500 --json report.json
  python -m cagc_lib evaluate student.safetensors --teacher mine.pkl --content everything \\
      --reference photos/ --features standard
"""
_GENERATE = """examples:
  python -m cagc_lib generate portraits --out sheet.png
  python -m cagc_lib generate student.safetensors --seeds 0-3,20 --psi 1 --out sheet.png
"""
_CONVERT = """The numbers stay as they are: 8 images are drawn before and after, and their largest
difference is printed. Nothing is written if they differ.

examples:
  python -m cagc_lib convert network-snapshot-025000.pkl mine.safetensors
  python -m cagc_lib convert student.safetensors student.pt
  python -m cagc_lib convert network-snapshot-025000.pkl mine.pt --drop-clamp
  python -m cagc_lib convert 256px_full_size.pt small.safetensors --generator-only --half
"""
_INSPECT = """examples:
  python -m cagc_lib inspect portraits-11x
  python -m cagc_lib inspect network-snapshot-025000.pkl
"""
_TRAIN = """examples:
  python -m cagc_lib train teacher --warm-start 12000 --images 200000 --out runs/teacher
  python -m cagc_lib train teacher --data photos/ --resolution 128 --channels 256x8,128x2,64x2 \\
      --out runs/photos --resume
  python -m cagc_lib train student pruned.safetensors --teacher portraits --out runs/student
  python -m cagc_lib train student pruned.safetensors --teacher mine.pkl --content everything \\
      --data photos/ --perceptual 0 --out runs/mine
  python -m cagc_lib train teacher --network sngan --data cifar10/train --out runs/sngan
  python -m cagc_lib train parser --out parser.safetensors
  python -m cagc_lib train classifier --data cifar10/train --test cifar10/test \\
      --out classifier.safetensors
"""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and whose help keeps its examples' lines."""

    def __init__(self, **options: object) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with status 2."""
        self.exit(2, f"cagc_lib: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what follows `python -m cagc_lib`; None reads the process's own.

    Returns:
        The exit status: 0, 2 for bad input, 130 for an interruption.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        parsed = _parser().parse_args(arguments)
        # what the manifest records: a resumed run gives what an uninterrupted one does
        recorded = [argument for argument in arguments if argument != "--resume"]
        parsed.command_line = f"python -m cagc_lib {shlex.join(recorded)}"
        parsed.run_command(parsed)
    except SystemExit as request:
        return int(request.code or 0)
    except KeyboardInterrupt as error:
        print(f"cagc_lib: {error or 'interrupted'}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"cagc_lib: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m cagc_lib", epilog=_TOP,
        description="Compress a StyleGAN2 or SN-GAN generator where its images matter least.",
    )
    add = parser.add_subparsers(metavar="COMMAND", required=True).add_parser
    _compress(add(
        "compress", help="score, prune and distil a generator", epilog=_COMPRESS,
        usage="python -m cagc_lib compress TEACHER --out FILE [--ratio RATIO] [options]",
        description="Remove the channels that the content of the images depends on least.",
    ))
    _evaluate(add(
        "evaluate", help="measure a generator against held-out images", epilog=_EVALUATE,
        usage="python -m cagc_lib evaluate FILE [options]",
        description="Measure a generator against held-out rendered portraits, or a folder.\n"
                    "In the portraits' features, other images' distances mean little.",
    ))
    _generate(add(
        "generate", help="draw a sheet of images", epilog=_GENERATE,
        usage="python -m cagc_lib generate FILE --out FILE [options]",
        description="Draw a sheet of images, one a seed.",
    ))
    _convert(add(
        "convert", help="write a network in another format", epilog=_CONVERT,
        usage="python -m cagc_lib convert FILE OUT [options]",
        description="Write a network as .safetensors, or as a .pt that the rosinality and CAGC "
                    "code loads.",
    ))
    _inspect(add(
        "inspect", help="say what a file holds and what it lacks", epilog=_INSPECT,
        usage="python -m cagc_lib inspect FILE [options]",
        description="Print a card: format, sizes, costs, hashes, what is missing.",
    ))
    train = add("train", help="train a teacher, a student, or a small network that reads images",
                epilog=_TRAIN)
    add = train.add_subparsers(metavar="WHAT", required=True).add_parser
    _train_teacher(add(
        "teacher", help="a full-size generator and its discriminator",
        usage="python -m cagc_lib train teacher --out FOLDER [options]",
    ))
    _train_student(add(
        "student", help="a pruned generator, against its teacher",
        usage="python -m cagc_lib train student STUDENT --teacher FILE --out FOLDER [options]",
    ))
    for what, steps in (("parser", 4000), ("features", 5000)):
        text = {"parser": "reads the content mask", "features": "perceptual loss and measures"}
        _train_network(add(what, help=f"the small network: {text[what]}"), what, steps)
    _train_classifier(add("classifier", help="the small network of photographs: features, content"))
    return parser


def _compress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("teacher", metavar="TEACHER", help="a generator's file or name")
    parser.add_argument("--out", type=Path, required=True, help=".safetensors, or rosinality's .pt")
    parser.add_argument("--ratio", type=number, default=0.7,
                        help="share of every layer's channels to remove, in [0, 1) (0.7)")
    parser.add_argument("--method", choices=METHODS, default="content-aware",
                        help="how a channel's importance is scored (content-aware)")
    parser.add_argument("--num-samples", type=count, default=400,
                        help="images to score with (400)")
    parser.add_argument("--score-batch", type=count, default=10,
                        help="images per backward pass of the scores (10)")
    parser.add_argument("--noise-prob", type=number, default=0.05,
                        help="share of the content's pixels replaced (0.05)")
    parser.add_argument("--per-sample", action="store_true",
                        help="take |gradient| per image, not per batch as the official code does")
    parser.add_argument("--rgb-gain", choices=RGB_GAINS, default="recomputed",
                        help="a kept channel's strength in the image: preserved, or recomputed, "
                             "which is larger, as in the official code (recomputed)")
    parser.add_argument("--round-to", type=count, metavar="N",
                        help="round kept widths up to multiples of N")
    parser.add_argument("--sparse-images", type=natural, default=0, metavar="N",
                        help="with --method slimming: real images to show beforehand, while all "
                             "gains are driven toward zero (0)")
    parser.add_argument("--sparsity", type=number, default=1e-3,
                        help="weight of the gains' L1 norm there (0.001)")
    parser.add_argument("--distil-images", type=natural, default=0, metavar="N",
                        help="real images to show in distillation; 0 prunes only (0)")
    parser.add_argument("--run", type=Path,
                        help="run folder of the distillation (beside --out, ending in .run)")
    distillation(parser)
    training(parser, SHIPPED)
    trust(parser)
    parser.set_defaults(run_command=commands.run_compress)


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a generator's file or name")
    parser.add_argument("--teacher", metavar="FILE", help="also measure the distance to this one")
    parser.add_argument("--num-samples", type=count, default=2000, help="images to measure (2000)")
    parser.add_argument("--content",
                        help="as for compress, but not attention, which knows one generator's "
                             f"images only; or none for the overall numbers only ({SHIPPED})")
    parser.add_argument("--reference",
                        help="real images: portraits (rendered), or a folder of pictures, as "
                             f"--data of compress ({SHIPPED})")
    parser.add_argument("--features",
                        help="what measures: portraits; standard, Inception and VGG as in "
                             f"published figures; or a classifier's file or name ({SHIPPED})")
    parser.add_argument("--psi", type=number, default=1.0,
                        help="truncation: 1 is full variety, 0 the average image (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="append it as a row there")
    seed_and_device(parser)
    trust(parser)
    parser.set_defaults(run_command=commands.run_evaluate)


def _generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a generator's file or name")
    parser.add_argument("--out", type=Path, required=True, help="a .png")
    parser.add_argument("--seeds", type=seeds, default=seeds("0-15"), metavar="0-15,20",
                        help="one image a seed (0-15)")
    parser.add_argument("--psi", type=number, default=0.7,
                        help="truncation: 1 is full variety, 0 the average image (0.7)")
    parser.add_argument("--noise", choices=("const", "random", "none"), default="const",
                        help="noise maps: the stored ones, new ones, or none (const)")
    parser.add_argument("--columns", type=count, default=8, help="images in a row (8)")
    parser.add_argument("--device", help="cpu or cuda (cuda where there is one)")
    trust(parser)
    parser.set_defaults(run_command=commands.run_generate)


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a generator's file or name")
    parser.add_argument("out", metavar="OUT", type=Path,
                        help=".safetensors, or rosinality's .pt for a StyleGAN2")
    parser.add_argument("--generator-only", action="store_true",
                        help="leave the discriminator out")
    parser.add_argument("--half", action="store_true",
                        help="store float16, half the size; .safetensors only")
    parser.add_argument("--drop-clamp", action="store_true",
                        help="leave conv_clamp out, a bound on activations that .pt has no place "
                             "for; refused where the 8 images show it")
    trust(parser)
    parser.set_defaults(run_command=commands.run_convert)


def _inspect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a generator's file or name")
    trust(parser)
    parser.set_defaults(run_command=commands.run_inspect)


def _train_teacher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--network", choices=tuple(KINDS), default="stylegan2",
                        help="what kind of network (stylegan2)")
    parser.add_argument("--resolution", type=count, help="side in pixels (64; SN-GAN 32)")
    parser.add_argument("--channels", type=channels,
                        help="widths from 4x4 up, WIDTHxCOUNT (160x6,80x2,40x2; SN-GAN 256x7)")
    parser.add_argument("--z-dim", type=count, help="size of z (128)")
    parser.add_argument("--w-dim", type=count, help="size of w (128; SN-GAN has none)")
    parser.add_argument("--mapping-layers", type=count,
                        help="from z to w (4; SN-GAN has none)")
    parser.add_argument("--warm-start", type=natural, default=0, metavar="STEPS",
                        help="regression onto portraits before the adversarial phase (0)")
    parser.add_argument("--images", type=natural, default=200_000,
                        help="real images of the adversarial phase (200000)")
    training(parser, "portraits")
    parser.set_defaults(run_command=commands.run_train_teacher)


def _train_student(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("student", metavar="STUDENT", help="a pruned generator's file")
    parser.add_argument("--teacher", required=True, help="its teacher's file or name")
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--images", type=natural, default=200_000,
                        help="real images to show (200000)")
    distillation(parser)
    training(parser, SHIPPED)
    trust(parser)
    parser.set_defaults(run_command=commands.run_train_student)


def _train_network(parser: argparse.ArgumentParser, what: str, steps: int) -> None:
    parser.add_argument("--out", type=Path, help="a .safetensors")
    parser.add_argument("--register", metavar="NAME", help="write it to data/ and the manifest")
    parser.add_argument("--steps", type=count, default=steps, help=f"optimiser steps ({steps})")
    parser.add_argument("--batch-size", type=count, default=32, help="portraits a step (32)")
    parser.add_argument("--seed", type=integer, default=0, help="decides everything (0)")
    parser.set_defaults(run_command=commands.run_train_network, what=what)


def _train_classifier(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="one folder of images a class")
    parser.add_argument("--test", type=Path, help="the same, held out, for the accuracy")
    parser.add_argument("--out", type=Path, help="a .safetensors")
    parser.add_argument("--register", metavar="NAME", help="write it to data/ and the manifest")
    parser.add_argument("--resolution", type=count, default=32, help="side in pixels (32)")
    parser.add_argument("--steps", type=count, default=12_000, help="optimiser steps (12000)")
    parser.add_argument("--batch-size", type=count, default=128, help="images a step (128)")
    seed_and_device(parser)
    parser.set_defaults(run_command=commands.run_train_classifier)


if __name__ == "__main__":
    sys.exit(main())
