"""The sortable bars and table: what they carry and refuse. The pages' tests press the keys."""

import json
import re

import pytest

from cagc_lib.figures import explorer, sortable_table

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


def test_a_table_carries_its_rows_and_groups() -> None:
    groups = {"faults": {"error": "less"}, "<b>": {"hits": "more", "shots": ""}}
    shown = sortable_table(ROWS, groups, word='"a')._repr_html_()
    assert shown.count("</script>") == 1
    found = re.search(r"const rows = (\[.*?\]);\n  const groups = (\{.*?\});\n", shown)
    assert found
    rows, kinds = (json.loads(part.replace("<\\/", "</")) for part in found.groups())
    assert [row["texts"] for row in rows] == [{"error": "2.0 ± 1"}, {"error": "1.0", "hits": "3"}]
    assert kinds == groups
    assert "<option>&lt;b&gt;</option>" in shown and 'value="&quot;a"' in shown
    assert shown == sortable_table(ROWS, groups, word='"a')._repr_html_()


@pytest.mark.parametrize(
    ("rows", "groups", "message"),
    [
        ([], {"a": MEASURES}, "^rows: got none, expected at least one$"),
        (ROWS, {}, "^groups: got {}, expected some, none empty$"),
        (ROWS, {"a": MEASURES, "b": {}}, "^groups: got .*, expected some, none empty$"),
        (ROWS, {"a": {"error": "least", "hits": ""}}, "^error: got least, expected less or more$"),
        (ROWS, {"a": {"error": ""}}, "^b: got hits, expected one of error$"),
    ],
)
def test_a_table_that_cannot_be_sorted_is_refused(rows: list, groups: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sortable_table(rows, groups)
