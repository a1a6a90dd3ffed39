"""Measurements that a reader sorts by any measure, without a kernel: as bars or as a table.

Bars show one measure, a table a group of them at a time; rows may be hidden by a word. Forty lines
of script carry each, so they work on the rendered page, from a disk, by mouse, touch and keyboard.
No numerics: what is shown is what was handed in. Used by chapters 9 and 10.
"""

import html
import math
from collections.abc import Mapping, Sequence

from .images import check
from .scripts import identity_of, script_text, wired
from .tables import STYLE as TABLE_STYLE
from .tables import Table

Rows = Sequence[tuple[str, Mapping[str, tuple[float, str]]]]
STYLE = """
.cagc-explorer{margin:1rem 0;max-width:100%;color:inherit}
.cagc-explorer label{display:inline-block;margin:0 1rem .5rem 0}
.cagc-explorer select,.cagc-explorer input{font:inherit;color:inherit;background:transparent;
border:1px solid rgba(128,128,128,.6);border-radius:4px;padding:.2rem .4rem;max-width:100%}
.cagc-explorer option{color:#222;background:#fff}
.cagc-explorer ol{list-style:none;margin:0;padding:0}
.cagc-explorer li{margin:0 0 .45rem}
.cagc-explorer .name{display:flex;justify-content:space-between;gap:.8rem;font-size:.9rem}
.cagc-explorer .value{font-variant-numeric:tabular-nums;white-space:nowrap}
.cagc-explorer .bar{height:.45rem;background:#0072b2;border-radius:2px;min-width:1px}
"""
SCRIPT = """\
    const measure = place.querySelector("select");
    const word = place.querySelector("input");
    const show = () => {
      const key = measure.value;
      const less = measure.selectedOptions[0].dataset.better === "less";
      const wanted = word.value.trim().toLowerCase();
      const shown = rows.filter((r) => key in r.values && r.name.toLowerCase().includes(wanted));
      shown.sort((a, b) => (less ? 1 : -1) * (a.values[key] - b.values[key]));
      const largest = Math.max(...shown.map((r) => r.values[key]), 1e-12);
      place.querySelector("ol").replaceChildren(...shown.map((r) => {
        const item = document.createElement("li");
        const head = document.createElement("div");
        head.className = "name";
        const name = document.createElement("span");
        name.textContent = r.name;
        const value = document.createElement("span");
        value.className = "value";
        value.textContent = r.texts[key];
        head.append(name, value);
        const bar = document.createElement("div");
        bar.className = "bar";
        bar.style.width = `${(100 * Math.max(0, r.values[key])) / largest}%`;
        item.append(head, bar);
        return item;
      }));
      place.querySelector("output").textContent = `${shown.length} rows, best first`;
    };
    measure.addEventListener("change", show);
    word.addEventListener("input", show);
    show();
"""


SORTABLE_STYLE = """
.cagc-sortable .cagc-table{max-height:70vh;overflow-y:auto}
.cagc-sortable table{--paper:var(--pst-color-background,var(--jp-layout-color0,Canvas))}
.cagc-sortable th{vertical-align:bottom;position:sticky;top:0;z-index:1;background:var(--paper)}
.cagc-sortable td:first-child,.cagc-sortable th:first-child{position:sticky;left:0;
background:var(--paper)}
.cagc-sortable th:first-child{z-index:2}
.cagc-sortable th button{font:inherit;color:inherit;background:none;border:0;padding:.2rem 0;
cursor:pointer;text-align:right;text-decoration:underline dotted}
.cagc-sortable th[aria-sort] button{text-decoration:underline solid}
.cagc-sortable th[aria-sort=ascending] button::after{content:" \\2191"}
.cagc-sortable th[aria-sort=descending] button::after{content:" \\2193"}
.cagc-sortable td{white-space:nowrap}
.cagc-sortable td:first-child{white-space:normal;min-width:7rem}
@media(min-width:900px){.cagc-sortable td:first-child{min-width:15rem}}
"""
SORTABLE_SCRIPT = """\
    const group = place.querySelector("select");
    const word = place.querySelector("input");
    let key, turned;
    const cell = (tag, text) => {
      const made = document.createElement(tag);
      made.textContent = text;
      return made;
    };
    const show = () => {
      const measures = groups[group.value];
      const up = (measures[key] !== "more") !== turned;
      const line = document.createElement("tr");
      line.append(cell("th", "row"), ...Object.keys(measures).map((name) => {
        const head = document.createElement("th");
        if (name === key) head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const button = cell("button", name);
        button.addEventListener("click", () => {
          turned = name === key && !turned;
          key = name;
          show();
          [...place.querySelectorAll("button")].find((b) => b.textContent === name).focus();
        });
        head.append(button);
        return head;
      }));
      const wanted = word.value.trim().toLowerCase();
      const has = (r) => Object.keys(measures).some((name) => name in r.values);
      const shown = rows.filter((r) => r.name.toLowerCase().includes(wanted) && has(r));
      const last = up ? Infinity : -Infinity;
      const value = (r) => (key in r.values ? r.values[key] : last);
      shown.sort((a, b) => (value(a) === value(b) ? 0 : (up ? 1 : -1) * (value(a) - value(b))));
      place.querySelector("thead").replaceChildren(line);
      place.querySelector("tbody").replaceChildren(...shown.map((r) => {
        const item = document.createElement("tr");
        const texts = Object.keys(measures).map((name) => cell("td", r.texts[name] || ""));
        item.append(cell("td", r.name), ...texts);
        return item;
      }));
      place.querySelector("output").textContent = `${shown.length} rows, by ${key}`;
    };
    const begin = () => {
      key = Object.keys(groups[group.value])[0];
      turned = false;
      show();
    };
    group.addEventListener("change", begin);
    word.addEventListener("input", show);
    begin();
"""


def explorer(rows: Rows, measures: Mapping[str, str]) -> Table:
    """Build the sortable bars.

    Args:
        rows: name and, for every measure that it has, the number and its text ("28.4 ± 1.2").
        measures: name -> "less" or "more", which of the two is better; the first is shown first.

    Raises:
        ValueError: no row, an unknown measure, a number that is not finite, another direction.
    """
    payload = _payload(rows, measures)
    identity = identity_of(payload)
    options = "".join(
        f'<option data-better="{better}">{html.escape(name)}</option>'
        for name, better in measures.items()
    )
    script = wired("explorer", identity, "place", {"rows": payload}, SCRIPT)
    return Table(
        f'<div class="cagc-explorer" data-explorer="{identity}"><style>{STYLE}</style>'
        f"<label>measure <select autocomplete=\"off\">{options}</select></label>"
        f'<label>rows with <input type="search" autocomplete="off" size="12"></label>'
        f'<p><output aria-live="polite"></output></p><ol></ol><script>{script}</script></div>'
    )


def sortable_table(
    rows: Rows, groups: Mapping[str, Mapping[str, str]], word: str = ""
) -> Table:
    """Build a table that is sorted by the column whose head is pressed, best first, then last.

    Rows that lack the column come last; rows that lack the whole group are not shown.

    Args:
        rows: name and, for every measure that it has, the number and its text ("28.4 ± 1.2").
        groups: name -> the measures that are shown together, each with "less", "more" or, where
            neither is better, "". The first group, by its first measure, is shown first.
        word: what stands in the search field at first.

    Raises:
        ValueError: no row, no group or an empty one, an unknown measure, a number that is not
            finite, another direction.
    """
    check(len(groups) > 0 and all(groups.values()), "groups", dict(groups), "some, none empty")
    measures = {name: better for group in groups.values() for name, better in group.items()}
    payload = _payload(rows, measures, ("less", "more", ""))
    kinds = script_text(groups)
    identity = identity_of(payload + kinds)
    options = "".join(f"<option>{html.escape(name)}</option>" for name in groups)
    data = {"rows": payload, "groups": kinds}
    script = wired("sortable", identity, "place", data, SORTABLE_SCRIPT)
    return Table(
        f'<div class="cagc-explorer cagc-sortable" data-sortable="{identity}">'
        f"<style>{STYLE}{TABLE_STYLE}{SORTABLE_STYLE}</style>"
        f'<label>columns <select autocomplete="off">{options}</select></label>'
        f'<label>rows with <input type="search" autocomplete="off" size="12" '
        f'value="{html.escape(word)}"></label><p><output aria-live="polite"></output></p>'
        f'<div class="cagc-table" tabindex="0"><table><thead></thead><tbody></tbody></table></div>'
        f"<script>{script}</script></div>"
    )


def _payload(
    rows: Rows, measures: Mapping[str, str], directions: Sequence[str] = ("less", "more")
) -> str:
    """The rows as the scripts read them."""
    check(len(rows) > 0, "rows", "none", "at least one")
    for measure, better in measures.items():
        words = " or ".join(filter(None, directions))
        check(better in directions, measure, better, words)
    entries = []
    for name, found in rows:
        for measure, (value, _) in found.items():
            check(measure in measures, name, measure, f"one of {', '.join(measures)}")
            check(math.isfinite(value), f"{name}, {measure}", value, "a finite number")
        values = {measure: value for measure, (value, _) in found.items()}
        texts = {measure: text for measure, (_, text) in found.items()}
        entries.append({"name": name, "values": values, "texts": texts})
    return script_text(entries)
