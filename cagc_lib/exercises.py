"""The checks behind the chapters' exercises: fair to every form of a right answer, never crashing.

A check is a function that says what is wrong with an answer. `exercise` wraps it: an answer that
is not set, or at which the check itself fails, is "not yet" with the reason, and no traceback.
Imports nothing of the library. Used by every chapter.
"""

import math
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any


class Exercise:
    """A check to be called with the reader's answer; see `exercise`."""

    def __init__(self, check: Callable[[Any], bool | str]) -> None:
        self.check = check
        update_wrapper(self, check)

    def __call__(self, answer: Any) -> str:
        """Return "right", or "not yet" and a hint."""
        if answer is None:
            return "not yet: nothing is set"
        try:
            found = self.check(answer)
        except Exception as error:
            # whatever an answer does to the check is a property of the answer
            reason = str(error).partition("\n")[0]
            return f"not yet: {type(error).__name__}: {reason}"
        if isinstance(found, str):
            return f"not yet: {found}"
        return "right" if found else "not yet"

    def tried(self, right: Sequence[Any], wrong: Sequence[Any]) -> None:
        """Raise an AssertionError unless the check takes and refuses what it should.

        Args:
            right: at least two answers, different in form.
            wrong: at least two.
        """
        assert len(right) >= 2 and len(wrong) >= 2, "two right and two wrong answers at least"
        for answers, expected in ((right, True), (wrong, False)):
            for answer in answers:
                said = self(answer)
                assert (said == "right") == expected, f"{answer!r}: {said}"


def exercise(check: Callable[[Any], bool | str]) -> Exercise:
    """Make a fair check of a function: answer -> True, False, or a hint at what is wrong.

    Example:
        >>> from cagc_lib.exercises import close, exercise
        >>> @exercise
        ... def half(answer):
        ...     return close(answer, 0.5) or "half of it"
        >>> half(0.5), half("a half"), half(None)
        ('right', 'not yet: half of it', 'not yet: nothing is set')
    """
    return Exercise(check)


def close(answer: Any, expected: float, tolerance: float = 1e-6) -> bool:
    """Whether an answer is one finite number within a relative tolerance of the expected one.

    Any kind of number will do, also a tensor or an array of one element; a truth value will not.
    """
    value = answer.item() if hasattr(answer, "item") else answer
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isclose(value, expected, rel_tol=tolerance, abs_tol=1e-12)


def truth(answer: Any) -> bool:
    """Whether an answer is a truth value, of Python, numpy or torch, and true.

    Raises:
        TypeError: it is something else.
    """
    value = answer.item() if hasattr(answer, "item") else answer
    if not isinstance(value, bool):
        raise TypeError(f"expected True or False, got {type(answer).__name__}")
    return value
