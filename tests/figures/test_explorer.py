"""The sortable bars: what they carry, what they refuse. The pages' tests press the keys."""

import json
import re

import pytest

from cagc_lib.figures import explorer

ROWS = [
    ("a </script>", {"error": (2.0, "2.0 ± 1")}),
    ("b", {"error": (1.0, "1.0"), "hits": (3, "3")}),
]
MEASURES = {"error": "less", "hits": "more"}


def test_it_carries_the_numbers_and_ends_its_script_once() -> None:
    shown = explorer(ROWS, MEASURES)._repr_html_()
    assert shown.count("</script>") == 1
    found = re.search(r"const rows = (\[.*?\]);\n", shown)
    assert found
    rows = json.loads(found[1].replace("<\\/", "</"))
    assert [row["name"] for row in rows] == ["a </script>", "b"]
    assert rows[0]["values"] == {"error": 2.0} and rows[0]["texts"] == {"error": "2.0 ± 1"}
    assert '<option data-better="less">error</option>' in shown
    # the same rows make the same text
    assert shown == explorer(ROWS, MEASURES)._repr_html_()


@pytest.mark.parametrize(
    ("rows", "measures", "message"),
    [
        ([], MEASURES, "^rows: got none, expected at least one$"),
        (ROWS, {"error": "least"}, "^error: got least, expected less or more$"),
        (ROWS, {"error": "less"}, "^b: got hits, expected one of error$"),
        ([("a", {"hits": (float("nan"), "")})], MEASURES, "^a, hits: got nan, expected a finite"),
    ],
)
def test_what_cannot_be_sorted_is_refused(rows: list, measures: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explorer(rows, measures)
