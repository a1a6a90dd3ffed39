"""The command line's arguments: one table of options, one of commands; `main` runs one of them.

Options are of plain types; what a value may be is checked by the library, where it is used. Bad
input ends with one line on stderr and exit status 2; a run that was interrupted ends with 130 and
can be resumed. Chapter 1 uses it.
"""

import argparse
import inspect
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ..importance import METHODS
from ..networks import KINDS
from ..pruning import RGB_GAINS
from ..training import INPUTS
from . import commands
from .arguments import channels, number, seed, seeds, setting

# what stands for portraits where it is not said
SHIPPED = "(portraits for the shipped networks; others have no default)"

_TOP = """examples:
  python -m cagc_lib compress portraits --ratio 0.7 --out student.safetensors
  python -m cagc_lib evaluate student.safetensors --teacher portraits
  python -m cagc_lib generate student.safetensors --seeds 0-15 --psi 0.7 --out sheet.png
  python -m cagc_lib train teacher --warm-start 12000 --images 200000 --out runs/teacher

A FILE is a .safetensors of this project, a rosinality or CAGC .pt, an NVIDIA .pkl, or a name: the
shipped portraits and portraits-11x, or a model of others such as ffhq-256, downloaded when it is
first asked for. COMMAND --help says more.
"""
_TRAIN = """examples:
  %(prog)s teacher --warm-start 12000 --images 200000 --out runs/teacher
  %(prog)s teacher --data photos/ --resolution 128 --channels 256x8,128x2,64x2 \\
      --out runs/photos --resume
  %(prog)s student pruned.safetensors --teacher portraits --out runs/student
  %(prog)s student pruned.safetensors --teacher mine.pkl --content everything \\
      --data photos/ --perceptual 0 --out runs/mine
  %(prog)s teacher --network sngan --data cifar10/train --out runs/sngan
  %(prog)s parser --out parser.safetensors
  %(prog)s classifier --data cifar10/train --test cifar10/test --out c.safetensors
"""


def _option(text: str, kind: Any = None, default: Any = None, **more: Any) -> dict[str, Any]:
    """What argparse takes of an option: its kind is bool, words to choose from, or a reader."""
    if kind is bool:
        return {"help": text, "action": "store_true"}
    how = {"choices": kind} if isinstance(kind, tuple) else {"type": kind}
    return {"help": text, "default": default, **how, **more}


# a name without dashes is positional; the help ends with the default
OPTIONS = {
    "file": _option("a generator's file or name", metavar="FILE"),
    "teacher": _option("a generator's file or name", metavar="TEACHER"),
    "student": _option("a pruned generator's file", metavar="STUDENT"),
    "out": _option(".safetensors, or rosinality's .pt for a StyleGAN2", Path, metavar="OUT"),
    "--out": _option("run folder", Path, required=True),
    "--teacher": _option("its teacher's file or name", metavar="FILE", required=True),
    "--key": _option("which generator of another project's file to read, such as g"),
    "--trust": _option("load a downloaded model whose hash is not known", bool),
    "--seed": _option("decides every random draw", seed, 0),
    "--device": _option("cpu or cuda (cuda where there is one)"),
    "--ratio": _option("share of every layer's channels to remove, in [0, 1)", number, 0.7),
    "--method": _option(
        f"how a channel's importance is scored: {', '.join(METHODS)}", METHODS, "content-aware",
        metavar="METHOD",
    ),
    "--num-samples": _option("images to score with", int, 400),
    "--score-batch": _option("images per backward pass of the scores", int, 10),
    "--noise-prob": _option("share of the content's pixels replaced", number, 0.05),
    "--per-sample": _option("|gradient| per image, not per batch as the public code's", bool),
    "--rgb-gain": _option(
        "a kept channel's strength in the image: preserved, or recomputed, larger, as in the "
        "public code", RGB_GAINS, "recomputed",
    ),
    "--round-to": _option("round kept widths up to multiples of N", int, metavar="N"),
    "--sparse-images": _option(
        "real images on which --method slimming first drives gains to zero", int, 0, metavar="N"
    ),
    "--sparsity": _option("weight of the gains' L1 norm there", number, 1e-3),
    "--distil-images": _option("real images to distil with; 0 prunes only", int, 0, metavar="N"),
    "--run": _option("run folder of the distillation (beside --out, ending in .run)", Path),
    "--content": _option(
        "portraits, or classes such as hair,hat: for rendered portraits only; bisenet, "
        "segformer-face-parsing (either with =WEIGHTS) or face-alignment: for faces; "
        "class-activation: for CIFAR-10; painted=FILE: one place in aligned images, painted "
        "lighter than middle grey; attention, clusters of the generator's own features, or "
        "attention=0,3, those clusters, or everything: for any generator; with ' within 3' behind "
        "it all at most 3 pixels from it too, with ' beyond 8' all further than 8, with 'outside ' "
        "before it what is not (portraits for the shipped ones; others have no default)"
    ),
    "--l1": _option("weight of the pixel loss", number, 3.0),
    "--perceptual": _option("weight of the feature loss", number, 3.0),
    "--perceptual-network": _option(
        "what the feature loss looks through: ours knows portraits and, for SN-GAN, CIFAR-10; "
        "standard is LPIPS with VGG, for photographs (ours for portraits and SN-GAN; others have "
        "no default)", ("ours", "standard"),
    ),
    "--rgb": _option("weight of the pixel loss on smaller RGB sums", number, 0.0),
    "--relation": _option(
        "weight of the loss on how images resemble those of latents moved along the teacher's "
        "principal directions", number, 0.0,
    ),
    "--adversarial": _option("weight of the adversarial loss", number, 1.0),
    "--no-mask": _option("distil everywhere, not only inside the content", bool),
    "--teacher-noise": _option("teacher's noise maps", ("independent", "shared"), "independent"),
    "--init": _option("the student's first weights", ("inherited", "fresh"), "inherited"),
    "--resume": _option("continue the run where it stopped", bool),
    "--allow": _option("what may be another than the resumed run's", INPUTS, [], action="append"),
    "--data": _option(
        "real images: portraits (rendered), a folder of pictures (.png, .jpg, .jpeg, .webp, .bmp, "
        f".tif, also in folders inside) or NVIDIA's .zip of them; cut to squares, resized {SHIPPED}"
    ),
    "--batch-size": _option("images a step (16; SN-GAN 64)", int),
    "--autocast": _option("networks' arithmetic in training", ("off", "bfloat16"), "bfloat16"),
    "--set": _option(
        "any other field of TrainConfig, such as r1_gamma=1 or pool=20000", setting, [],
        action="append", metavar="NAME=VALUE",
    ),
    "--register": _option("also write it to data/ and its manifest, in float16", metavar="NAME"),
    "--reference": _option(f"real images, as --data of compress {SHIPPED}"),
    "--features": _option(
        "what measures: portraits; autoencoder, a second eye for these; standard, Inception and "
        f"VGG as in published figures; or a classifier's file or name {SHIPPED}"
    ),
    "--psi": _option("truncation: 1 is full variety, 0 the average image", number, 1.0),
    "--json": _option("write the report there", Path, metavar="FILE"),
    "--csv": _option("append it as a row there", Path, metavar="FILE"),
    "--seeds": _option("one image a seed", seeds, "0-15", metavar="0-15,20"),
    "--noise": _option("noise maps: stored, new, or none", ("const", "random", "none"), "const"),
    "--columns": _option("images in a row", int, 8),
    "--generator-only": _option("leave the discriminator out, unread", bool),
    "--half": _option("store float16, half the size; .safetensors only", bool),
    "--drop-clamp": _option(
        "leave conv_clamp out, a bound on activations that .pt has no place for; refused where "
        "the 8 images show it", bool,
    ),
    "--network": _option("what kind of network", tuple(KINDS), "stylegan2"),
    "--resolution": _option("side in pixels (64; SN-GAN 32)", int),
    "--channels": _option("WIDTHxCOUNT from 4x4 up (160x6,80x2,40x2; SN-GAN 256x7)", channels),
    "--z-dim": _option("size of z (128)", int),
    "--w-dim": _option("size of w (128; SN-GAN has none)", int),
    "--mapping-layers": _option("from z to w (4; SN-GAN has none)", int),
    "--warm-start": _option("regression onto portraits beforehand", int, 0, metavar="STEPS"),
    "--images": _option("real images to show", int, 200_000),
    "--steps": _option("optimiser steps", int),
    "sweep": _option("what to run and to measure", Path, metavar="FILE.toml"),
    "--table": _option("the table to fill (beside FILE.toml, ending in .csv)", Path),
    "--runs": _option("a folder for the run folders", Path, Path("runs/sweep")),
    "--rows": _option("only these rows of it", nargs="+", metavar="ROW", default=[]),
    "--processes": _option("how many runs at once", int, 1),
    "--latencies": _option("measure how long the networks take, and nothing else", bool),
    "--test": _option("the same, held out, for the accuracy", Path),
}
DISTILLATION = (
    "--content", "--l1", "--perceptual", "--perceptual-network", "--rgb", "--relation",
    "--adversarial", "--no-mask", "--teacher-noise", "--init",
)
LOADING = ("--key", "--generator-only", "--trust")
TRAINING = ("--resume", "--allow", "--data", "--batch-size", "--autocast", "--set", "--register")
GROUPS = {"content and distillation": DISTILLATION, "training": TRAINING}
FILE_OR_NAME = {"required": False, "help": "a .safetensors"}


class Command(NamedTuple):
    """What one command is: its function, its help among others, its options, its usage.

    The function's docstring is the command's own help: the first paragraph above the options, the
    others below. `changes` holds what an option has otherwise than in OPTIONS.
    """

    run: Callable[[argparse.Namespace], None]
    help: str
    options: tuple[str, ...]
    usage: str | None = None
    changes: dict[str, dict[str, Any]] = {}  # noqa: RUF012


COMMANDS = {
    "compress": Command(
        commands.run_compress, "score, prune and distil a generator",
        ("teacher", "--out", "--ratio", "--method", "--num-samples", "--score-batch",
         "--noise-prob", "--per-sample", "--rgb-gain", "--round-to", "--sparse-images",
         "--sparsity", "--distil-images", "--run", *DISTILLATION, *TRAINING, "--seed", "--device",
         *LOADING),
        "TEACHER --out FILE [--ratio RATIO] [options]",
        {"--out": {"help": ".safetensors, or rosinality's .pt"}},
    ),
    "evaluate": Command(
        commands.run_evaluate, "measure a generator against held-out images",
        ("file", "--teacher", "--num-samples", "--content", "--reference", "--features", "--psi",
         "--json", "--csv", "--seed", "--device", *LOADING),
        "FILE [options]",
        {"--teacher": {"required": False, "help": "also measure the distance to this one"},
         "--key": {"help": "which generator of FILE to read, such as g"},
         "--num-samples": {"default": 2000, "help": "images to measure"},
         "--content": {"help": "as for compress, but not attention, which knows one generator's "
                               f"images only; or none for the overall numbers only {SHIPPED}"}},
    ),
    "generate": Command(
        commands.run_generate, "draw a sheet of images",
        ("file", "--out", "--seeds", "--psi", "--noise", "--columns", "--device", *LOADING),
        "FILE --out FILE [options]", {"--out": {"help": "a .png"}, "--psi": {"default": 0.7}},
    ),
    "convert": Command(
        commands.run_convert, "write a network in another format",
        ("file", "out", "--half", "--drop-clamp", *LOADING), "FILE OUT [options]",
    ),
    "inspect": Command(
        commands.run_inspect, "say what a file holds and what it lacks", ("file", *LOADING),
        "FILE [options]",
    ),
    "sweep": Command(
        commands.run_sweep_file, "train and measure a whole table",
        ("sweep", "--table", "--runs", "--rows", "--seeds", "--processes", "--latencies",
         "--device"),
        "FILE.toml [options]",
        {"--seeds": {"default": [], "help": "only these seeds", "metavar": "0-2,4"}},
    ),
    "train teacher": Command(
        commands.run_train_teacher, "a full-size generator and its discriminator",
        ("--out", "--network", "--resolution", "--channels", "--z-dim", "--w-dim",
         "--mapping-layers", "--warm-start", "--images", *TRAINING, "--seed", "--device"),
        "--out FOLDER [options]",
        {"--data": {"default": "portraits", "help": "real images, as --data of compress"},
         "--images": {"help": "real images of the adversarial phase"}},
    ),
    "train student": Command(
        commands.run_train_student, "a pruned generator, against its teacher",
        ("student", "--teacher", "--out", "--images", *DISTILLATION, *TRAINING, "--seed",
         "--device", *LOADING),
        "STUDENT --teacher FILE --out FOLDER [options]",
        {"--key": {"help": "which generator of the teacher's file to read, such as g"}},
    ),
    **{
        f"train {what}": Command(
            commands.run_train_network, f"the small network: {purpose}",
            ("--out", "--register", "--steps", "--batch-size", "--seed"), None,
            {"--out": FILE_OR_NAME, "--steps": {"default": steps},
             "--batch-size": {"default": batch, "help": "portraits a step"}},
        )
        for what, steps, batch, purpose in (
            ("parser", 4000, 32, "reads the content mask"),
            ("features", 5000, 32, "perceptual loss and measures"),
            ("autoencoder", 3000, 64, "a second eye that measures"),
        )
    },
    "train classifier": Command(
        commands.run_train_network, "the small network of photographs: features, content",
        ("--data", "--test", "--out", "--register", "--resolution", "--steps", "--batch-size",
         "--seed", "--device"), None,
        {"--data": {"type": Path, "required": True, "help": "one folder of images a class"},
         "--out": FILE_OR_NAME, "--steps": {"default": 12_000},
         "--resolution": {"default": 32, "help": "side in pixels"},
         "--batch-size": {"default": 128, "help": "images a step"}},
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
    """Run one command; its arguments are the process's own where none are given.

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
        said = str(error)
        if isinstance(error, OSError) and error.filename is not None:
            # a system call's own words begin with [Errno 2]
            said = f"{error.filename}: {error.strerror}"
        print(f"cagc_lib: {' '.join(said.split())}", file=sys.stderr)
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
        description, _, epilog = (inspect.getdoc(command.run) or "").partition("\n\n")
        own = groups[above].add_parser(
            last, help=command.help, usage=usage, description=description, epilog=epilog
        )
        titled = {title: own.add_argument_group(title) for title in GROUPS}
        for option in command.options:
            given = OPTIONS[option] | command.changes.get(option, {})
            if given.get("default") not in (None, []):
                given["help"] += " (%(default)s)"
            # only a training command has so many options that they want headings
            of = [t for t, part in GROUPS.items() if option in part and "--set" in command.options]
            target = titled[of[0]] if of else own
            target.add_argument(option, **given)
        own.set_defaults(command=name)
    return parser
