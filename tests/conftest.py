"""What every test starts from: one thread, one seed, reproducible operators, no sockets.

Sockets are blocked and warnings are errors by the options in pyproject.toml.
"""

import os
from pathlib import Path

import pytest
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


@pytest.fixture(scope="session")
def small_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a teacher small enough to prune and train in a test, never trained itself."""
    # not above: importing the library imports triton, which reads the variable set there
    from cagc_lib.checkpoints import save_checkpoint
    from cagc_lib.networks import (
        Discriminator,
        Generator,
        GeneratorConfig,
        matching_discriminator,
    )

    torch.manual_seed(0)
    g = Generator(GeneratorConfig(32, (8,) * 8, z_dim=16, w_dim=16, mapping_layers=1))
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_checkpoint(g, Discriminator(matching_discriminator(g.config)), path)
    return path
