"""Portraits: determinism, exactness of the truth, resolution independence, and bad input."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cagc_lib.datasets.portraits import render as P
from cagc_lib.datasets.portraits.canvas import defocus
from cagc_lib.datasets.portraits.scene import SHARP


@pytest.fixture(scope="module")
def batch() -> P.Portraits:
    return P.render_portraits(range(32), 64)


def test_shapes_types_and_ranges(batch):
    assert batch.images.shape == (32, 3, 64, 64) and batch.images.dtype == torch.float32
    assert batch.images.min() >= -1 and batch.images.max() <= 1
    assert batch.images.isfinite().all()
    assert batch.parsing.shape == (32, 64, 64) and batch.parsing.dtype == torch.int64
    assert batch.landmarks.shape == (32, 68, 2) and batch.landmarks.isfinite().all()
    assert set(batch.attributes) == set(P.ATTRIBUTES) and len(P.ATTRIBUTES) >= 14
    assert all(value.shape == (32,) for value in batch.attributes.values())
    assert len(P.CLASS_NAMES) == 19


@pytest.mark.parametrize("size", [1, 3, 32])
@pytest.mark.parametrize("resolution", [24, 64, 200])
def test_same_seed_same_bytes_in_any_batch(size, resolution):
    seeds = list(range(100, 132))
    whole = P.render_portraits(seeds, resolution)
    for start in range(0, 32, size)[:5]:
        part = P.render_portraits(seeds[start : start + size], resolution)
        rows = slice(start, start + size)
        assert torch.equal(part.images, whole.images[rows])
        assert torch.equal(part.parsing, whole.parsing[rows])
        assert torch.equal(part.landmarks, whole.landmarks[rows])
        for name, value in part.attributes.items():
            assert torch.equal(value, whole.attributes[name][rows]), name


def test_order_and_thread_count_do_not_matter(batch):
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    shuffled = P.render_portraits(order, 64)
    assert torch.equal(shuffled.images, batch.images[order])
    # nor what became of other results
    shuffled.images.fill_(0.0)
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            assert torch.equal(P.render_portraits(range(32), 64).images, batch.images)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)


def test_parameters_are_uniform_distinct_and_signed_64_bit():
    u = P.portrait_parameters(range(4096))
    assert u.shape == (4096, P.NUM_PARAMETERS) and u.dtype == torch.float32
    assert P.NUM_PARAMETERS == len(P.COLUMNS) <= 120
    assert u.min() > 0 and u.max() < 1
    # five standard errors of the mean of a uniform, and of a correlation
    assert (u.mean(0) - 0.5).abs().max() < 5 * 0.2887 / 64
    correlation = torch.corrcoef(u.T) - torch.eye(P.NUM_PARAMETERS)
    assert correlation.abs().max() < 5 / 64
    far = P.portrait_parameters([0, 2**32, -1, 2**63 - 1, -(2**63)])
    assert torch.unique(far, dim=0).shape[0] == 5


def test_seeds_may_be_any_integers(batch):
    for seeds in (5, [5], torch.tensor(5), torch.tensor([5], dtype=torch.uint8), np.array([5])):
        assert torch.equal(P.render_portraits(seeds, 64).images[0], batch.images[5])


@pytest.mark.parametrize(
    "seeds", [1.5, True, [1, 2.0], [True], "7", torch.tensor([1.0]), torch.tensor([True]), [2**63]]
)
def test_other_seeds_are_refused(seeds):
    with pytest.raises(ValueError, match=r"^seeds: got [^\n]*, expected 64-bit integers$"):
        P.portrait_parameters(seeds)


@pytest.mark.parametrize("resolution", [15, 1025, 64.0, True, "64"])
def test_other_resolutions_are_refused(resolution):
    with pytest.raises(ValueError, match=r"^resolution: got .*, expected an int from 16 to 1024$"):
        P.render_portraits([0], resolution)


def test_bad_parameters_and_latents_are_refused():
    good = P.portrait_parameters(range(2))
    for bad in (good[:, :-1], good[0], (good * 10).long(), good[:0], good * 0, good * float("nan")):
        with pytest.raises(ValueError, match=r"^params: [^\n]*expected [^\n]*$"):
            P.render_parameters(bad, 32)
    for bad in (torch.zeros(2, 3), torch.zeros(200), torch.zeros(2, 200, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"^z: got [^\n]*, expected [^\n]*$"):
            P.parameters_from_latents(bad)


def test_latents_become_parameters_by_the_normal_distribution():
    z = torch.zeros(3, 512)
    z[1], z[2] = 40.0, -40.0
    u = P.parameters_from_latents(z)
    assert torch.equal(u[0], torch.full((P.NUM_PARAMETERS,), 0.5))
    assert u[1].max() < 1 and u[2].min() > 0
    assert not P.render_parameters(u.requires_grad_(), 16).images.requires_grad
    assert P.parameters_from_latents(torch.tensor([[1.959964] * 512]))[0, 0] == pytest.approx(0.975)


@pytest.mark.parametrize("resolution", [16, 37, 100, 200])
def test_same_picture_at_every_resolution(resolution):
    """A picture is nearer to itself at another resolution than to any other, by far."""
    fine = P.render_portraits(range(6), 256).images
    other = P.render_portraits(range(6), resolution)
    assert other.images.shape[-1] == resolution and other.parsing.shape[-1] == resolution
    a, b = (F.adaptive_avg_pool2d(x, 8).flatten(1) for x in (fine, other.images))
    distance = torch.cdist(a, b, p=1) / a.shape[1]
    apart = distance + 1e6 * torch.eye(6)
    assert distance.diagonal().max() < 0.5 * apart.min()


def test_landmarks_scale_with_resolution_and_lie_on_features():
    small, large = P.render_portraits(range(24), 64), P.render_portraits(range(24), 256)
    torch.testing.assert_close(small.landmarks * 4, large.landmarks, rtol=1e-4, atol=2e-3)
    hidden = (large.attributes["glasses"] | (large.attributes["hat"] > 0)).tolist()
    for i in range(24):
        if hidden[i] or large.attributes["hair_style"][i] == 10:
            continue
        points = large.landmarks[i]
        nose = points[33].long()
        assert large.parsing[i, nose[1] - 6, nose[0]] == 10
        lips = points[[51, 57]].mean(0).long()
        assert int(large.parsing[i, lips[1], lips[0]]) in (11, 12, 13)
        middle = points[36:42].mean(0).long(), points[42:48].mean(0).long()
        seen = [int(large.parsing[i, y, x]) for x, y in middle]
        # the far eye of a strongly turned head may be under the hair
        assert 4 in seen or 5 in seen
        assert set(seen) <= {4, 5, 17}
        assert middle[0][0] < middle[1][0]
        chin, brows = points[8], points[17:27].mean(0)
        assert chin[1] > points[57, 1] > nose[1] > brows[1]


def test_every_class_occurs_and_faces_fill_the_frame():
    many = P.render_portraits(range(200), 64)
    present = torch.unique(many.parsing)
    assert present.tolist() == list(range(19))
    content = ((many.parsing > 0) & (many.parsing != 16)).float().mean((1, 2))
    assert 0.45 < content.mean() < 0.65 and content.min() > 0.25


def test_worn_things_are_in_the_map_only_when_worn():
    many = P.render_portraits(range(120), 64)
    shown = {k: (many.parsing == k).flatten(1).any(1) for k in (6, 9, 15, 17, 18)}
    a = many.attributes
    assert torch.equal(shown[6], a["glasses"])
    assert torch.equal(shown[18], a["hat"] > 0)
    assert not (shown[9] & ~a["earrings"]).any()
    assert not (shown[15] & ~a["necklace"]).any()
    assert not (shown[17] & a["bald"] & (a["beard"] < 3)).any()


def test_parameters_move_what_they_name():
    """One column moves its own attribute and the picture, and leaves the other attributes."""
    base = torch.full((1, P.NUM_PARAMETERS), 0.5)
    middle = P.render_parameters(base, 48)
    for name in ("yaw", "pitch", "roll", "smile", "mouth_open", "age", "skin_tone", "gaze_x",
                 "light_direction", "face_width"):
        moved = base.clone()
        moved[0, P.COLUMNS.index(name)] = 0.9
        other = P.render_parameters(moved, 48)
        assert (other.images - middle.images).abs().max() > 0.05, name
        before = middle.attributes
        changed = {k for k, v in other.attributes.items() if not torch.equal(v, before[k])}
        allowed = {name, "hair_colour"} if name == "skin_tone" else {name}
        assert name in changed and changed <= allowed


@pytest.mark.parametrize("resolution", [64, 256])
def test_only_the_background_is_out_of_focus(resolution):
    many = P.render_portraits(range(48), resolution)
    steps = many.images.diff(dim=2)[..., :-1].abs().amax(1)
    margin = resolution // 32
    grown = F.max_pool2d((many.parsing > 0).float(), 2 * margin + 1, 1, margin)
    person = grown[:, 1:, :-1] > 0
    # a Gaussian of sigma pixels turns a step of height 2 into slopes of at most 0.8 / sigma
    assert steps[~person].max() < 0.8 / (SHARP * resolution)
    assert steps[person].max() > 2 * steps[~person].max()


def test_defocus_keeps_light_and_spreads_by_sigma():
    point = torch.zeros(2, 3, 41, 41)
    point[:, :, 20, 20] = 1.0
    blurred = defocus(point, torch.tensor([1.0, 3.0]).view(2, 1, 1), 4.0)
    torch.testing.assert_close(blurred.sum((2, 3)), torch.ones(2, 3))
    place = torch.arange(41) - 20.0
    spread = (blurred.sum(2) * place.square()).sum(-1).sqrt()
    torch.testing.assert_close(spread[:, 0], torch.tensor([1.0, 3.0]), rtol=0.05, atol=0)
    torch.testing.assert_close(defocus(point * 0 + 0.3, spread[:, :1, None], 4.0), point * 0 + 0.3)


def test_fixed_fingerprint(batch):
    """The pictures are frozen: networks in data/ were trained on them."""
    thumb = F.avg_pool2d(batch.images[:2], 32).flatten()
    expected = torch.tensor(FINGERPRINT)
    torch.testing.assert_close(thumb, expected, rtol=0, atol=2e-4)


FINGERPRINT = [
    0.32062, 0.24257, 0.13044, 0.10904, -0.02568, -0.09831, -0.22240, -0.24552, -0.32601,
    -0.37670, -0.47011, -0.47979, -0.12833, -0.22912, -0.18297, -0.27228, -0.35827, -0.41222,
    -0.42802, -0.48221, -0.46283, -0.48872, -0.53531, -0.56357,
]
