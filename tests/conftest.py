"""What every test starts from: one thread, one seed, reproducible operators, no sockets.

Sockets are blocked and warnings are errors by the options in pyproject.toml.
"""

import os

import torch
from hypothesis import settings

# Where there is no GPU, Triton's kernels run in its interpreter. Read when triton is imported.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# The same examples on every run; a slow machine is not a failure.
settings.register_profile("cagc", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("cagc")


def pytest_configure() -> None:
    """Fix torch for the whole run; uninitialised memory is filled with NaN, so reading it shows.

    One thread: the tests' tensors are small, and two stall each other on a busy machine.
    """
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def pytest_runtest_setup() -> None:
    """Start every test from the same seed, whatever ran before it."""
    torch.manual_seed(0)
