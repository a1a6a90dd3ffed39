"""Streams of real images: functions of the position, whole epochs, honest errors."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cagc_lib.datasets import ClassFolders, image_source, mixed_seed, render_portraits, save_sheet
from cagc_lib.datasets.images import ImageFolder, RenderedPortraits


def folder_of(folder: Path, colours: list[int], size: tuple[int, int] = (20, 20)) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for i, colour in enumerate(colours):
        Image.new("RGB", size, (colour, 0, 255)).save(folder / f"{i:03d}.png")
    return folder


def test_portraits_are_those_of_their_seeds() -> None:
    source = RenderedPortraits(16, first_seed=100)
    expected = render_portraits(range(107, 112), 16).images
    assert torch.equal(source(7, 5), expected)
    assert torch.equal(torch.cat([source(7, 2), source(9, 3)]), expected)


def test_a_pool_shows_each_portrait_once_an_epoch() -> None:
    source = RenderedPortraits(16, first_seed=5, pool=6, seed=3)
    portraits = render_portraits(range(5, 11), 16).images
    orders = []
    for epoch in range(2):
        images = torch.cat([source(epoch * 6 + start, 3) for start in (0, 3)])
        distance = (images[:, None] - portraits[None]).abs().flatten(2).amax(2)
        # eight bits: half a step of 2 / 255
        assert (distance.min(1).values <= 1 / 255 + 1e-6).all()
        orders.append(distance.argmin(1).tolist())
        assert sorted(orders[-1]) == list(range(6))
    assert orders[0] != orders[1]
    # a source that starts in the middle shows the same
    again = RenderedPortraits(16, first_seed=5, pool=6, seed=3)
    assert torch.equal(again(4, 5), source(4, 5))


def test_a_folder_is_cropped_and_resized(tmp_path: Path) -> None:
    # a wide image: red bars left and right of a green square
    wide = np.zeros((32, 64, 3), np.uint8)
    wide[..., 0] = 255
    wide[:, 16:48] = (0, 255, 0)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    image = ImageFolder(tmp_path, 8)(0, 1)
    assert image.shape == (1, 3, 8, 8)
    assert torch.equal(image, torch.tensor([-1.0, 1.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8))


def test_a_folder_is_averaged_when_it_shrinks(tmp_path: Path) -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).convert("RGB").save(tmp_path / "board.png")
    image = ImageFolder(tmp_path, 8)(0, 1)
    # a sampled chessboard would be black or white; an averaged one is grey
    assert image.abs().max() < 0.05


def test_a_folder_goes_through_whole_epochs(tmp_path: Path) -> None:
    source = image_source(str(folder_of(tmp_path / "a", list(range(0, 250, 50)))), 8, seed=1)
    reds = ((source(0, 10)[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
    assert sorted(reds[:5]) == sorted(reds[5:]) == list(range(0, 250, 50))
    assert reds[:5] != reds[5:]


def test_folders_inside_and_grey_images_are_read(tmp_path: Path) -> None:
    folder_of(tmp_path / "inner", [10])
    Image.new("L", (9, 9), 100).save(tmp_path / "grey.JPG")
    (tmp_path / "notes.txt").write_text("not an image")
    assert ImageFolder(tmp_path, 8)(0, 2).shape == (2, 3, 8, 8)


def test_flips_mirror_about_half(tmp_path: Path) -> None:
    plain, flipped = (image_source("portraits", 16, pool=4, flip=f, seed=2) for f in (False, True))
    a, b = plain(0, 64), flipped(0, 64)
    same = (a == b).flatten(1).all(1)
    mirrored = (a.flip(3) == b).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 16 <= int(mirrored.sum()) <= 48
    assert torch.equal(flipped(10, 4), b[10:14])


def png_of_noise() -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    Image.fromarray(noise).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def with_a_wrong_length(png: bytes) -> bytes:
    """The same, but the picture's length is told 1,024 bytes too small: one byte is wrong."""
    data = bytearray(png)
    data[data.index(b"IDAT") - 2] -= 4
    return bytes(data)


@pytest.mark.parametrize("of", [ImageFolder, ClassFolders])
@pytest.mark.parametrize(
    "content",
    [b"", b"\x89PNG\r\n\x1a\n then nothing", b"GIF89a", png_of_noise()[:1500],
     with_a_wrong_length(png_of_noise())],
    ids=["empty", "head", "gif", "half", "length"],
)
def test_a_file_that_is_no_image_is_named(tmp_path: Path, content: bytes, of: type) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "x.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"^data: .*x\.png is not a readable image") as caught:
        of(tmp_path, 8).images([0])
    assert "\n" not in str(caught.value)


GREY = np.full((8, 8), 128, np.uint8)


@pytest.mark.parametrize(
    ("picture", "name", "got"),
    [
        (Image.fromarray(GREY.astype(np.uint16) * 256), "x.png", "mode I;16"),
        (Image.fromarray(np.stack([GREY] * 4, -1)), "x.png", "transparency"),
        (Image.fromarray(np.stack([GREY, GREY], -1), "LA"), "x.webp", "transparency"),
        (Image.fromarray(GREY).convert("P"), "x.png", "transparency"),
    ],
)
def test_an_image_that_rgb_cannot_hold_is_refused(
    picture: Image.Image, name: str, got: str, tmp_path: Path
) -> None:
    picture.save(tmp_path / name, **({"transparency": 0} if picture.mode == "P" else {}))
    with pytest.raises(ValueError, match=rf"^data: .*{name}: got {got}, expected 8 bits a chan"):
        ImageFolder(tmp_path, 8)(0, 1)


def test_what_rgb_can_hold_is_read(tmp_path: Path) -> None:
    opaque = np.dstack([GREY, GREY, GREY, np.full_like(GREY, 255)])
    Image.fromarray(opaque).save(tmp_path / "0.png")
    Image.fromarray(GREY).save(tmp_path / "1.png")
    Image.fromarray(GREY).convert("P").save(tmp_path / "2.png")
    Image.fromarray(GREY).convert("CMYK").save(tmp_path / "3.jpg")
    images = ImageFolder(tmp_path, 8).images(range(4))
    assert ((images + 1) * 127.5 - 128).abs().max() <= 1


def test_a_photograph_is_upright_as_its_camera_says(tmp_path: Path) -> None:
    upright = np.zeros((8, 8), np.uint8)
    upright[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: to be turned a quarter clockwise
    Image.fromarray(np.rot90(upright)).save(tmp_path / "x.png", exif=exif)
    image = ImageFolder(tmp_path, 8)(0, 1)[0, 0]
    assert (image[:4] == 1).all() and (image[4:] == -1).all()


def test_a_missing_or_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='expected "portraits" or a folder'):
        image_source(str(tmp_path / "absent"), 8)
    with pytest.raises(ValueError, match="no image in"):
        image_source(str(tmp_path), 8)


def test_seeds_are_mixed() -> None:
    seeds = {mixed_seed(a, b) for a in range(20) for b in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_a_sheet_is_row_by_row_and_clipped(tmp_path: Path) -> None:
    images = torch.tensor([-1.0, 0.0, 5.0]).view(3, 1, 1, 1).expand(3, 3, 4, 4)
    save_sheet(images, tmp_path / "sheet.png", columns=2)
    with Image.open(tmp_path / "sheet.png") as opened:
        sheet = np.array(opened)
    assert sheet.shape == (8, 8, 3)
    # the empty place is white
    expected = [[0, 128], [255, 255]]
    assert (sheet[::4, ::4, 0] == expected).all()
    assert [file.name for file in tmp_path.iterdir()] == ["sheet.png"]


def test_class_folders_give_images_and_labels(tmp_path: Path) -> None:
    for name, reds in (("b", [30, 40]), ("a", [10])):
        (tmp_path / name).mkdir()
        folder_of(tmp_path / name, reds)
    images = ClassFolders(tmp_path, 8)
    assert (images.classes, len(images)) == (("a", "b"), 3)
    pictures, labels = images[[2, 0]]
    assert ((pictures[:, 0, 0, 0] + 1) * 127.5).round().int().tolist() == [40, 10]
    assert labels.tolist() == [1, 0]
    assert ClassFolders(tmp_path, 8, ["b"])[range(2)][1].tolist() == [0, 0]
    # the stream of all images takes the same layout
    assert ImageFolder(tmp_path, 8)(0, 3).shape == (3, 3, 8, 8)


def test_wrong_class_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a folder of class folders"):
        ClassFolders(tmp_path / "absent", 8)
    with pytest.raises(ValueError, match=r"^data: no class folder in .*, expected one a class$"):
        ClassFolders(tmp_path, 8)
    (tmp_path / "cat").mkdir()
    with pytest.raises(ValueError, match=r"^data: no image in .*cat, expected \.png"):
        ClassFolders(tmp_path, 8)
    folder_of(tmp_path / "cat", [10])
    with pytest.raises(ValueError, match=r"^data: no class folder 'dog' in .*, found cat$"):
        ClassFolders(tmp_path, 8, ["cat", "dog"])
    # what is hidden is no class and no image
    (tmp_path / ".ipynb_checkpoints").mkdir()
    folder_of(tmp_path / ".cache", [10])
    for place in (tmp_path, tmp_path / "cat"):
        (place / "._x.jpg").write_bytes(b"")
    assert (ClassFolders(tmp_path, 8).classes, len(ImageFolder(tmp_path, 8))) == (("cat",), 1)
    # the folder above: train/ and test/ are no classes
    folder_of(tmp_path / "above" / "train" / "cat", [10])
    with pytest.raises(ValueError, match=r"^data: .*\.png is in a folder inside that of a class"):
        ClassFolders(tmp_path / "above", 8)
    shutil.rmtree(tmp_path / "above")
    Image.new("RGB", (8, 8)).save(tmp_path / "loose.png")
    with pytest.raises(ValueError, match=r"loose\.png is in no class, expected images in class"):
        ClassFolders(tmp_path, 8)


def test_small_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path / "a", [10, 20])
    kept, fresh = ImageFolder(folder, 8), ImageFolder(folder, 8)
    fresh._keep = False
    assert torch.equal(kept(0, 4), fresh(0, 4))
    for file in folder.iterdir():
        file.write_bytes(b"")
    assert sorted(kept(0, 2)[:, 0, 0, 0].tolist()) == sorted(kept(2, 2)[:, 0, 0, 0].tolist())
    with pytest.raises(ValueError, match="not a readable image"):
        fresh(0, 1)
