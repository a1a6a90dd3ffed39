"""Sliders: one for a page without a kernel, one for JupyterLab and Colab; no numerics.

The rendered book has no Python behind it, and an ipywidgets slider there moves without changing
anything. The static one carries its pictures with it (base64 WebP) and thirty lines of script, so
it works on the rendered page (also from a disk), in JupyterLab and in Colab, by mouse, touch and
keyboard. The live one asks the caller's function for each picture. ipywidgets is imported on first
use, and only what both 7.7 (Colab) and 8.1 offer is used. Used by every chapter.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .images import check, encoded

if TYPE_CHECKING:
    import ipywidgets
Picture = Image.Image | np.ndarray
STYLE = """
.cagc-slider{margin:1rem 0;max-width:100%;color:inherit;background:none}
.cagc-slider figcaption{color:inherit;text-align:left;font-weight:600;margin-bottom:.4rem}
.cagc-slider img{display:block;max-width:100%;image-rendering:auto;border-radius:4px}
.cagc-slider .drag{display:flex;flex-wrap:wrap;gap:.2rem .8rem;align-items:center;margin:.6rem 0}
.cagc-slider input{flex:1 1 12rem;max-width:28rem;min-height:1.5rem;accent-color:#3d9bd1}
.cagc-slider output{font-variant-numeric:tabular-nums;font-weight:600}
.cagc-slider dl{display:flex;flex-wrap:wrap;gap:.3rem 1.6rem;margin:0}
.cagc-slider dt{font-size:.85em;opacity:.75;font-weight:400}
.cagc-slider dd{margin:0;font-variant-numeric:tabular-nums}
"""
# FRAMES and ID are replaced. The loop finds every copy of this slider that is not wired up yet, so
# the same cell shown twice on a page works twice.
SCRIPT = """
(() => {
  const frames = FRAMES;
  for (const figure of document.querySelectorAll('[data-slider="ID"]')) {
    if (figure.dataset.ready) continue;
    figure.dataset.ready = "1";
    const input = figure.querySelector("input");
    const show = () => {
      const frame = frames[Number(input.value)];
      const image = figure.querySelector("img");
      image.src = frame.src;
      image.alt = frame.alt;
      input.setAttribute("aria-valuetext", frame.label);
      figure.querySelector("output").textContent = frame.label;
      const list = figure.querySelector("dl");
      list.replaceChildren();
      for (const [name, value] of Object.entries(frame.readouts)) {
        const group = document.createElement("div");
        const term = document.createElement("dt");
        const text = document.createElement("dd");
        term.textContent = name;
        text.textContent = value;
        group.append(term, text);
        list.append(group);
      }
    };
    input.addEventListener("input", show);
    show();
  }
})();
"""


@dataclass(frozen=True)
class StaticSlider:
    """HTML that a notebook displays; `html` is the whole of it."""

    # far too long for a notebook's plain output
    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def static_slider(
    frames: Sequence[tuple[str, Picture, Mapping[str, str]]], title: str,
    start: int = 0, width: int | None = None, quality: int = 90,
) -> StaticSlider:
    """Build a slider over ready pictures.

    Args:
        frames: for each position: a label, a picture (PIL, or [H, W, 3] uint8) and the readouts
            under it, name -> text.
        title: the caption, read out as the slider's name.
        start: the position shown first.
        width: of the shown picture in CSS pixels; None shows a picture pixel as one CSS pixel.
        quality: of the WebP encoding, 1 to 100. At 90 a 512 x 128 sheet takes about 20 kB.

    Raises:
        ValueError: there is no frame, `start` is not one of them, or a picture has another type.
    """
    check(len(frames) > 0, "frames", "none", "at least one")
    check(0 <= start < len(frames), "start", start, f"0..{len(frames) - 1}")
    entries = []
    for label, picture, readouts in frames:
        webp = encoded(picture, "WEBP", quality=quality, method=6)
        source = "data:image/webp;base64," + base64.b64encode(webp).decode()
        alt = f"{title}: {label}"
        entries.append({"label": label, "alt": alt, "src": source, "readouts": dict(readouts)})
    # "</" inside a label would end the script early
    payload = json.dumps(entries, separators=(",", ":")).replace("</", "<\\/")
    # derived from the content, so that a re-run stores the same text
    name = hashlib.sha256(payload.encode()).hexdigest()[:12]
    first = entries[start]
    size = f' style="width:{width}px"' if width else ""
    text = html.escape(title)
    body = (
        f'<figure class="cagc-slider" data-slider="{name}"><style>{STYLE}</style>'
        f"<figcaption>{text}</figcaption>"
        f'<img src="{first["src"]}" alt="{html.escape(first["alt"])}"{size}>'
        f'<div class="drag"><input type="range" min="0" max="{len(frames) - 1}" step="1" '
        f'value="{start}" aria-label="{text}" autocomplete="off">'
        f'<output aria-live="polite">{html.escape(first["label"])}</output></div><dl></dl>'
        f"<script>{SCRIPT.replace('ID', name, 1).replace('FRAMES', payload, 1)}</script></figure>"
    )
    return StaticSlider(body)


def pruning_ratio_slider(
    render: Callable[[float], tuple[Picture, Mapping[str, str]]], ratios: Sequence[float],
    value: float | None = None,
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

    fits = len(ratios) > 0 and all(0 <= ratio < 1 for ratio in ratios)
    check(fits, "ratios", list(ratios), "at least one, each in [0, 1)")
    value = ratios[0] if value is None else value
    check(value in ratios, "value", value, f"one of {list(ratios)}")
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
