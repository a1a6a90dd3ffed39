"""What every test starts from: two threads, one seed, reproducible operators, no sockets.

Sockets are blocked and warnings are errors by the options in pyproject.toml.
"""

from pathlib import Path

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# The same examples on every run; a slow machine is not a failure.
settings.register_profile("cagc", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("cagc")


def pytest_configure() -> None:
    """Fix torch for the whole run; uninitialised memory is filled with NaN, so reading it shows."""
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)


def pytest_runtest_setup() -> None:
    """Start every test from the same seed, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def root() -> Path:
    """Return the repository's root."""
    return ROOT
