"""How many portraits a second does the CPU draw?

    python benchmarks/portraits_cpu.py [--threads 2] [--repeats 15] [--batch 128]

Draws batches at 64 and 128 pixels in turns, so that a busy machine treats both alike; prints the
images per second at the 20th, 50th and 80th percentile of the repeats and appends them to
data/benchmarks/portraits_cpu.csv. Chapter 5.
"""

import pathlib
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from rows import append, arguments, quantiles

from cagc_lib.datasets import portrait_parameters, render_parameters


def main() -> None:
    """Measure, print and record one line a resolution."""
    parser = arguments(__doc__, __file__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--batch", type=int, default=128)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    params = portrait_parameters(range(args.batch))
    rates: dict[int, list[float]] = {64: [], 128: []}
    for repeat in range(args.repeats + 1):
        for resolution, found in rates.items():
            start = time.perf_counter()
            render_parameters(params, resolution)
            rate = args.batch / (time.perf_counter() - start)
            # the first round only warms up
            if repeat:
                found.append(rate)
    rows = []
    for resolution, found in rates.items():
        p20, p50, p80 = (round(rate, 1) for rate in quantiles(found))
        print(f"{resolution:4d} px: p20 {p20:6.1f}  p50 {p50:6.1f}  p80 {p80:6.1f} images/s")
        rows.append({
            "repeats": args.repeats, "batch": args.batch, "resolution": resolution,
            "p20_images_per_s": p20, "p50_images_per_s": p50, "p80_images_per_s": p80,
        })
    append(rows, args.csv)


if __name__ == "__main__":
    main()
