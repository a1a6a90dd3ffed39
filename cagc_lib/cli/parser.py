"""The command line's arguments: one table of options, one of commands; `main` runs one of them.

Options are of plain types; what a value may be is checked by the library, where it is used. Bad
input ends with one line on stderr and exit status 2; a run that was interrupted ends with 130 and
can be resumed. Chapter 1 uses it.
"""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ..importance import METHODS
from ..networks import KINDS
from ..pruning import RGB_GAINS
from . import commands
from .arguments import channels, number, seed, seeds, setting

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
image of the same z. The class Report in cagc_lib.metrics explains units.

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


# option -> what argparse takes of it; a name without dashes is positional
OPTIONS: dict[str, dict[str, Any]] = {
    "file": {"metavar": "FILE", "help": "a generator's file or name"},
    "teacher": {"metavar": "TEACHER", "help": "a generator's file or name"},
    "student": {"metavar": "STUDENT", "help": "a pruned generator's file"},
    "out": {"metavar": "OUT", "type": Path,
            "help": ".safetensors, or rosinality's .pt for a StyleGAN2"},
    "--out": {"type": Path, "required": True},
    "--teacher": {"metavar": "FILE"},
    "--trust": {"action": "store_true",
                "help": "load a downloaded model whose hash is not known"},
    "--seed": {"type": seed, "default": 0, "help": "decides every random draw (0)"},
    "--device": {"help": "cpu or cuda (cuda where there is one)"},
    "--ratio": {"type": number, "default": 0.7,
                "help": "share of every layer's channels to remove, in [0, 1) (0.7)"},
    "--method": {"choices": METHODS, "default": "content-aware",
                 "help": "how a channel's importance is scored (content-aware)"},
    "--num-samples": {"type": int, "default": 400, "help": "images to score with (400)"},
    "--score-batch": {"type": int, "default": 10,
                      "help": "images per backward pass of the scores (10)"},
    "--noise-prob": {"type": number, "default": 0.05,
                     "help": "share of the content's pixels replaced (0.05)"},
    "--per-sample": {"action": "store_true",
                     "help": "take |gradient| per image, not per batch as the official code does"},
    "--rgb-gain": {"choices": RGB_GAINS, "default": "recomputed",
                   "help": "a kept channel's strength in the image: preserved, or recomputed, "
                           "which is larger, as in the official code (recomputed)"},
    "--round-to": {"type": int, "metavar": "N", "help": "round kept widths up to multiples of N"},
    "--sparse-images": {"type": int, "default": 0, "metavar": "N",
                        "help": "with --method slimming: real images to show beforehand, while "
                                "all gains are driven toward zero (0)"},
    "--sparsity": {"type": number, "default": 1e-3,
                   "help": "weight of the gains' L1 norm there (0.001)"},
    "--distil-images": {"type": int, "default": 0, "metavar": "N",
                        "help": "real images to show in distillation; 0 prunes only (0)"},
    "--run": {"type": Path,
              "help": "run folder of the distillation (beside --out, ending in .run)"},
    "--content": {"help": "portraits, or classes such as hair,hat: for rendered portraits only; "
                          "bisenet, segformer-face-parsing (either with =WEIGHTS) or "
                          "face-alignment: for faces; class-activation: for CIFAR-10; "
                          "painted=FILE: one place in aligned images, painted lighter than "
                          "middle grey; attention, clusters of the generator's own features, "
                          "or attention=0,3, those clusters, or everything: for any generator "
                          "(portraits for the shipped ones; others have no default)"},
    "--l1": {"type": number, "default": 3.0, "help": "weight of the pixel loss (3)"},
    "--perceptual": {"type": number, "default": 3.0, "help": "weight of the feature loss (3)"},
    "--perceptual-network": {"choices": ("ours", "standard"),
                             "help": "what the feature loss looks through: ours knows portraits "
                                     "and, for SN-GAN, CIFAR-10; standard is LPIPS with VGG, for "
                                     "photographs (ours for portraits and SN-GAN; others have no "
                                     "default)"},
    "--rgb": {"type": number, "default": 0.0,
              "help": "weight of the pixel loss on smaller RGB sums (0)"},
    "--adversarial": {"type": number, "default": 1.0,
                      "help": "weight of the adversarial loss (1)"},
    "--no-mask": {"action": "store_true",
                  "help": "distil everywhere, not only inside the content"},
    "--teacher-noise": {"choices": ("independent", "shared"), "default": "independent",
                        "help": "the teacher's noise maps (independent)"},
    "--init": {"choices": ("inherited", "fresh"), "default": "inherited",
               "help": "the student's first weights (inherited)"},
    "--resume": {"action": "store_true", "help": "continue the run where it stopped"},
    "--data": {"help": "real images: portraits (rendered), or a folder of pictures (.png, .jpg, "
                       ".jpeg, .webp, .bmp, also in folders inside), cut to their central square "
                       f"and resized ({SHIPPED})"},
    "--batch-size": {"type": int, "help": "images a step (16; SN-GAN 64)"},
    "--autocast": {"choices": ("off", "bfloat16"), "default": "bfloat16",
                   "help": "arithmetic of the networks in training (bfloat16)"},
    "--set": {"action": "append", "default": [], "metavar": "NAME=VALUE", "type": setting,
              "help": "any other field of TrainConfig, such as r1_gamma=1 or pool=20000"},
    "--register": {"metavar": "NAME",
                   "help": "also write it to data/ and the manifest, in half precision"},
    "--reference": {"help": "real images: portraits (rendered), or a folder of pictures, as "
                            f"--data of compress ({SHIPPED})"},
    "--features": {"help": "what measures: portraits; standard, Inception and VGG as in "
                           f"published figures; or a classifier's file or name ({SHIPPED})"},
    "--psi": {"type": number, "default": 1.0,
              "help": "truncation: 1 is full variety, 0 the average image (1)"},
    "--json": {"type": Path, "metavar": "FILE", "help": "write the report there"},
    "--csv": {"type": Path, "metavar": "FILE", "help": "append it as a row there"},
    "--seeds": {"type": seeds, "default": seeds("0-15"), "metavar": "0-15,20",
                "help": "one image a seed (0-15)"},
    "--noise": {"choices": ("const", "random", "none"), "default": "const",
                "help": "noise maps: the stored ones, new ones, or none (const)"},
    "--columns": {"type": int, "default": 8, "help": "images in a row (8)"},
    "--generator-only": {"action": "store_true", "help": "leave the discriminator out"},
    "--half": {"action": "store_true",
               "help": "store float16, half the size; .safetensors only"},
    "--drop-clamp": {"action": "store_true",
                     "help": "leave conv_clamp out, a bound on activations that .pt has no place "
                             "for; refused where the 8 images show it"},
    "--network": {"choices": tuple(KINDS), "default": "stylegan2",
                  "help": "what kind of network (stylegan2)"},
    "--resolution": {"type": int, "help": "side in pixels (64; SN-GAN 32)"},
    "--channels": {"type": channels,
                   "help": "widths from 4x4 up, WIDTHxCOUNT (160x6,80x2,40x2; SN-GAN 256x7)"},
    "--z-dim": {"type": int, "help": "size of z (128)"},
    "--w-dim": {"type": int, "help": "size of w (128; SN-GAN has none)"},
    "--mapping-layers": {"type": int, "help": "from z to w (4; SN-GAN has none)"},
    "--warm-start": {"type": int, "default": 0, "metavar": "STEPS",
                     "help": "regression onto portraits before the adversarial phase (0)"},
    "--images": {"type": int, "default": 200_000, "help": "real images to show (200000)"},
    "--steps": {"type": int},
    "--test": {"type": Path, "help": "the same, held out, for the accuracy"},
}  # fmt: skip
DISTILLATION = (
    "--content", "--l1", "--perceptual", "--perceptual-network", "--rgb", "--adversarial",
    "--no-mask", "--teacher-noise", "--init",
)
TRAINING = (
    "--resume", "--data", "--batch-size", "--autocast", "--set", "--register", "--seed", "--device",
)
GROUPS = {"content and distillation": DISTILLATION, "training": TRAINING[:-2]}
RUN_FOLDER = {"help": "run folder"}
FILE_OR_NAME = {"required": False, "help": "a .safetensors"}


class Command(NamedTuple):
    """What one command is: its help, its options, and the function that does it.

    `changes` holds what an option has otherwise than in OPTIONS.
    """

    run: Callable[[argparse.Namespace], None]
    help: str
    options: tuple[str, ...]
    changes: dict[str, dict[str, Any]] = {}  # noqa: RUF012
    usage: str | None = None
    description: str | None = None
    epilog: str | None = None


COMMANDS = {
    "compress": Command(
        commands.run_compress, "score, prune and distil a generator",
        ("teacher", "--out", "--ratio", "--method", "--num-samples", "--score-batch",
         "--noise-prob", "--per-sample", "--rgb-gain", "--round-to", "--sparse-images",
         "--sparsity", "--distil-images", "--run", *DISTILLATION, *TRAINING, "--trust"),
        {"--out": {"help": ".safetensors, or rosinality's .pt"}},
        "TEACHER --out FILE [--ratio RATIO] [options]",
        "Remove the channels that the content of the images depends on least.", _COMPRESS,
    ),
    "evaluate": Command(
        commands.run_evaluate, "measure a generator against held-out images",
        ("file", "--teacher", "--num-samples", "--content", "--reference", "--features", "--psi",
         "--json", "--csv", "--seed", "--device", "--trust"),
        {"--teacher": {"help": "also measure the distance to this one"},
         "--num-samples": {"default": 2000, "help": "images to measure (2000)"},
         "--content": {"help": "as for compress, but not attention, which knows one generator's "
                               f"images only; or none for the overall numbers only ({SHIPPED})"}},
        "FILE [options]",
        "Measure a generator against held-out rendered portraits, or a folder.\n"
        "In the portraits' features, other images' distances mean little.", _EVALUATE,
    ),
    "generate": Command(
        commands.run_generate, "draw a sheet of images",
        ("file", "--out", "--seeds", "--psi", "--noise", "--columns", "--device", "--trust"),
        {"--out": {"help": "a .png"},
         "--psi": {"default": 0.7,
                   "help": "truncation: 1 is full variety, 0 the average image (0.7)"}},
        "FILE --out FILE [options]", "Draw a sheet of images, one a seed.", _GENERATE,
    ),
    "convert": Command(
        commands.run_convert, "write a network in another format",
        ("file", "out", "--generator-only", "--half", "--drop-clamp", "--trust"), {},
        "FILE OUT [options]",
        "Write a network as .safetensors, or as a .pt that the rosinality and CAGC code loads.",
        _CONVERT,
    ),
    "inspect": Command(
        commands.run_inspect, "say what a file holds and what it lacks", ("file", "--trust"), {},
        "FILE [options]", "Print a card: format, sizes, costs, hashes, what is missing.", _INSPECT,
    ),
    "train teacher": Command(
        commands.run_train_teacher, "a full-size generator and its discriminator",
        ("--out", "--network", "--resolution", "--channels", "--z-dim", "--w-dim",
         "--mapping-layers", "--warm-start", "--images", *TRAINING),
        {"--out": RUN_FOLDER,
         "--data": {"default": "portraits"},
         "--images": {"help": "real images of the adversarial phase (200000)"}},
        "--out FOLDER [options]",
    ),
    "train student": Command(
        commands.run_train_student, "a pruned generator, against its teacher",
        ("student", "--teacher", "--out", "--images", *DISTILLATION, *TRAINING, "--trust"),
        {"--teacher": {"required": True, "help": "its teacher's file or name"},
         "--out": RUN_FOLDER},
        "STUDENT --teacher FILE --out FOLDER [options]",
    ),
    **{
        f"train {what}": Command(
            commands.run_train_network, f"the small network: {purpose}",
            ("--out", "--register", "--steps", "--batch-size", "--seed"),
            {"--out": FILE_OR_NAME,
             "--steps": {"default": steps, "help": f"optimiser steps ({steps})"},
             "--batch-size": {"default": 32, "help": "portraits a step (32)"}},
        )
        for what, steps, purpose in (
            ("parser", 4000, "reads the content mask"),
            ("features", 5000, "perceptual loss and measures"),
        )
    },
    "train classifier": Command(
        commands.run_train_classifier, "the small network of photographs: features, content",
        ("--data", "--test", "--out", "--register", "--resolution", "--steps", "--batch-size",
         "--seed", "--device"),
        {"--data": {"type": Path, "required": True, "help": "one folder of images a class"},
         "--out": FILE_OR_NAME,
         "--resolution": {"default": 32, "help": "side in pixels (32)"},
         "--steps": {"default": 12_000, "help": "optimiser steps (12000)"},
         "--batch-size": {"default": 128, "help": "images a step (128)"}},
    ),
}


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and whose help keeps its examples' lines."""

    def __init__(self, **options: Any) -> None:
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
    # what the manifest records: a resumed run gives what an uninterrupted one does
    recorded = [argument for argument in arguments if argument != "--resume"]
    try:
        parsed = _parser().parse_args(
            arguments, argparse.Namespace(how=f"python -m cagc_lib {shlex.join(recorded)}")
        )
        COMMANDS[parsed.command].run(parsed)
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
    groups = {"": parser.add_subparsers(metavar="COMMAND", required=True)}
    for name, command in COMMANDS.items():
        above, _, last = name.rpartition(" ")
        if above not in groups:
            what = "train a teacher, a student, or a small network that reads images"
            train = groups[""].add_parser(above, help=what, epilog=_TRAIN)
            groups[above] = train.add_subparsers(metavar="WHAT", required=True)
        usage = command.usage and f"python -m cagc_lib {name} {command.usage}"
        own = groups[above].add_parser(
            last, help=command.help, usage=usage, description=command.description,
            epilog=command.epilog,
        )
        titled = {title: own.add_argument_group(title) for title in GROUPS}
        for option in command.options:
            # only a training command has so many options that they want headings
            of = [t for t, part in GROUPS.items() if option in part and "--set" in command.options]
            target = titled[of[0]] if of else own
            target.add_argument(option, **OPTIONS[option] | command.changes.get(option, {}))
        own.set_defaults(command=name)
    return parser
