"""Tables of numbers that fit a phone: the first column is text, the others stand to the right."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

STYLE = """
.cagc-table{overflow-x:auto;max-width:100%;margin:1rem 0}
.cagc-table table{border-collapse:collapse;margin:0;font-variant-numeric:tabular-nums}
.cagc-table th,.cagc-table td{padding:.25rem .6rem;text-align:right;vertical-align:baseline;
border:0;border-bottom:1px solid rgba(128,128,128,.3)}
.cagc-table th:first-child,.cagc-table td:first-child{text-align:left;padding-left:0}
.cagc-table.words th,.cagc-table.words td{text-align:left}
@media(max-width:600px){.cagc-table{font-size:.85rem}
.cagc-table th,.cagc-table td{padding:.25rem .4rem}}
"""


@dataclass(frozen=True)
class Table:
    """HTML that a notebook displays."""

    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def table(head: Sequence[object], rows: Sequence[Sequence[object]], words: bool = False) -> Table:
    """Set rows under a head; what a cell holds is shown as text.

    Args:
        head: one text a column.
        rows: each as long as the head. Round numbers beforehand.
        words: all columns are text.

    Raises:
        ValueError: a row of another length.
    """
    for i, row in enumerate(rows):
        if len(row) != len(head):
            raise ValueError(f"rows[{i}]: got {len(row)} cells, expected {len(head)}")

    def line(tag: str, cells: Sequence[object]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(x))}</{tag}>" for x in cells) + "</tr>"

    body = "".join(line("td", row) for row in rows)
    kind = "cagc-table words" if words else "cagc-table"
    return Table(
        f'<div class="{kind}" tabindex="0"><style>{STYLE}</style><table>'
        f"<thead>{line('th', head)}</thead><tbody>{body}</tbody></table></div>"
    )
