"""How many portraits a second does the CPU draw?

Draws batches at 64 and 128 pixels, interleaved so that a busy machine treats both alike, and
prints the images per second at the 20th, 50th and 80th percentile of the repeats.

    python benchmarks/portraits_cpu.py [--threads 2] [--repeats 15] [--batch 128]
"""

from __future__ import annotations

import argparse
import time

import torch

from cagc_lib.portraits import portrait_parameters, render_parameters


def main() -> None:
    """Measure and print one line a resolution."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--batch", type=int, default=128)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    params = portrait_parameters(range(arguments.batch))
    rates: dict[int, list[float]] = {64: [], 128: []}
    for repeat in range(arguments.repeats + 1):
        for resolution, found in rates.items():
            start = time.perf_counter()
            render_parameters(params, resolution)
            rate = arguments.batch / (time.perf_counter() - start)
            # the first round only warms up
            if repeat:
                found.append(rate)
    print(f"torch {torch.__version__}, {arguments.threads} threads, batch {arguments.batch}")
    for resolution, found in rates.items():
        p20, p50, p80 = torch.tensor(found).quantile(torch.tensor([0.2, 0.5, 0.8])).tolist()
        print(f"{resolution:4d} px: p20 {p20:6.1f}  p50 {p50:6.1f}  p80 {p80:6.1f} images/s")


if __name__ == "__main__":
    main()
