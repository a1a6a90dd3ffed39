"""CIFAR-10 as folders of images, fetched through torchvision where that is installed.

    fetch_cifar10("cifar10") -> cifar10/train/<class>/00000.png ..., cifar10/test/<class>/...

60,000 photographs of 32 px in ten classes (Krizhevsky 2009). torchvision downloads the archive,
170 MB, shows its progress and verifies its checksum. Where there is no network, any folder of the
same layout does: `images` and `classifier` take a path. Chapter 12.
"""

from pathlib import Path

from tqdm import tqdm

from ..checkpoints import atomic_write, needing, reason_of

SPLITS = {"train": 50_000, "test": 10_000}


def fetch_cifar10(folder: str | Path, progress: bool = True) -> Path:
    """Download CIFAR-10 and write it as PNG files; files that are there already stay.

    Args:
        folder: where to; made if absent. The archive stays in it as well.
        progress: show a progress bar while writing.

    Returns:
        The folder: "train" and "test" in it are what `images` and `classifier` read.

    Raises:
        ValueError: torchvision is not installed, what it fetched is damaged, or the data set is not
            of the expected size.
        OSError: no network, or a folder that cannot be written to.
    """
    folder = Path(folder)
    written = {split: len(list((folder / split).glob("*/*.png"))) for split in SPLITS}
    if written == SPLITS:
        return folder
    with needing("cifar10", "torchvision"):
        from torchvision.datasets import CIFAR10
    for split, size in SPLITS.items():
        try:
            images = CIFAR10(str(folder), train=split == "train", download=True)
        except RuntimeError as error:
            # what torchvision says of a wrong checksum
            raise ValueError(f"cifar10: the download is damaged ({reason_of(error)})") from error
        if len(images) != size:
            raise ValueError(f"cifar10: got {len(images)} {split} images, expected {size}")
        for name in images.classes:
            (folder / split / name).mkdir(parents=True, exist_ok=True)
        for number in tqdm(range(size), desc=f"cifar10 {split}", disable=not progress):
            image, label = images[number]
            path = folder / split / images.classes[label] / f"{number:05d}.png"
            if not path.exists():
                atomic_write(path, lambda file, image=image: image.save(file, format="PNG"))
    return folder
