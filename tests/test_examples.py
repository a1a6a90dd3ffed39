"""Every public name shows itself at work: the examples in the docstrings run, and come out so."""

import doctest
from pathlib import Path

import pytest
import torch

import cagc_lib


@pytest.mark.parametrize("name", cagc_lib.__all__)
def test_example(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # some examples write files
    monkeypatch.chdir(tmp_path)
    names = {"cagc": cagc_lib, "torch": torch}
    # the docstring alone: a class's methods and a decorated function's wrapper are not searched
    text = getattr(cagc_lib, name).__doc__ or ""
    test = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert test.examples, f"{name} has no example"
    assert 2 <= _lines(test) <= 5, f"{name}: {_lines(test)} lines of example"
    report: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert result.failed == 0, "".join(report)


def _lines(test: doctest.DocTest) -> int:
    """Count the lines of code and of what it prints."""
    return sum((e.source + e.want).count("\n") for e in test.examples)
