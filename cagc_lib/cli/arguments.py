"""What the commands' arguments share: options that several of them take, and readers of values.

A reader turns a word of the command line into a value, or raises argparse's error in one line. The
first four functions add options to a parser. `__main__.py` has the commands themselves.
"""

import argparse
import math
import re


def distillation(whole: argparse.ArgumentParser) -> None:
    """Add what the distillation losses take, and the content they look at."""
    parser = whole.add_argument_group("content and distillation")
    parser.add_argument("--content",
                        help="portraits, or classes such as hair,hat: for rendered portraits only; "
                             "bisenet, segformer-face-parsing (either with =WEIGHTS) or "
                             "face-alignment: for faces; class-activation: for CIFAR-10; "
                             "painted=FILE: one place in aligned images, painted lighter than "
                             "middle grey; attention, clusters of the generator's own features, "
                             "or attention=0,3, those clusters, or everything: for any generator "
                             "(portraits for the shipped ones; others have no default)")
    parser.add_argument("--l1", type=number, default=3.0, help="weight of the pixel loss (3)")
    parser.add_argument("--perceptual", type=number, default=3.0,
                        help="weight of the feature loss (3)")
    parser.add_argument("--perceptual-network", choices=("ours", "standard"),
                        help="what the feature loss looks through: ours knows portraits and, for "
                             "SN-GAN, CIFAR-10; standard is LPIPS with VGG, for photographs (ours "
                             "for portraits and SN-GAN; others have no default)")
    parser.add_argument("--rgb", type=number, default=0.0,
                        help="weight of the pixel loss on smaller RGB sums (0)")
    parser.add_argument("--adversarial", type=number, default=1.0,
                        help="weight of the adversarial loss (1)")
    parser.add_argument("--no-mask", action="store_true",
                        help="distil everywhere, not only inside the content")
    parser.add_argument("--teacher-noise", choices=("independent", "shared"),
                        default="independent", help="the teacher's noise maps (independent)")
    parser.add_argument("--init", choices=("inherited", "fresh"), default="inherited",
                        help="the student's first weights (inherited)")


def training(whole: argparse.ArgumentParser, default: str) -> None:
    """Add what every run of the training loop takes; `default` says what --data is without it."""
    parser = whole.add_argument_group("training")
    parser.add_argument("--resume", action="store_true", help="continue the run where it stopped")
    parser.add_argument("--data",
                        help="real images: portraits (rendered), or a folder of pictures (.png, "
                             ".jpg, .jpeg, .webp, .bmp, also in folders inside), cut to their "
                             f"central square and resized ({default})")
    parser.add_argument("--batch-size", type=count, help="images a step (16; SN-GAN 64)")
    parser.add_argument("--autocast", choices=("off", "bfloat16"), default="bfloat16",
                        help="arithmetic of the networks in training (bfloat16)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", type=setting,
                        help="any other field of TrainConfig, such as r1_gamma=1 or pool=20000")
    parser.add_argument("--register", metavar="NAME",
                        help="also write it to data/ and the manifest, in half precision")
    seed_and_device(whole)


def seed_and_device(parser: argparse.ArgumentParser) -> None:
    """Add what every command takes that computes for long."""
    parser.add_argument("--seed", type=integer, default=0, help="decides every random draw (0)")
    parser.add_argument("--device", help="cpu or cuda (cuda where there is one)")


def trust(parser: argparse.ArgumentParser) -> None:
    """Add what every command takes that loads a generator by name."""
    parser.add_argument("--trust", action="store_true",
                        help="load a downloaded model whose hash is not known")


def integer(text: str) -> int:
    """Read an integer."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an integer")
    return int(text)


def natural(text: str) -> int:
    """Read an integer >= 0."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an integer >= 0")
    return int(text)


def count(text: str) -> int:
    """Read an integer >= 1."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected an integer >= 1")
    return int(text)


def number(text: str) -> float:
    """Read a finite number."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a finite number")
    return value


def seeds(text: str) -> list[int]:
    """Read 0-3,20 as 0, 1, 2, 3, 20."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", part)
        if match is None:
            raise argparse.ArgumentTypeError(f"got {text!r}, expected integers such as 0-15,20")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first >= 10_000:
            raise argparse.ArgumentTypeError(f"got {part!r}, expected a rising range of <= 10000")
        found += range(first, last + 1)
    return found


def channels(text: str) -> tuple[int, ...]:
    """Read 160x6,80x2 as six widths of 160 and two of 80."""
    widths: list[int] = []
    for part in text.split(","):
        if not re.fullmatch(r"[0-9]{1,5}(x[0-9]{1,2})?", part):
            raise argparse.ArgumentTypeError(f"got {text!r}, expected for example 160x6,80x2,40x2")
        width, _, times = part.partition("x")
        widths += [int(width)] * int(times or 1)
    return tuple(widths)


def setting(text: str) -> tuple[str, object]:
    """Read NAME=VALUE, the value being true, false, an integer, a number or a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected NAME=VALUE")
    if value in ("true", "false"):
        return name, value == "true"
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value
