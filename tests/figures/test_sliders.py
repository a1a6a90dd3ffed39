"""The static slider's HTML carries its pictures and nothing else; the live one asks for each.

What they do in a browser is in tests/book.
"""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from cagc_lib.figures import live_slider, pruning_ratio_slider, static_slider

SHADES = (0, 100, 200)
RATIOS = (0.0, 0.3, 0.7)


def frames(size: int = 32) -> list[tuple[str, np.ndarray, dict[str, str]]]:
    return [
        (f"{shade} %", np.full((size, size, 3), shade, np.uint8), {"MACs": str(shade)})
        for shade in SHADES
    ]


def entries(text: str, choice: int = 0) -> list[dict[str, object]]:
    found = re.search(r"const frames = (\[.*\]);\n", text)
    assert found
    return json.loads(found.group(1))[choice]


def decode(src: object) -> np.ndarray:
    prefix, data = str(src).split(",", 1)
    assert prefix == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_pictures_and_readouts_travel_in_the_html() -> None:
    text = static_slider(frames(), "Ratio")._repr_html_()
    for entry, shade in zip(entries(text), SHADES, strict=True):
        picture = decode(entry["src"])
        assert picture.shape == (32, 32, 3)
        assert abs(picture.astype(int) - shade).max() <= 2
        assert entry["label"] == f"{shade} %" and entry["readouts"] == {"MACs": str(shade)}


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = static_slider(frames(), "Ratio").html
    assert not re.search(r"https?:|//[a-z]|@import|src=\"(?!data:)|url\(", text)


def test_it_is_accessible() -> None:
    text = static_slider(frames(), "Pruning ratio", start=1).html
    assert 'type="range" min="0" max="2" step="1" value="1" aria-label="Pruning ratio"' in text
    assert 'alt="Pruning ratio: 100 %"' in text
    assert '<output aria-live="polite">100 %</output>' in text
    assert "<select" not in text.split("<script>")[0], "a list without anything to choose"


def test_a_list_chooses_among_named_frames() -> None:
    named = {"up": frames(), "<down>": frames()[::-1]}
    text = static_slider(named, "Shade", start=2, choose="way").html
    options = "<option>up</option><option>&lt;down&gt;</option>"
    assert f'<label>way <select autocomplete="off">{options}</select></label><input' in text
    assert 'alt="Shade: up, 200 %"' in text and 'max="2" step="1" value="2"' in text
    up, down = entries(text, 0), entries(text, 1)
    assert [e["label"] for e in up] == [e["label"] for e in down][::-1]
    assert [e["src"] for e in up] == [e["src"] for e in down][::-1]
    assert down[0]["alt"] == "Shade: <down>, 200 %"


def test_identity_follows_the_content() -> None:
    name = re.compile(r'data-slider="(\w{12})"')
    slider = static_slider(frames(), "Ratio")
    # what a notebook stores beside the HTML is short
    assert repr(slider) == "StaticSlider()"
    first = slider.html
    assert first == static_slider(frames(), "Ratio").html
    other = static_slider(frames(16), "Ratio").html
    assert name.findall(first)[0] != name.findall(other)[0]
    assert len(set(name.findall(first))) == 1, "the script looks for its own figure"


def test_labels_cannot_break_out() -> None:
    evil = '</script><img src=x onerror="alert(1)">'
    text = static_slider([(evil, frames()[0][1], {evil: evil})], evil).html
    assert text.count("</script>") == 1
    assert "<img src=x" not in text.split("<script>")[0]
    assert entries(text)[0]["label"] == evil


def test_pil_pictures_of_any_mode_are_taken() -> None:
    picture = Image.new("L", (8, 8), 77)
    entry = entries(static_slider([("a", picture, {})], "t").html)[0]
    assert abs(decode(entry["src"]).astype(int) - 77).max() <= 2


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="frames: got none"):
        static_slider([], "t")
    with pytest.raises(ValueError, match="frames: got none"):
        static_slider({}, "t")
    with pytest.raises(ValueError, match=r"frames: got \[3, 2\], expected equally many for each"):
        static_slider({"a": frames(), "b": frames()[1:]}, "t")
    with pytest.raises(ValueError, match=r"start: got 3, expected 0..2"):
        static_slider(frames(), "t", start=3)
    with pytest.raises(ValueError, match=r"picture: got float64 \[4, 4, 3\], expected uint8"):
        static_slider([("a", np.zeros((4, 4, 3)), {})], "t")
    with pytest.raises(ValueError, match="picture: got str, expected a PIL image or an array"):
        static_slider([("a", "x.png", {})], "t")  # type: ignore[list-item]


class Renderer:
    """A stand-in for a pruned generator: the shade is the ratio, every call is remembered."""

    def __init__(self) -> None:
        self.calls: list[float] = []

    def __call__(self, ratio: float) -> tuple[np.ndarray, dict[str, str]]:
        self.calls.append(ratio)
        picture = np.full((8, 8, 3), int(255 * ratio), np.uint8)
        return picture, {"MACs": f"{1 - ratio:.0%}", "<measured>": "3 ms"}


def shade_of(data: bytes) -> int:
    return int(np.asarray(Image.open(io.BytesIO(data)))[0, 0, 0])


def test_moving_the_slider_changes_the_picture() -> None:
    render = Renderer()
    box = pruning_ratio_slider(render, RATIOS, value=0.3)
    slider, picture, readouts = box.children
    assert [label for label, _ in slider.options] == ["0%", "30%", "70%"]
    assert slider.value == 0.3 and shade_of(picture.value) == 76
    assert "MACs: <b>70%</b>" in readouts.value
    assert "&lt;measured&gt;: <b>3 ms</b>" in readouts.value
    slider.value = 0.7
    assert shade_of(picture.value) == 178 and "MACs: <b>30%</b>" in readouts.value
    assert render.calls == [0.3, 0.7], "one rendering for each position, none for the others"


def test_the_first_position_is_shown_and_wrong_ones_are_named() -> None:
    for ratios in ((), (0.2, 1.0), (-0.1,)):
        with pytest.raises(ValueError, match=r"ratios: got .* at least one, each in \[0, 1\)"):
            pruning_ratio_slider(Renderer(), ratios)
    assert pruning_ratio_slider(Renderer(), RATIOS).children[0].value == 0.0
    with pytest.raises(ValueError, match=r"value: got 0.5, expected one of"):
        pruning_ratio_slider(Renderer(), RATIOS, value=0.5)


def test_a_list_gives_the_live_slider_a_second_question() -> None:
    asked = []

    def render(strength: int, name: str) -> tuple[np.ndarray, dict[str, str]]:
        asked.append((strength, name))
        return np.full((8, 8, 3), 100 + strength * len(name), np.uint8), {"edited": name}

    positions = {f"{strength:+d}": strength for strength in (-2, 0, 2)}
    box = live_slider(render, positions, "strength", 1, ["yaw", "glasses"], "direction")
    chosen, slider, picture, readouts = box.children
    assert (chosen.description, slider.description) == ("direction", "strength")
    assert asked == [(0, "yaw")] and shade_of(picture.value) == 100
    slider.value = 2
    assert shade_of(picture.value) == 106
    chosen.value = "glasses"
    assert shade_of(picture.value) == 114 and "edited: <b>glasses</b>" in readouts.value
    assert asked == [(0, "yaw"), (2, "yaw"), (2, "glasses")]


def test_a_live_slider_without_positions_is_refused() -> None:
    with pytest.raises(ValueError, match="positions: got none, expected at least one"):
        live_slider(Renderer(), {}, "strength")
    with pytest.raises(ValueError, match=r"start: got 1, expected 0..0"):
        live_slider(Renderer(), {"a": 0.0}, "strength", start=1)
