"""The HTML carries its pictures and nothing else; what it does in a browser is in tests/book."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from cagc_lib.figures import static_slider

SHADES = (0, 100, 200)


def frames(size: int = 32) -> list[tuple[str, np.ndarray, dict[str, str]]]:
    return [
        (f"{shade} %", np.full((size, size, 3), shade, np.uint8), {"MACs": str(shade)})
        for shade in SHADES
    ]


def entries(text: str) -> list[dict[str, object]]:
    found = re.search(r"const frames = (\[.*\]);\n", text)
    assert found
    return json.loads(found.group(1))


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


def test_identity_follows_the_content() -> None:
    name = re.compile(r'data-slider="(\w{12})"')
    first, again = static_slider(frames(), "Ratio").html, static_slider(frames(), "Ratio").html
    assert first == again
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


def test_plain_text_form_is_short() -> None:
    assert repr(static_slider(frames(), "Ratio")) == "StaticSlider()"


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="frames: got none"):
        static_slider([], "t")
    with pytest.raises(ValueError, match=r"start: got 3, expected 0..2"):
        static_slider(frames(), "t", start=3)
    with pytest.raises(ValueError, match=r"picture: got float64 \[4, 4, 3\], expected uint8"):
        static_slider([("a", np.zeros((4, 4, 3)), {})], "t")
    with pytest.raises(ValueError, match="picture: got str, expected a PIL image or an array"):
        static_slider([("a", "x.png", {})], "t")  # type: ignore[list-item]
