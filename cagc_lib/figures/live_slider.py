"""Live sliders for a running kernel (JupyterLab, Colab); no numerics.

The caller gives a function from a value to a picture and readouts; the widget shows what it
returns. ipywidgets is imported on first use, and only what both 7.7 (Colab) and 8.1 offer is used.
On a rendered page there is no kernel: use `static_slider` there. Chapters 1 and 7.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .images import encoded

if TYPE_CHECKING:
    import ipywidgets
Render = Callable[[float], tuple[Image.Image | np.ndarray, Mapping[str, str]]]


def pruning_ratio_slider(
    render: Render, ratios: Sequence[float], value: float | None = None
) -> ipywidgets.VBox:
    """Return a slider over pruning ratios with the picture and readouts of the chosen one.

    Args:
        render: from a ratio to (picture, readouts): PIL or [H, W, 3] uint8, and name -> text. It
            is called once at the start and once for each change; let it cache what is slow.
        ratios: the positions, each in [0, 1).
        value: the ratio shown first; None for the first one.

    Returns:
        A box whose children are the slider (a `SelectionSlider`), the `Image` and the `HTML`
        readouts.

    Raises:
        ValueError: there is no ratio, one lies outside [0, 1), or `value` is not one of them.
    """
    import ipywidgets

    if not ratios or not all(0 <= r < 1 for r in ratios):
        raise ValueError(f"ratios: got {list(ratios)}, expected at least one, each in [0, 1)")
    value = ratios[0] if value is None else value
    if value not in ratios:
        raise ValueError(f"value: got {value}, expected one of {list(ratios)}")
    slider = ipywidgets.SelectionSlider(
        options=[(f"{ratio:.0%}", ratio) for ratio in ratios], value=value, description="pruned",
        # a drag across ten positions would queue ten renderings
        continuous_update=False,
    )
    picture, readouts = ipywidgets.Image(format="png"), ipywidgets.HTML()

    def show(ratio: float) -> None:
        shown, texts = render(ratio)
        picture.value = encoded(shown, "PNG")
        readouts.value = " &nbsp; ".join(
            f"{html.escape(name)}: <b>{html.escape(text)}</b>" for name, text in texts.items()
        )

    slider.observe(lambda change: show(change["new"]), names="value")
    show(value)
    return ipywidgets.VBox([slider, picture, readouts])
