"""The classifier: exact activation maps, masks, training on folders, errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cagc_lib.checkpoints import artefacts, load_classifier, manifest, save_network
from cagc_lib.content import ClassActivation, check_mask, content_source
from cagc_lib.datasets import ClassFolders
from cagc_lib.networks import Classifier, perceptual_distance
from cagc_lib.training import accuracy, train_network


def small() -> Classifier:
    torch.manual_seed(0)
    return Classifier(("cat", "dog", "ship"), (4, 6, 8), depth=1).eval()


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two classes that a colour tells apart."""
    random = np.random.default_rng(0)
    for name, colour in (("blue", (0, 0, 200)), ("red", (200, 0, 0))):
        (tmp_path / name).mkdir()
        for i in range(4):
            picture = (random.integers(0, 50, (8, 8, 3)) + colour).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / name / f"{i}.png")
    return tmp_path


def test_shapes_and_the_mean_of_the_activation_is_the_logit() -> None:
    network, images = small(), torch.rand(2, 3, 32, 32) * 2 - 1
    assert [m.shape for m in network(images)] == [(2, 4, 32, 32), (2, 6, 16, 16), (2, 8, 8, 8)]
    assert network.embed(images).shape == (2, 8)
    logits = network.logits(images)
    assert torch.allclose(network.activation(images).mean((1, 2)), logits.amax(1), atol=1e-6)
    assert (perceptual_distance(network, images, images) == 0).all()
    assert (perceptual_distance(network, images, images.flip(0)) > 0).all()


def test_the_mask_is_where_the_class_is_seen() -> None:
    network = small()
    source = ClassActivation(network, threshold=0.4)
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    mask = check_mask(source(images), images)
    assert 0 < mask.float().mean() < 1
    maps = network.activation(images)
    strongest = maps.flatten(1).argmax(1)
    for i, place in enumerate(strongest.tolist()):
        y, x = divmod(place, 8)
        assert mask[i, 0, 4 * y + 1 : 4 * y + 3, 4 * x + 1 : 4 * x + 3].all()
    more, fewer = ClassActivation(network, 0.1)(images), ClassActivation(network, 0.8)(images)
    assert (fewer <= mask).all()
    assert (mask <= more).all()
    with pytest.raises(ValueError, match=r"^threshold: got 1, expected a number in \[0, 1\)$"):
        ClassActivation(network, 1)


def test_it_learns_and_survives_a_file(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "net.safetensors"
    state = torch.get_rng_state()
    settings = {"data": folders, "resolution": 8, "steps": 25, "batch_size": 8, "lr": 0.02}
    network = train_network("classifier", **settings, out=out, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    images = ClassFolders(folders, 8)
    assert network.classes == images.classes == ("blue", "red")
    assert accuracy(network, images, batch_size=3) == 1
    loaded = load_classifier(out)
    assert not loaded.training
    pictures, _ = images[range(8)]
    expected = network.logits(pictures)
    assert (loaded.logits(pictures) - expected).abs().max() < 2e-2 * expected.abs().max()
    again = train_network("classifier", **settings, progress=False)
    pairs = zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    # by name, as a content source
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(artefacts, "data_dir", lambda: tmp_path / "data")
    target = tmp_path / "data" / "cifar10-perceptual.safetensors"
    target.write_bytes(out.read_bytes())
    artefacts.write_manifest_entry(target, "test")
    mask = content_source("class-activation")(pictures)
    assert torch.equal(mask, ClassActivation(loaded)(pictures))
    with pytest.raises(ValueError, match='"class-activation" takes no classes'):
        content_source("class-activation", ["skin"])


def test_other_classes_are_refused(folders: Path) -> None:
    with pytest.raises(ValueError, match=r"^data: got 'blue, red', expected the classes cat, dog"):
        accuracy(small(), ClassFolders(folders, 8))


@pytest.mark.parametrize(
    "change",
    [
        {"classes": None}, {"classes": []}, {"classes": ["a", "b", "c"]}, {"widths": "abc"},
        {"widths": []}, {"widths": [4, 6]}, {"widths": [4, 6, 10**9]}, {"depth": "x"},
        {"depth": 0}, {"depth": 10**9}, {"depth": 1.5},
    ],
)  # fmt: skip
def test_a_file_that_describes_no_classifier_is_named(change: dict, tmp_path: Path) -> None:
    meta = {"kind": "classifier", "classes": ["a", "b"], "widths": [4, 6, 8], "depth": 1}
    meta = {k: v for k, v in (meta | change).items() if v is not None}
    path = tmp_path / "net.safetensors"
    save_network(Classifier(("a", "b"), (4, 6, 8), depth=1).state_dict(), meta, path)
    expected = r"net\.safetensors: (its meta describes no classifier \(|got other tensors than)"
    with pytest.raises(ValueError, match=expected) as caught:
        load_classifier(path)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_kind_and_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_classifier(tmp_path / "absent.safetensors")
    with pytest.raises(ValueError, match="artefact: got 'dogs', expected one of"):
        load_classifier("dogs")


@pytest.mark.parametrize("name", ["cifar10-perceptual", "cifar10-classifier"])
def test_a_shipped_classifier_knows_the_shipped_photographs(name: str) -> None:
    assert manifest()[name]["accuracy"] > 0.87
    network = load_classifier(name)
    photographs = ClassFolders(artefacts.data_dir() / "cifar10", 32)
    assert accuracy(network, photographs) >= 10 / 12
    images, _ = photographs[range(12)]
    mask = ClassActivation(network)(images)
    check_mask(mask, images)
    # somewhere in every photograph and not everywhere; about half of them together
    assert all(0 < share < 1 for share in mask.float().mean((1, 2, 3)))
    assert 0.4 < mask.float().mean() < 0.6


def test_what_cannot_be_trained_is_named(folders: Path) -> None:
    for options, message in (
        ({"kind": "segmenter"}, r"^kind: got 'segmenter', expected one of parser, features, auto"),
        ({"kind": "classifier"}, r"^data: got nothing, expected a folder of class folders"),
        ({"kind": "parser", "steps": 0}, r"^steps: got 0, expected an integer >= 1$"),
        ({"kind": "features", "batch_size": 0}, r"^batch_size: got 0, expected an integer >= 1$"),
    ):
        with pytest.raises(ValueError, match=message):
            train_network(**options)
