"""Sheets hold the right pixels in the right places; charts hold the numbers they were given."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from cagc_lib import figures


def ramp(n: int, h: int = 4, w: int = 6) -> torch.Tensor:
    """Return n flat images of different shades."""
    shades = torch.linspace(-1, 1, n)
    return shades.view(n, 1, 1, 1).expand(n, 3, h, w).clone()


def test_grid_places_row_by_row() -> None:
    sheet = figures.image_grid(ramp(5), columns=2, scale=3, gap=2)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (3 * (4 * 3 + 2) - 2, 2 * (6 * 3 + 2) - 2, 3)
    corners = [sheet[14 * (i // 2), 20 * (i % 2), 0] for i in range(5)]
    assert corners == [0, 64, 128, 191, 255]
    assert (sheet[12:14] == 255).all() and (sheet[:, 18:20] == 255).all()
    assert (sheet[28:, 20:] == 255).all(), "the missing sixth image is paper"


def test_grid_enlarges_without_blurring() -> None:
    images = torch.rand(1, 3, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    small, large = figures.image_grid(images), figures.image_grid(images, scale=4)
    assert (large[::4, ::4] == small).all() and (large[3::4, 3::4] == small).all()


def test_grid_shows_values_out_of_range_as_the_nearest_shade() -> None:
    images = torch.tensor([-7.0, 7.0]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    sheet = figures.image_grid(images, gap=0)
    assert sheet[0, 0, 0] == 0 and sheet[0, 3, 0] == 255


def test_grid_leaves_its_input_alone_and_takes_gradients_and_bfloat16() -> None:
    images = ramp(2).bfloat16().requires_grad_()
    before = images.detach().clone()
    figures.image_grid(images)
    assert torch.equal(images, before)


def test_grid_names_a_wrong_shape_or_size() -> None:
    for shape in ((3, 4, 4), (1, 1, 4, 4), (0, 3, 4, 4)):
        with pytest.raises(ValueError, match=r"images: got shape .* expected \[N, 3, H, W\]"):
            figures.image_grid(torch.zeros(shape))
    with pytest.raises(ValueError, match="columns, scale, gap: got 0, 1, 2"):
        figures.image_grid(ramp(1), columns=0)


def rgba(page: Image.Image) -> np.ndarray:
    """What a browser shows of a sheet, as a PNG carries it: [H, W, 4]."""
    file = io.BytesIO(page._repr_png_())
    return np.asarray(Image.open(file).convert("RGBA")).astype(int)


def test_captions_stand_above_and_leave_the_pixels() -> None:
    images = ramp(4)
    plain = rgba(figures.show_images(images, columns=2))
    rows = figures.show_images(images, columns=2, row_captions=("teacher", "student"))
    both = figures.show_images(
        images, columns=2, row_captions=("teacher", "student"), column_captions=("a", "b")
    )
    assert rows.width == both.width == plain.shape[1]
    line = (rows.height - plain.shape[0]) // 2
    top = both.height - rows.height
    assert line > 0 and top > 0
    shown = rgba(both)
    for row in (0, 1):
        y = top + row * (4 + 2 + line)
        text, pictures = shown[y : y + line], shown[y + line : y + line + 4]
        assert (pictures == plain[row * 6 : row * 6 + 4]).all()
        assert (text[..., 3] > 0).any(), "the caption is written"
        assert (text[..., 3] == 0).any(), "and stands on the page itself"
    with pytest.raises(ValueError, match="row_captions: got 1, expected 2"):
        figures.show_images(images, columns=2, row_captions=("teacher",))
    with pytest.raises(ValueError, match=r"column_captions: got \['é', 'b'\], expected ASCII"):
        figures.show_images(images, columns=2, column_captions=("é", "b"))
    with pytest.raises(ValueError, match=r"colours: got 256, expected 2\.\.200"):
        figures.show_images(images, colours=256)


def test_a_caption_can_be_read_on_a_phone() -> None:
    """However wide the sheet, a capital letter is 8 pixels high where 350 pixels show all of it."""
    for scale in (2, 8):
        images = torch.zeros(4, 3, 64, 64)
        page = figures.show_images(images, columns=4, scale=scale, row_captions=("H",))
        ink = rgba(page)[: page.height - 64 * scale, :, 3]
        height = np.flatnonzero((ink > 128).any(1)).size * min(1, 350 / page.width)
        assert height > 7.5


def test_a_long_column_caption_is_broken_between_words() -> None:
    images = torch.zeros(2, 3, 64, 64)
    short = figures.show_images(images, columns=2, column_captions=("one", "two"))
    long = figures.show_images(images, columns=2, column_captions=("one two three", "two"))
    assert long.width == short.width and long.height > short.height


def test_a_table_is_text_in_cells() -> None:
    shown = figures.table(["name", "value"], [["a < b", 1.5], ["c", 2]])._repr_html_()
    assert "<td>a &lt; b</td><td>1.5</td>" in shown and shown.count("<tr>") == 3
    with pytest.raises(ValueError, match=r"rows\[1\]: got 1 cells, expected 2"):
        figures.table(["name", "value"], [["a", 1], ["b"]])


def test_overlay_tints_only_what_is_not_content() -> None:
    images = ramp(2)
    mask = torch.zeros(2, 1, 4, 6, dtype=torch.bool)
    mask[:, :, :2] = True
    shown = figures.mask_overlay(images, mask, colour="#ff0000", opacity=1.0)
    assert torch.equal(shown[:, :, :2], images[:, :, :2])
    assert (shown[:, 0, 2:] == 1).all() and (shown[:, 1:, 2:] == -1).all()


@pytest.mark.parametrize(
    "mask", [torch.zeros(2, 1, 4, 6), torch.zeros(2, 4, 6, dtype=torch.bool)], ids=["float", "3d"]
)
def test_overlay_names_a_wrong_mask(mask: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"mask: got .* expected torch.bool \[2, 1, 4, 6\]"):
        figures.mask_overlay(ramp(2), mask)


def test_every_class_has_its_own_colour() -> None:
    shown = figures.parsing_images(torch.arange(19).view(1, 1, 19))
    assert shown.shape == (1, 3, 1, 19)
    assert shown.min() >= -1 and shown.max() <= 1
    assert len({tuple(column) for column in shown[0, :, 0].T.tolist()}) == 19


def test_parsing_names_an_unknown_class() -> None:
    with pytest.raises(ValueError, match=r"values 0..19, expected \[N, H, W\] in 0..18"):
        figures.parsing_images(torch.tensor([[[0, 19]]]))


def test_line_chart_holds_rounded_numbers_on_no_paper() -> None:
    x, y = torch.tensor([0.0, 1.0]), np.array([1 / 3, 2e-7])
    figure = figures.line_chart({"a": (x, y), "b": (x, y)}, "t", "x", "y", log_y=True)
    assert list(figure.data[0].y) == [0.33333, 2e-7]
    assert figure.layout.showlegend and figure.layout.yaxis.type == "log"
    assert figure.layout.title.text == "t" and figure.layout.xaxis.title.text == "x"
    template = figure.layout.template.layout
    assert template.paper_bgcolor == template.plot_bgcolor == "rgba(0,0,0,0)"


def test_bar_chart_groups_series() -> None:
    figure = figures.bar_chart(["p", "q"], {"a": [1, 2], "b": [3, 4]})
    assert [list(bar.y) for bar in figure.data] == [[1, 2], [3, 4]]
    assert figure.layout.barmode == "group" and figure.layout.showlegend


def test_score_distribution_leaves_zeros_out() -> None:
    figure = figures.score_distribution([torch.tensor([0.0, 1.0, 2.0]), torch.tensor([3.0])])
    assert [list(box.y) for box in figure.data] == [[1, 2], [3]]
    assert [box.name for box in figure.data] == ["0", "1"]
