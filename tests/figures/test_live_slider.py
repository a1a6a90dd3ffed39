"""Moving the live slider changes the shown picture and readouts, as a reader would see it."""

import io

import numpy as np
import pytest
from PIL import Image

from cagc_lib.figures import pruning_ratio_slider

RATIOS = (0.0, 0.3, 0.7)


class Renderer:
    """A stand-in for a pruned generator: the shade is the ratio, every call is remembered."""

    def __init__(self) -> None:
        self.calls: list[float] = []

    def __call__(self, ratio: float) -> tuple[np.ndarray, dict[str, str]]:
        self.calls.append(ratio)
        picture = np.full((8, 8, 3), int(255 * ratio), np.uint8)
        return picture, {"MACs": f"{1 - ratio:.0%}", "<measured>": "3 ms"}


def shade(data: bytes) -> int:
    return int(np.asarray(Image.open(io.BytesIO(data)))[0, 0, 0])


def test_moving_the_slider_changes_the_picture() -> None:
    render = Renderer()
    box = pruning_ratio_slider(render, RATIOS, value=0.3)
    slider, picture, readouts = box.children
    assert slider.value == 0.3 and shade(picture.value) == 76
    before = picture.value, readouts.value
    slider.value = 0.7
    assert shade(picture.value) == 178
    assert picture.value != before[0] and readouts.value != before[1]
    assert render.calls == [0.3, 0.7], "one rendering for each position, none for the others"


def test_readouts_show_what_render_returned_as_text() -> None:
    readouts = pruning_ratio_slider(Renderer(), RATIOS).children[2]
    assert "MACs: <b>100%</b>" in readouts.value
    assert "&lt;measured&gt;: <b>3 ms</b>" in readouts.value


def test_positions_are_labelled_in_percent() -> None:
    slider = pruning_ratio_slider(Renderer(), RATIOS).children[0]
    assert [label for label, _ in slider.options] == ["0%", "30%", "70%"]
    assert slider.value == 0.0


def test_pil_pictures_are_taken() -> None:
    box = pruning_ratio_slider(lambda ratio: (Image.new("RGB", (4, 4), "red"), {}), RATIOS)
    assert shade(box.children[1].value) == 255


def test_wrong_positions_are_named() -> None:
    for ratios in ((), (0.2, 1.0), (-0.1,)):
        with pytest.raises(ValueError, match=r"ratios: got .* at least one, each in \[0, 1\)"):
            pruning_ratio_slider(Renderer(), ratios)
    with pytest.raises(ValueError, match=r"value: got 0.5, expected one of"):
        pruning_ratio_slider(Renderer(), RATIOS, value=0.5)
