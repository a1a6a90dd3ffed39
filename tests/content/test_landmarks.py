"""The hull of 68 landmarks, found by the package face-alignment with the shipped network."""

import socket
import urllib.error

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import Delaunay

from cagc_lib.content import content_source
from cagc_lib.content.landmarks import LandmarkHull, hull_mask
from cagc_lib.datasets import render_portraits
from cagc_lib.training import HELD_OUT_SEED


@pytest.fixture(scope="module")
def source() -> LandmarkHull:
    pytest.importorskip("face_alignment", reason="needs the package face-alignment")
    return content_source("face-alignment", landmarks="portraits")


@pytest.mark.parametrize("resolution", [64, 128, 256])
def test_the_package_finds_the_landmarks_of_portraits(
    source: LandmarkHull, resolution: int
) -> None:
    portraits = render_portraits(range(HELD_OUT_SEED, HELD_OUT_SEED + 12), resolution)
    found = source.landmarks(portraits.images)
    assert all(points.shape == (1, 68, 2) for points in found)
    error = np.concatenate(found) - portraits.landmarks.numpy()
    # in pixels of a 64 px image: on the mean over points and people, and no shift to one side
    assert np.linalg.norm(error, axis=-1).mean() * 64 / resolution < 1.2
    assert np.abs(error.mean((0, 1))).max() * 64 / resolution < 0.4
    truth = torch.stack([
        hull_mask(points.numpy(), (resolution,) * 2, source.margin)
        for points in portraits.landmarks
    ])[:, None]
    mask = source(portraits.images)
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9


def test_a_box_from_elsewhere_is_used(source: LandmarkHull) -> None:
    portraits = render_portraits([HELD_OUT_SEED], 128)
    points = portraits.landmarks[0] / 128
    box = (*points.amin(0).tolist(), *points.amax(0).tolist())
    ours = content_source("face-alignment", landmarks="portraits", box=box)
    error = ours.landmarks(portraits.images)[0][0] - portraits.landmarks[0].numpy()
    assert np.linalg.norm(error, axis=-1).mean() < 3


class Found:
    """The package, with the faces that it finds in every picture."""

    def __init__(self, faces: list[np.ndarray] | None) -> None:
        self.faces = faces

    def get_landmarks_from_image(self, picture: np.ndarray, boxes: object) -> list | None:
        assert picture.dtype == np.uint8 and boxes is None
        return self.faces


def test_all_people_are_content_and_nothing_else() -> None:
    nobody = LandmarkHull(Found(None))(torch.zeros(2, 3, 8, 10))
    assert nobody.shape == (2, 1, 8, 10)
    assert nobody.dtype == torch.bool and not nobody.any()
    square = np.array([[0, 0], [3, 0], [3, 3], [0, 3]], np.float32)
    mask = LandmarkHull(Found([square, square + 8]), margin=0)(torch.zeros(1, 3, 16, 16))[0, 0]
    assert mask[:4, :4].all() and mask[8:12, 8:12].all()
    assert mask.sum() == 2 * 4 * 4


@given(st.integers(0, 10_000), st.floats(0.0, 1.0), st.integers(3, 30))
def test_a_hull_holds_its_points_and_grows_with_the_margin(
    seed: int, margin: float, count: int
) -> None:
    points = np.random.default_rng(seed).uniform(8, 24, (count, 2))
    hull = hull_mask(points, (32, 32))
    grown = hull_mask(points, (32, 32), margin)
    assert not (hull & ~grown).any()
    # the triangles between the points, found in another way, fill the hull
    y, x = np.mgrid[:32, :32] + 0.5
    filled = Delaunay(points).find_simplex(np.stack([x, y], -1)) >= 0
    assert np.array_equal(hull.numpy(), filled)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, "margin: got -0.1, expected a number of at least 0"),
        ({"margin": float("nan")}, "margin: got nan"),
        ({"box": (0.5, 0, 0.5, 1)}, "box: got .*expected left < right"),
    ],
)
def test_wrong_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        LandmarkHull(None, **options)


def test_networks_that_cannot_be_fetched_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    face_alignment = pytest.importorskip("face_alignment", reason="needs the package")
    name = socket.gaierror(-2, "Name or service not known")

    def fail(*arguments: object, **options: object) -> None:
        raise urllib.error.URLError(name)

    monkeypatch.setattr(face_alignment.FaceAlignment, "__init__", fail)
    with pytest.raises(OSError) as error:
        content_source("face-alignment")
    message = "face-alignment: cannot fetch its networks (Name or service not known)"
    assert str(error.value) == message


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(ValueError, match=r"^landmarks: got 'mesh', expected fan or portraits$"):
        content_source("face-alignment", landmarks="mesh")
