"""The exercises' checks: what is right in any form, what is wrong, and that none crashes."""

import doctest

import numpy as np
import pytest
import torch

from cagc_lib import exercises
from cagc_lib.exercises import close, exercise, truth


@exercise
def half(answer: object) -> bool | str:
    """Compare an answer with one half."""
    return close(answer, 0.5) or "half of it"


def test_every_form_of_a_number_is_one() -> None:
    for answer in (0.5, np.float64(0.5), np.array(0.5), np.array([0.5]), torch.tensor(0.5)):
        assert half(answer) == "right"
    assert close(1600.0, 1600) and close(np.int64(1600), 1600.0) and close(0.0, 0)


def test_what_is_no_number_is_not_right() -> None:
    for answer in (float("nan"), float("inf"), True, "0.5", [0.5], 0.51, 1j):
        assert half(answer) == "not yet: half of it"
    assert half(None) == "not yet: nothing is set"
    assert not close(np.bool_(True), 1)


def test_an_answer_that_breaks_the_check_is_wrong_and_no_traceback() -> None:
    assert half(torch.zeros(2)).startswith("not yet: RuntimeError: a Tensor with 2 elements")

    @exercise
    def shape(answer: torch.Tensor) -> bool:
        return answer.shape == (2,)

    assert shape(3) == "not yet: AttributeError: 'int' object has no attribute 'shape'"
    assert shape(torch.zeros(2)) == "right" and shape(torch.zeros(3)) == "not yet"


def test_truth_values_of_every_library() -> None:
    assert truth(True) and truth(np.bool_(True)) and truth(torch.tensor(True))
    assert not truth(np.bool_(False))
    with pytest.raises(TypeError, match="expected True or False, got int"):
        truth(1)


def test_a_check_is_tried_on_two_of_each() -> None:
    half.tried(right=[0.5, torch.tensor(0.5)], wrong=[2, None])
    with pytest.raises(AssertionError, match="two right and two wrong"):
        half.tried(right=[0.5], wrong=[2, None])
    with pytest.raises(AssertionError, match="2: not yet: half of it"):
        half.tried(right=[0.5, 2], wrong=[3, None])
    with pytest.raises(AssertionError, match=r"0\.5: right"):
        half.tried(right=[0.5, 0.5], wrong=[3, 0.5])
    assert half.__doc__ == "Compare an answer with one half."


def test_the_example_runs() -> None:
    assert doctest.testmod(exercises).failed == 0
