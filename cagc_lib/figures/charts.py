"""The chapters' charts: plotly figures with one house template, plotly imported on first use.

No numerics: nothing is computed from the numbers but their rounding to five significant digits, so
that a re-run that differs in the last bit stores the same figure. Used by every chapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    import plotly.graph_objects as go
# Okabe and Ito's eight colours, distinguishable with any common colour vision; black becomes grey
# so that it reads on a dark page.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#f0e442", "#8c8c8c")
GRID_COLOUR = "rgba(128,128,128,0.25)"


def _round(values: Any) -> list[float]:
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    return [float(f"{float(v):.5g}") for v in array.ravel()]


def _figure(title: str, x_title: str, y_title: str) -> go.Figure:
    """Return an empty figure in the house template: no paper, faint grid, the legend below.

    Title and legend push the axes apart and never meet; a finger that scrolls past drags nothing.
    """
    import plotly.graph_objects as go

    axis = {"gridcolor": GRID_COLOUR, "zerolinecolor": GRID_COLOUR, "automargin": True}
    template = {
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": list(PALETTE), "font": {"size": 13}, "xaxis": axis, "yaxis": axis,
        "legend": {
            "orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom",
        },
        "title": {"x": 0, "xref": "paper", "y": 1, "yref": "container", "automargin": True},
        "margin": {"l": 60, "r": 20, "t": 40, "b": 50}, "dragmode": False,
    }
    layout = go.Layout(
        template={"layout": template}, title={"text": title},
        xaxis={"title": {"text": x_title}}, yaxis={"title": {"text": y_title}}, height=360,
    )
    return go.Figure(layout=layout)


def bar_chart(
    labels: Sequence[str], series: Mapping[str, Any], title: str = "", x_title: str = "",
    y_title: str = "",
) -> go.Figure:
    """Draw grouped bars, one group a label.

    Args:
        labels: [G] names on the horizontal axis.
        series: name -> [G] heights.
        title, x_title, y_title: of the figure and its axes, with the vertical one's unit.
    """
    figure = _figure(title, x_title, y_title)
    for name, values in series.items():
        figure.add_bar(x=list(labels), y=_round(values), name=name)
    return figure.update_layout(barmode="group", showlegend=len(series) > 1)


def line_chart(
    series: Mapping[str, tuple[Any, Any]], title: str = "", x_title: str = "", y_title: str = "",
    log_y: bool = False,
) -> go.Figure:
    """Draw one line with markers for each series.

    Args:
        series: name -> (x [M], y [M]).
        title, x_title, y_title: of the figure and its axes, with the vertical one's unit.
        log_y: logarithmic vertical axis.
    """
    figure = _figure(title, x_title, y_title)
    for name, (x, y) in series.items():
        mode = "lines+markers" if len(x) <= 50 else "lines"
        figure.add_scatter(x=_round(x), y=_round(y), name=name, mode=mode)
    if log_y:
        figure.update_yaxes(type="log")
    return figure.update_layout(showlegend=len(series) > 1)


def score_distribution(
    scores: Sequence[Any], names: Sequence[str] = (), title: str = "Channel scores, layer by layer"
) -> go.Figure:
    """Draw the spread of the channel scores of each layer, on a logarithmic axis.

    Args:
        scores: for each layer, [C_k] scores; zeros cannot be shown on the axis and are left out.
        names: for each layer, its name; empty for its number.
        title: of the figure.
    """
    figure = _figure(title, "layer", "score")
    for k, values in enumerate(scores):
        shown = [v for v in _round(values) if v > 0]
        name = names[k] if names else str(k)
        figure.add_box(y=shown, name=name, marker_color=PALETTE[0], boxpoints=False)
    return figure.update_yaxes(type="log").update_layout(showlegend=False)
