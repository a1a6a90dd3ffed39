"""Sliders: one for a page without a kernel, one for JupyterLab and Colab; no numerics.

The rendered book has no Python behind it, and an ipywidgets slider there moves without changing
anything. The static one carries its pictures with it (base64 WebP) and thirty lines of script, so
it works on the rendered page (also from a disk), in JupyterLab and in Colab, by mouse, touch and
keyboard. The live one asks the caller's function for each picture. Both may have a list beside the
slider, which chooses what it moves. ipywidgets is imported on first use, and only what both 7.7
(Colab) and 8.1 offer is used. Used by every chapter.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .images import check, encoded
from .scripts import identity_of, script_text, wired

if TYPE_CHECKING:
    import ipywidgets
Picture = Image.Image | np.ndarray
# a label, a picture, and the readouts under it
Frame = tuple[str, Picture, Mapping[str, str]]
STYLE = """
.cagc-slider{margin:1rem 0;max-width:100%;color:inherit;background:none}
.cagc-slider figcaption{color:inherit;text-align:left;font-weight:600;margin-bottom:.4rem}
.cagc-slider img{display:block;max-width:100%;image-rendering:auto;border-radius:4px}
.cagc-slider .drag{display:flex;flex-wrap:wrap;gap:.2rem .8rem;align-items:center;margin:.6rem 0}
.cagc-slider input{flex:1 1 12rem;max-width:28rem;min-height:1.5rem;accent-color:#3d9bd1}
.cagc-slider select{font:inherit;color:inherit;background:transparent;max-width:100%;
border:1px solid rgba(128,128,128,.6);border-radius:4px;padding:.2rem .4rem}
.cagc-slider option{color:#222;background:#fff}
.cagc-slider output{font-variant-numeric:tabular-nums;font-weight:600}
.cagc-slider dl{display:flex;flex-wrap:wrap;gap:.3rem 1.6rem;margin:0}
.cagc-slider dt{font-size:.85em;opacity:.75;font-weight:400}
.cagc-slider dd{margin:0;font-variant-numeric:tabular-nums}
"""
# `frames` has a list for each choice
SCRIPT = """\
    const input = figure.querySelector("input");
    const select = figure.querySelector("select");
    const show = () => {
      const frame = frames[select ? select.selectedIndex : 0][Number(input.value)];
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
    if (select) select.addEventListener("change", show);
    show();
"""


@dataclass(frozen=True)
class StaticSlider:
    """HTML that a notebook displays; `html` is the whole of it."""

    # far too long for a notebook's plain output
    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def static_slider(
    frames: Sequence[Frame] | Mapping[str, Sequence[Frame]], title: str, start: int = 0,
    width: int | None = None, quality: int = 90, choose: str = "choice",
) -> StaticSlider:
    """Build a slider over ready pictures.

    Args:
        frames: for each position: a label, a picture (PIL, or [H, W, 3] uint8) and the readouts
            under it, name -> text. Or such frames by name, equally many for each: then a list
            chooses the name, the first one at the start, and the slider moves through its frames.
        title: the caption, read out as the slider's name.
        start: the position shown first.
        width: of the shown picture in CSS pixels; None shows a picture pixel as one CSS pixel.
        quality: of the WebP encoding, 1 to 100. At 90 a 512 x 128 sheet takes about 20 kB.
        choose: what the list chooses, written before it.

    Raises:
        ValueError: there is no frame, `start` is not one of them, names have different numbers of
            frames, or a picture has another type.

    Example:
        >>> import numpy as np
        >>> from cagc_lib.figures import static_slider
        >>> grey = [(str(i), np.full((8, 8, 3), i, np.uint8), {}) for i in (0, 100, 200)]
        >>> slider = static_slider({"up": grey, "down": grey[::-1]}, "Shade", choose="way")
        >>> slider.html.count("<option>")
        2
    """
    named = dict(frames) if isinstance(frames, Mapping) else {"": frames}
    counts = [len(some) for some in named.values()]
    check(min(counts, default=0) > 0, "frames", "none", "at least one")
    check(len({*counts}) == 1, "frames", counts, "equally many for each choice")
    last = counts[0] - 1
    check(0 <= start <= last, "start", start, f"0..{last}")
    entries = [
        [_entry(f"{title}: {name}, " if name else f"{title}: ", frame, quality) for frame in some]
        for name, some in named.items()
    ]
    payload = script_text(entries)
    identity = identity_of(payload)
    script = wired("slider", identity, "figure", {"frames": payload}, SCRIPT)
    first = entries[0][start]
    size = f' style="width:{width}px"' if width else ""
    text, chooser = html.escape(title), ""
    if isinstance(frames, Mapping):
        options = "".join(f"<option>{html.escape(name)}</option>" for name in named)
        options = f'<select autocomplete="off">{options}</select>'
        chooser = f"<label>{html.escape(choose)} {options}</label>"
    body = (
        f'<figure class="cagc-slider" data-slider="{identity}"><style>{STYLE}</style>'
        f"<figcaption>{text}</figcaption>"
        f'<img src="{first["src"]}" alt="{html.escape(first["alt"])}"{size}>'
        f'<div class="drag">{chooser}<input type="range" min="0" max="{last}" step="1" '
        f'value="{start}" aria-label="{text}" autocomplete="off">'
        f'<output aria-live="polite">{html.escape(first["label"])}</output></div><dl></dl>'
        f"<script>{script}</script></figure>"
    )
    return StaticSlider(body)


def _entry(said: str, frame: Frame, quality: int) -> dict[str, Any]:
    """What the script needs of a frame; the picture's words are what is said, then the label."""
    label, picture, readouts = frame
    webp = encoded(picture, "WEBP", quality=quality, method=6)
    source = "data:image/webp;base64," + base64.b64encode(webp).decode()
    return {"label": label, "alt": said + label, "src": source, "readouts": dict(readouts)}


def live_slider(
    render: Callable[..., tuple[Picture, Mapping[str, str]]], positions: Mapping[str, Any],
    title: str, start: int = 0, choices: Sequence[str] = (), choose: str = "choice",
) -> ipywidgets.VBox:
    """Return a slider that asks for the picture and the readouts of each position.

    Args:
        render: from a position's value to (picture, readouts): PIL or [H, W, 3] uint8, and name ->
            text. It is called once at the start and once for each change; let it cache what is
            slow. Where there are choices, the chosen one is its second argument.
        positions: label -> the value that `render` is given, in order.
        title: written before the slider.
        start: number of the position shown first.
        choices: names in a list above the slider; empty for no list.
        choose: what the list chooses, written before it.

    Returns:
        A box whose children are the list (a `Dropdown`) if there are choices, the slider (a
        `SelectionSlider`), the `Image` and the `HTML` readouts.

    Raises:
        ValueError: there is no position, or `start` is not one of them.
    """
    import ipywidgets

    options = list(positions.items())
    check(len(options) > 0, "positions", "none", "at least one")
    check(0 <= start < len(options), "start", start, f"0..{len(options) - 1}")
    controls: list[Any] = [ipywidgets.SelectionSlider(
        options=options, value=options[start][1], description=title,
        # a drag across ten positions would queue ten renderings
        continuous_update=False,
    )]
    if choices:
        controls.insert(0, ipywidgets.Dropdown(options=list(choices), description=choose))
    picture, readouts = ipywidgets.Image(format="png"), ipywidgets.HTML()

    def show(change: object = None) -> None:
        shown, texts = render(*[control.value for control in reversed(controls)])
        picture.value = encoded(shown, "PNG")
        readouts.value = " &nbsp; ".join(
            f"{html.escape(name)}: <b>{html.escape(text)}</b>" for name, text in texts.items()
        )

    for control in controls:
        control.observe(show, names="value")
    show()
    return ipywidgets.VBox([*controls, picture, readouts])


def pruning_ratio_slider(
    render: Callable[[float], tuple[Picture, Mapping[str, str]]], ratios: Sequence[float],
    value: float | None = None,
) -> ipywidgets.VBox:
    """Return a `live_slider` over pruning ratios.

    Args:
        render: from a ratio to (picture, readouts), as there.
        ratios: the positions, each in [0, 1).
        value: the ratio shown first; None for the first one.

    Raises:
        ValueError: there is no ratio, one lies outside [0, 1), or `value` is not one of them.
    """
    fits = len(ratios) > 0 and all(0 <= ratio < 1 for ratio in ratios)
    check(fits, "ratios", list(ratios), "at least one, each in [0, 1)")
    check(value is None or value in ratios, "value", value, f"one of {list(ratios)}")
    start = 0 if value is None else list(ratios).index(value)
    return live_slider(render, {f"{ratio:.0%}": ratio for ratio in ratios}, "pruned", start)
