"""A table of measurements that a reader sorts by any measure, without a kernel.

One bar a row, for the measure that is chosen; rows may be hidden by a word. Forty lines of script
carry it, so it works on the rendered page, from a disk, by mouse, touch and keyboard. No numerics:
what is shown is what was handed in. Used by chapter 9.
"""

import hashlib
import html
import json
import math
from collections.abc import Mapping, Sequence

from .images import check
from .tables import Table

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
SCRIPT = """
(() => {
  const rows = ROWS;
  for (const place of document.querySelectorAll('[data-explorer="ID"]')) {
    if (place.dataset.ready) continue;
    place.dataset.ready = "1";
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
  }
})();
"""


def explorer(
    rows: Sequence[tuple[str, Mapping[str, tuple[float, str]]]], measures: Mapping[str, str],
) -> Table:
    """Build the sortable bars.

    Args:
        rows: name and, for every measure that it has, the number and its text ("28.4 ± 1.2").
        measures: name -> "less" or "more", which of the two is better; the first is shown first.

    Raises:
        ValueError: no row, an unknown measure, a number that is not finite, another direction.
    """
    check(len(rows) > 0, "rows", "none", "at least one")
    for measure, better in measures.items():
        check(better in ("less", "more"), measure, better, "less or more")
    entries = []
    for name, found in rows:
        for measure, (value, _) in found.items():
            check(measure in measures, name, measure, f"one of {', '.join(measures)}")
            check(math.isfinite(value), f"{name}, {measure}", value, "a finite number")
        values = {measure: value for measure, (value, _) in found.items()}
        texts = {measure: text for measure, (_, text) in found.items()}
        entries.append({"name": name, "values": values, "texts": texts})
    # "</" inside a name would end the script early
    payload = json.dumps(entries, separators=(",", ":")).replace("</", "<\\/")
    identity = hashlib.sha256(payload.encode()).hexdigest()[:12]
    options = "".join(
        f'<option data-better="{better}">{html.escape(name)}</option>'
        for name, better in measures.items()
    )
    script = SCRIPT.replace("ID", identity, 1).replace("ROWS", payload, 1)
    return Table(
        f'<div class="cagc-explorer" data-explorer="{identity}"><style>{STYLE}</style>'
        f"<label>measure <select autocomplete=\"off\">{options}</select></label>"
        f'<label>rows with <input type="search" autocomplete="off" size="12"></label>'
        f'<p><output aria-live="polite"></output></p><ol></ol><script>{script}</script></div>'
    )
