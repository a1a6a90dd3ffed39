"""The examples in this room's docstrings run, and come out so."""

import doctest

import pytest
import torch

import cagc_lib
from cagc_lib import editing

PUBLIC = [value for name, value in vars(editing).items() if callable(value)]


@pytest.mark.parametrize("value", PUBLIC, ids=lambda value: value.__name__)
def test_example(value: object) -> None:
    names = {"cagc": cagc_lib, "torch": torch}
    test = doctest.DocTestParser().get_doctest(value.__doc__ or "", names, "", None, None)
    report: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(test, out=report.append).failed == 0, report
