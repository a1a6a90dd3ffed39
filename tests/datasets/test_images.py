"""Streams of real images: functions of the position, whole epochs, honest errors."""

import io
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cagc_lib.datasets import ClassFolders, image_source, mixed_seed, render_portraits, save_sheet
from cagc_lib.datasets.images import ImageFolder, RenderedPortraits, _archive


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


def saved(form: str, mode: str, colour: object, **options: object) -> bytes:
    Image.new(mode, (8, 8), colour).save(file := io.BytesIO(), form, **options)
    return file.getvalue()


def png(depth: int, colour: int, row: bytes, key: bytes) -> bytes:
    """A PNG of 8 x 8 pixels, its rows the same, with a chunk that says what is transparent."""
    head = struct.pack(">2I5B", 8, 8, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", head), (b"PLTE", b"\x80" * 6)][: 2 if colour == 3 else 1]
    parts += [(b"tRNS", key), (b"IDAT", zlib.compress((b"\0" + row) * 8)), (b"IEND", b"")]
    sums = [struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts]
    parts = [struct.pack(">I", len(data)) + kind + data for kind, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(p + s for p, s in zip(parts, sums, strict=True))


ALPHA = [*product(("PNG", "TIFF"), ("RGBA", "LA")), ("BMP", "RGBA"), ("WEBP", "RGBA")]
# depth, kind, a row of pixels; what the chunk says, in no pixel and in some
KEYS = [
    (8, 3, bytes([0, 1] * 4), b"\xff\xff\0", b"\xff\xfe"), (4, 0, b"\x88" * 4, b"\0\0", b"\0\x08"),
    (8, 0, b"\x80" * 8, b"\0\x08", b"\0\x80"), (16, 0, b"\x80\1" * 8, b"\1\x80", b"\x80\1"),
    (8, 2, b"\x80" * 24, bytes(6), b"\0\x80" * 3), (16, 2, b"\x80\1" * 24, bytes(6), b"\x80\1" * 3),
]


@pytest.mark.parametrize(
    ("content", "got"),
    [
        *((saved(*kind, (128,) * (len(kind[1]) - 1) + (255,)), "") for kind in ALPHA),
        *((saved(*kind, (128,) * (len(kind[1]) - 1) + (254,)), "transparency") for kind in ALPHA),
        *((png(*kind, unused), "told" if kind[0] == 16 else "") for *kind, unused, _ in KEYS),
        *((png(*kind, used), "transparency") for *kind, _, used in KEYS),
        *((saved(form, "I;16", 0x80FF), "told") for form in ("PNG", "TIFF")),
        (saved("TIFF", "I;16", 0x80FF, compression="tiff_lzw"), "told"),
        (saved("TIFF", "I;16", 0x80FF, tiffinfo={262: 0}), "TIFF, mode I;16"),
        (saved("TIFF", "F", 1), "TIFF, mode F"), (saved("EPS", "RGB", 1), "EPS, mode RGB"),
        (saved("GIF", "L", 128, transparency=8), ""), (saved("TIFF", "CMYK", (*[127] * 3, 0)), ""),
    ],
)
def test_an_image_is_read_as_rgb_or_refused(
    content: bytes, got: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Of 16 bits the high byte is read, which is told once a source."""
    for name in ("x.tif", "y/x.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    if got in ("", "told"):
        grey = ((ImageFolder(tmp_path, 8)(0, 2) + 1) * 127.5).round().unique().tolist()
        # 136 is half of 4 bits
        assert grey in ([128], [136])
        line = f"data: {tmp_path} has 16 bits a channel: the high 8 are read\n"
        assert capsys.readouterr().err == (line if got else "")
        return
    with pytest.raises(ValueError, match=rf"^data: .*x\.tif: got {got}, expected [^\n]*$"):
        ImageFolder(tmp_path, 8)(0, 1)


def test_links_are_followed_each_place_once(tmp_path: Path) -> None:
    here, there = folder_of(tmp_path / "here" / "b", [10]).parent, folder_of(tmp_path / "x", [20])
    links = {"a": here / "b", "b/loop": here, "b/self": here / "b/self", "c": there,
             "d.png": there / "000.png", "e": there, "f": tmp_path / "absent"}
    for name, target in links.items():
        (here / name).symlink_to(target)
    Image.new("L", (9, 9), 100).save(here / "grey.JPG")
    (here / "notes.txt").write_text("not an image")
    images = ImageFolder(here, 8)
    names = ["b/000.png", "c/000.png", "d.png", "grey.JPG"]
    assert [str(f.relative_to(here)) for f in images.files] == names
    assert images(0, 4).shape == (4, 3, 8, 8)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda f: f.symlink_to("gone")])
def test_an_image_name_that_is_no_file_is_named(make: Callable, tmp_path: Path) -> None:
    make(folder_of(tmp_path, [10]) / "x.png")
    with pytest.raises(ValueError, match=r"^data: .*x\.png is a dead link or no file, expected"):
        ImageFolder(tmp_path, 8)


def zip_of(folder: Path) -> Path:
    """The folder as NVIDIA's dataset_tool writes it, with labels."""
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in sorted(folder.rglob("*.png"), reverse=True):
            archive.write(path, str(path.relative_to(folder)))
        archive.writestr("dataset.json", '{"labels": null}')
    return folder.with_suffix(".zip")


def test_an_archive_is_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3):
        folder_of(tmp_path / "d" / f"0000{i}", [40 * i + j for j in range(20)])
    folder = image_source(str(tmp_path / "d"), 8, seed=3)(0, 60)
    archive = image_source(str(zip_of(tmp_path / "d")), 8, seed=3)
    archive._keep = False
    with ThreadPoolExecutor(8) as pool:
        assert torch.equal(torch.cat([*pool.map(archive, range(60), [1] * 60)]), folder)
    # another process opens it anew
    mine = _archive(archive.source, os.getpid())
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert torch.equal(pickle.loads(pickle.dumps(archive))(0, 60), folder)
    assert _archive(archive.source, -1).fp is not mine.fp


@pytest.mark.parametrize(
    ("at", "offset", "new", "message"),
    [
        (b"PK\5\6", 0, b"", "no whole zip archive"), (b"PK\3\4", 0, b"?", "not a readable"),
        (b"PK\1\2", 8, b"\1", "or encrypted '000"), (b"PK\1\2", 10, b"\x08", "a compressed '000"),
        (b"PK\1\2", 20, b"\xff\xff\xff\x7f" * 2, "a damaged"),
        (b"PK\1\2", 46, b"\x1b[m", r"a damaged or encrypted '\\x1b"),
        (b"PK\1\2", 46, b"../", "no image in"), (b"PK\1\2", 46, b"abc", "not a readable"),
        (b"IDAT", 9, b"\0\0\0", "not a readable"),
    ],
)
def test_an_archive_of_another_kind_is_refused(
    at: bytes, offset: int, new: bytes, message: str, tmp_path: Path
) -> None:
    file = zip_of(folder_of(tmp_path / "d", [10]))
    place = (data := file.read_bytes()).index(at) + offset
    file.write_bytes(data[:place] + new + (data[place + len(new) :] if new else b""))
    with pytest.raises(ValueError, match=rf"^data: [^\n]*{message}[^\n]*$") as caught:
        ImageFolder(file, 8)(0, 1)
    assert str(file) in str(caught.value)


def test_a_photograph_is_upright_as_its_camera_says(tmp_path: Path) -> None:
    upright = np.zeros((8, 8), np.uint8)
    upright[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: to be turned a quarter clockwise
    Image.fromarray(np.rot90(upright)).save(tmp_path / "x.png", exif=exif)
    image = ImageFolder(tmp_path, 8)(0, 1)[0, 0]
    assert (image[:4] == 1).all() and (image[4:] == -1).all()


def test_a_missing_or_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='expected "portraits", a folder or a zip'):
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
