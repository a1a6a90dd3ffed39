"""Pictures and charts for the chapters: arrays in, something a notebook can display out.

No numerics here: images are placed, coloured and captioned, numbers are rounded for display, and
nothing is computed from them. Images are [N, 3, H, W] in [-1, 1] everywhere, so `mask_overlay` and
`parsing_images` can be shown by `show_images` like any other batch. Charts are plotly figures with
one house template; plotly is imported on first use, so that `import cagc_lib` does without it.
Every number in a chart is rounded to five significant digits, so that a re-run that differs in the
last bit stores the same figure. Used by every chapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Okabe and Ito's eight colours, distinguishable with any common colour vision; black becomes grey
# so that it reads on a dark page.
PALETTE = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#56b4e9",
    "#cc79a7",
    "#f0e442",
    "#8c8c8c",
)
# One colour for each of the 19 CelebAMask-HQ classes; background is dark grey.
CLASS_COLOURS = (
    "#2b2b2b", "#e8b796", "#6b3e26", "#8a5436", "#3d7ea6", "#56b4e9", "#222f5b",
    "#d98c6a", "#c97b5a", "#f0e442", "#f3cfae", "#9e2a2b", "#cc5a71", "#b03a5b",
    "#c9a17f", "#ffd23f", "#009e73", "#4a2c12", "#cc79a7",
)  # fmt: skip
GRID_COLOUR = "rgba(128,128,128,0.25)"


def image_grid(images: Tensor, columns: int = 8, scale: int = 1, gap: int = 2) -> np.ndarray:
    """Place a batch of images row by row on one white sheet.

    Args:
        images: [N, 3, H, W], float; values outside [-1, 1] are shown as the nearest shade.
        columns: images in a row; the last row may be shorter.
        scale: each pixel becomes a square of this many pixels.
        gap: white pixels between images, after scaling.

    Returns:
        [rows * (H * scale + gap) - gap, ..., 3], uint8.

    Raises:
        ValueError: the batch is not [N, 3, H, W] with N >= 1, or a size is not positive.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[0] == 0:
        raise ValueError(f"images: got shape {list(images.shape)}, expected [N, 3, H, W], N >= 1")
    if columns < 1 or scale < 1 or gap < 0:
        raise ValueError(
            f"columns, scale, gap: got {columns}, {scale}, {gap}, expected >= 1, >= 1, >= 0"
        )
    pixels = (images.detach().float().cpu().clamp(-1, 1) + 1) * 127.5
    pixels = pixels.round().to(torch.uint8).permute(0, 2, 3, 1)
    pixels = pixels.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    n, h, w, _ = pixels.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    sheet = torch.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255).to(torch.uint8)
    for i in range(n):
        y, x = i // columns * (h + gap), i % columns * (w + gap)
        sheet[y : y + h, x : x + w] = pixels[i]
    return sheet.numpy()


def show_images(
    images: Tensor,
    columns: int = 8,
    scale: int = 1,
    gap: int = 2,
    row_captions: Sequence[str] = (),
    column_captions: Sequence[str] = (),
) -> Image.Image:
    """Return a captioned sheet that a notebook displays when it is a cell's last value.

    Args:
        images: [N, 3, H, W], float, in [-1, 1].
        columns: images in a row.
        scale: each pixel becomes a square of this many pixels.
        gap: white pixels between images.
        row_captions: written left of the rows, as many as there are rows; empty for none.
        column_captions: written above the columns, as many as `columns`; empty for none.

    Raises:
        ValueError: the batch has a wrong shape or the number of captions does not match.
    """
    sheet = Image.fromarray(image_grid(images, columns, scale, gap))
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    for name, captions, count in (
        ("row_captions", row_captions, rows),
        ("column_captions", column_captions, columns),
    ):
        if captions and len(captions) != count:
            raise ValueError(f"{name}: got {len(captions)}, expected {count}")
    font = ImageFont.load_default(size=13)
    left = max((int(font.getlength(text)) + 10 for text in row_captions), default=0)
    top = 20 if column_captions else 0
    page = Image.new("RGB", (sheet.width + left, sheet.height + top), "white")
    page.paste(sheet, (left, top))
    draw = ImageDraw.Draw(page)
    cell_h, cell_w = images.shape[2] * scale + gap, images.shape[3] * scale + gap
    for i, text in enumerate(row_captions):
        draw.text((left - 6, top + (i + 0.5) * cell_h), text, "black", font, anchor="rm")
    for i, text in enumerate(column_captions):
        draw.text((left + (i + 0.5) * cell_w, top - 5), text, "black", font, anchor="mb")
    return page


def mask_overlay(
    images: Tensor, mask: Tensor, colour: str = "#d55e00", opacity: float = 0.5
) -> Tensor:
    """Tint what a content mask leaves out.

    Args:
        images: [N, 3, H, W], float, in [-1, 1].
        mask: [N, 1, H, W], bool; True is content and keeps its colours.
        colour: the tint, "#rrggbb".
        opacity: of the tint, in [0, 1].

    Returns:
        [N, 3, H, W], float, in [-1, 1].

    Raises:
        ValueError: the mask is not boolean or its shape does not fit the images'.
    """
    expected = (images.shape[0], 1, *images.shape[2:])
    if mask.dtype != torch.bool or mask.shape != expected:
        raise ValueError(
            f"mask: got {mask.dtype} {list(mask.shape)}, expected torch.bool {list(expected)}"
        )
    tint = _rgb(colour).to(images).view(1, 3, 1, 1)
    return torch.where(mask, images, images * (1 - opacity) + tint * opacity)


def parsing_images(parsing: Tensor) -> Tensor:
    """Colour a parsing map, one fixed colour for each of the 19 classes.

    Args:
        parsing: [N, H, W], int64, in 0..18.

    Returns:
        [N, 3, H, W], float, in [-1, 1].

    Raises:
        ValueError: the map has another shape or class.
    """
    if parsing.ndim != 3 or parsing.min() < 0 or parsing.max() >= len(CLASS_COLOURS):
        raise ValueError(
            f"parsing: got shape {list(parsing.shape)}, values {int(parsing.min())}.."
            f"{int(parsing.max())}, expected [N, H, W] in 0..{len(CLASS_COLOURS) - 1}"
        )
    table = torch.stack([_rgb(colour) for colour in CLASS_COLOURS])
    return table[parsing.cpu()].permute(0, 3, 1, 2)


def _rgb(colour: str) -> Tensor:
    values = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return torch.tensor(values) / 127.5 - 1


def _round(values: Any) -> list[float]:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return [float(f"{float(v):.5g}") for v in array.ravel()]


def _figure(title: str, x_title: str, y_title: str, height: int = 360) -> go.Figure:
    """Return an empty figure in the house template: no paper, faint grid, legend on top."""
    import plotly.graph_objects as go

    axis = {"gridcolor": GRID_COLOUR, "zerolinecolor": GRID_COLOUR, "automargin": True}
    template = {
        "layout": {
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": list(PALETTE),
            "font": {"size": 13},
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            "margin": {"l": 60, "r": 20, "t": 80, "b": 50},
        }
    }
    layout = go.Layout(
        template=template,
        title={"text": title, "x": 0, "xref": "paper"},
        xaxis={"title": {"text": x_title}},
        yaxis={"title": {"text": y_title}},
        height=height,
    )
    return go.Figure(layout=layout)


def bar_chart(
    labels: Sequence[str],
    series: Mapping[str, Any],
    title: str = "",
    x_title: str = "",
    y_title: str = "",
) -> go.Figure:
    """Draw grouped bars, one group a label.

    Args:
        labels: [G] names on the horizontal axis.
        series: name -> [G] heights.
        title: of the figure.
        x_title: of the horizontal axis.
        y_title: of the vertical axis, with its unit.
    """
    figure = _figure(title, x_title, y_title)
    for name, values in series.items():
        figure.add_bar(x=list(labels), y=_round(values), name=name)
    return figure.update_layout(barmode="group", showlegend=len(series) > 1)


def line_chart(
    series: Mapping[str, tuple[Any, Any]],
    title: str = "",
    x_title: str = "",
    y_title: str = "",
    log_y: bool = False,
) -> go.Figure:
    """Draw one line with markers for each series.

    Args:
        series: name -> (x [M], y [M]).
        title: of the figure.
        x_title: of the horizontal axis.
        y_title: of the vertical axis, with its unit.
        log_y: logarithmic vertical axis.
    """
    figure = _figure(title, x_title, y_title)
    for name, (x, y) in series.items():
        mode = "lines+markers" if len(x) <= 50 else "lines"
        figure.add_scatter(x=_round(x), y=_round(y), name=name, mode=mode)
    if log_y:
        figure.update_yaxes(type="log")
    return figure.update_layout(showlegend=len(series) > 1)


def ratio_cost_curve(
    ratios: Any, macs: Any, seconds: Any | None = None, title: str = "What pruning saves"
) -> go.Figure:
    """Draw multiply-accumulates against the pruning ratio, and measured time beside them.

    Args:
        ratios: [M] pruning ratios in [0, 1).
        macs: [M] multiply-accumulates of one image.
        seconds: [M] measured seconds for one image, drawn on a second axis; None for none.
        title: of the figure.
    """
    figure = _figure(title, "pruning ratio", "MACs of one image")
    figure.add_scatter(x=_round(ratios), y=_round(macs), name="MACs", mode="lines+markers")
    if seconds is not None:
        milliseconds = [1000 * float(s) for s in seconds]
        figure.add_scatter(
            x=_round(ratios), y=_round(milliseconds), name="measured time", yaxis="y2",
            mode="lines+markers", line={"dash": "dot"},
        )  # fmt: skip
        side = {"title": {"text": "milliseconds"}, "overlaying": "y", "side": "right"}
        figure.update_layout(yaxis2={**side, "showgrid": False, "rangemode": "tozero"})
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(tickformat=".0%")
    return figure.update_layout(showlegend=seconds is not None)


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
        name = names[k] if names else str(k)
        shown = [v for v in _round(values) if v > 0]
        figure.add_box(y=shown, name=name, marker_color=PALETTE[0], boxpoints=False)
    return figure.update_yaxes(type="log").update_layout(showlegend=False)


def training_curves(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], x: str = "step", title: str = "Losses"
) -> go.Figure:
    """Draw columns of a training log.

    Args:
        rows: the log, one mapping a line, as `csv.DictReader` yields it.
        names: the columns to draw; a row where one is missing or empty is left out of its line.
        x: the column on the horizontal axis.
        title: of the figure.
    """
    series = {}
    for name in names:
        kept = [row for row in rows if row.get(name) not in (None, "")]
        series[name] = ([float(r[x]) for r in kept], [float(r[name]) for r in kept])
    return line_chart(series, title, x, "value")
