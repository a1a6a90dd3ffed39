"""The command line: `python -m cagc_lib train | compress | evaluate | generate`.

It reads arguments, calls the library and prints what came out; everything it does is one call away
in Python. Bad input ends with one line on stderr and exit status 2; a run that was interrupted ends
with 130 and can be resumed. Chapter 1 uses it.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from .generator import GeneratorConfig
from .train_state import TrainConfig
from .training import train_teacher

_EXAMPLES = """examples:
  python -m cagc_lib train teacher --warm-start 3000 --images 200000 --out runs/teacher
  python -m cagc_lib train teacher --data my-photos/ --out runs/mine --resume
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    parsed = _parser().parse_args(arguments)
    parsed.command_line = "python -m cagc_lib " + shlex.join(
        sys.argv[1:] if arguments is None else arguments
    )
    try:
        parsed.run(parsed)
    except KeyboardInterrupt as error:
        print(f"cagc_lib: {error or 'interrupted'}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"cagc_lib: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cagc_lib",
        description="Compress a StyleGAN2 generator where its images matter least.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    train = commands.add_parser("train", help="train a network from new weights")
    kinds = train.add_subparsers(metavar="WHAT", required=True)
    _add_train_teacher(kinds.add_parser("teacher", help="a full-size generator"))
    return parser


def _add_train_teacher(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--resolution", type=int, default=64, help="side in pixels (64)")
    parser.add_argument(
        "--channels", default="160x6,80x2,40x2", type=_channels,
        help="widths from 4x4 up, WIDTHxCOUNT separated by commas (160x6,80x2,40x2)",
    )
    parser.add_argument("--z-dim", type=int, default=128, help="size of z (128)")
    parser.add_argument("--w-dim", type=int, default=128, help="size of w (128)")
    parser.add_argument("--mapping-layers", type=int, default=4, help="layers from z to w (4)")
    parser.add_argument(
        "--warm-start", type=int, default=0, metavar="STEPS",
        help="steps of regression onto portraits before the adversarial phase (0)",
    )
    _add_training(parser, images=200_000)
    parser.set_defaults(run=_train_teacher)


def _add_training(parser: argparse.ArgumentParser, images: int) -> None:
    """Add what every run of the training loop takes."""
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument(
        "--data", default="portraits", help='real images: "portraits" or a folder (portraits)'
    )
    parser.add_argument(
        "--images", type=int, default=images, help=f"real images to show ({images})"
    )
    parser.add_argument("--batch-size", type=int, default=16, help="images a step (16)")
    parser.add_argument(
        "--autocast", choices=("off", "bfloat16"), default="bfloat16",
        help="arithmetic of the networks (bfloat16)",
    )
    parser.add_argument("--seed", type=int, default=0, help="decides every random draw (0)")
    parser.add_argument("--device", default=None, help="cpu or cuda (cuda where there is one)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", type=_setting,
        help="any other field of TrainConfig, such as r1_gamma=1 or pool=20000",
    )


def _train_teacher(parsed: argparse.Namespace) -> None:
    config = _train_config(parsed, warm_start=parsed.warm_start)
    generator = GeneratorConfig(
        parsed.resolution, parsed.channels, parsed.z_dim, parsed.w_dim, parsed.mapping_layers
    )
    features = None
    train_teacher(
        config, generator, parsed.out, features=features, resume=parsed.resume,
        device=_device(parsed.device),
    )
    print(f"{parsed.out / 'checkpoint.safetensors'}: {config.images:,} images")


def _train_config(parsed: argparse.Namespace, **values: object) -> TrainConfig:
    for name in ("images", "batch_size", "data", "autocast", "seed"):
        values[name] = getattr(parsed, name)
    return TrainConfig.from_dict(values | dict(parsed.set))


def _device(name: str | None) -> torch.device:
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("device: got cuda, but torch sees no GPU; expected cpu")
    try:
        return torch.device(name)
    except RuntimeError:
        raise ValueError(f"device: got {name!r}, expected cpu or cuda") from None


def _channels(text: str) -> tuple[int, ...]:
    """Read 160x6,80x2 as six widths of 160 and two of 80."""
    widths: list[int] = []
    for part in text.split(","):
        if not re.fullmatch(r"[0-9]{1,5}(x[0-9]{1,2})?", part):
            raise argparse.ArgumentTypeError(f"got {text!r}, expected for example 160x6,80x2,40x2")
        width, _, count = part.partition("x")
        widths += [int(width)] * int(count or 1)
    return tuple(widths)


def _setting(text: str) -> tuple[str, object]:
    """Read NAME=VALUE, VALUE being true, false, an integer, a number or a word."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected NAME=VALUE")
    if value in ("true", "false"):
        return name, value == "true"
    kinds: tuple[Callable, ...] = (int, float)
    for kind in kinds:
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


if __name__ == "__main__":
    sys.exit(main())
