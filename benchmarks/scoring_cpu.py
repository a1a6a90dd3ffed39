"""How long does scoring the channels of the portraits teacher take?

    python benchmarks/scoring_cpu.py [--threads 2] [--samples 400] [--repeats 3]

The batch-summed score of the paper's code and the per-sample variant take turns, both with the
portraits parser as content. Prints seconds and appends them to data/benchmarks/scoring_cpu.csv.
Chapter 6.
"""

import pathlib
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rows import append, arguments, quantiles

import cagc_lib as cagc


def main() -> None:
    """Measure, print and record one line a variant."""
    parser = arguments(__doc__, __file__)
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    teacher, content = cagc.load_generator("portraits"), cagc.content_source("portraits")
    taken: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(args.repeats):
        for per_sample, seconds in taken.items():
            start = time.perf_counter()
            cagc.score_channels(
                teacher, content, num_samples=args.samples, per_sample=per_sample
            )
            seconds.append(time.perf_counter() - start)
    rows = []
    for per_sample, seconds in taken.items():
        variant = "per sample" if per_sample else "batch-summed"
        p20, p50, p80 = (round(value, 2) for value in quantiles(seconds))
        print(f"{variant:13s} p20 {p20:6.2f}  p50 {p50:6.2f}  p80 {p80:6.2f} s")
        rows.append({
            "repeats": args.repeats, "samples": args.samples, "variant": variant,
            "p20_s": p20, "p50_s": p50, "p80_s": p80,
        })
    append(rows, args.csv)


if __name__ == "__main__":
    main()
