"""The registry says what is measured, and each group measures what it is registered for."""

import math
from collections.abc import Iterator
from functools import partial

import pytest

import cagc_lib as cagc
from cagc_lib.content import everything
from cagc_lib.editing import project
from cagc_lib.metrics import evaluate
from cagc_lib.scoreboard import GROUPS, MEASURES, Subject, columns_of, measure, measures


@pytest.fixture(scope="module")
def few() -> Iterator[None]:
    """Few samples of everything."""
    with pytest.MonkeyPatch.context() as patch:
        for name, number in (("PAIRS", 6), ("EDITS", 6), ("SAMPLES", 200), ("PROJECTED", 2)):
            patch.setattr(measures, name, number)
        patch.setattr(measures, "project", partial(project, steps=2))
        yield
    measures._teachings.cache_clear()


@pytest.mark.parametrize("group", list(GROUPS))
def test_a_group_measures_what_is_registered(few: None, group: str) -> None:
    teacher, student = map(cagc.load_generator, ("portraits", "portraits-11x"))
    content = cagc.content_source("portraits")
    found = measure(Subject(student, teacher, content, samples=8), (group,))
    assert sorted(found) == sorted(columns_of((group,)))
    assert all(math.isfinite(value) for value in found.values())
    alone = measure(Subject(teacher, None, content, samples=8), (group,))
    assert sorted(alone) == sorted(columns_of((group,), beside_teacher=False))


def test_every_measure_says_how_it_is_made() -> None:
    for name, one in MEASURES.items():
        assert one.protocol and one.better in ("", "less", "more"), name
        assert one.group in ("", *GROUPS), name


def test_quality_is_what_evaluate_says() -> None:
    g = cagc.load_generator("portraits-11x")
    found = measure(Subject(g, None, everything, samples=8), ("quality",))
    report = evaluate(g, 8, content=everything).to_dict()
    assert found["frechet"] == report["frechet"]
    # where all is content, there is no background
    assert "background_frechet" not in found
