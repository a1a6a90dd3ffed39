import pytest
import torch

from cagc_lib.checkpoints import load_features
from cagc_lib.datasets import render_portraits
from cagc_lib.networks import FeatureNetwork, appearance, perceptual_distance
from cagc_lib.training import HELD_OUT_SEED, gaussian_blur, train_network
from cagc_lib.training.recognition import describe_attributes

SEEDS = range(HELD_OUT_SEED, HELD_OUT_SEED + 256)


@pytest.fixture(scope="module")
def held_out():
    return render_portraits(SEEDS, 64)


@pytest.fixture(scope="module")
def network():
    return load_features()


@pytest.fixture(scope="module")
def predicted(held_out, network):
    with torch.no_grad():
        return network.predict(held_out.images)


def explained(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """R^2 of each column: 0 is what predicting the mean reaches."""
    return 1 - (predicted - truth).square().mean(0) / truth.var(0)


def test_landmarks_are_found_and_scale_with_the_image(held_out, predicted, network):
    error = (predicted["landmarks"] - held_out.landmarks).norm(dim=2).mean()
    assert predicted["landmarks"].shape == (256, 68, 2)
    assert error < 1.0
    portraits = render_portraits(SEEDS[:32], 128)
    error = (network.predict(portraits.images)["landmarks"] - portraits.landmarks).norm(dim=2)
    assert error.mean() < 2.0


@pytest.mark.parametrize("name", ["glasses", "sunglasses", "hat", "scene", "beard"])
def test_attributes_beat_the_commonest_answer(held_out, predicted, name):
    truth = held_out.attributes[name]
    commonest = (truth == truth.float().mode().values).float().mean()
    right = (predicted[name] == truth).float().mean()
    assert 1 - right < 0.6 * (1 - commonest)


@pytest.mark.parametrize(
    "name", ["skin_tone", "yaw", "mouth_open", "light_direction", "hair_length"]
)
def test_numbers_beat_their_mean(held_out, predicted, name):
    assert explained(predicted[name], held_out.attributes[name]) > 0.5


def test_the_embedding_knows_the_background(held_out, predicted):
    truth = appearance(held_out.images)
    # The corner cells at the top are background almost everywhere: colour and contrast.
    corners = explained(predicted["appearance"], truth)[:, 0, ::3]
    assert corners[:3].min() > 0.6
    assert corners[3].min() > 0.3


def test_feature_maps_halve_from_full_resolution(network):
    maps = network(torch.zeros(2, 3, 64, 64))
    assert [m.shape[-1] for m in maps] == [64, 32, 16, 8, 4]
    assert [m.shape[1] for m in maps] == list(network.widths)
    assert network.embed(torch.zeros(2, 3, 64, 64)).shape == (2, 128)


@pytest.mark.parametrize(
    ("size", "expected"), [(32, 64), (64, 64), (100, 100), (128, 128), (256, 128), (1024, 128)]
)
def test_sizes_are_brought_to_the_trained_range(network, size, expected):
    assert network.prepare(torch.zeros(1, 3, size, size)).shape == (1, 3, expected, expected)


def test_the_embedding_hardly_depends_on_the_resolution(network):
    small = network.embed(render_portraits(SEEDS[:64], 64).images)
    large = network.embed(render_portraits(SEEDS[:64], 128).images)
    pairs = torch.cdist(small, large)
    # Each portrait's nearest neighbour at the other resolution is itself.
    assert (pairs.argmin(1) == torch.arange(64)).float().mean() > 0.95


def test_perceptual_distance_is_a_distance(held_out, network):
    a, b = held_out.images[:8], held_out.images[8:16]
    assert perceptual_distance(network, a, a).eq(0).all()
    forth = perceptual_distance(network, a, b)
    assert forth.shape == (8,)
    assert (forth > 0.01).all()
    assert torch.equal(forth, perceptual_distance(network, b, a))
    # it feels the background
    background = (held_out.parsing == 0)[:8, None]
    assert (perceptual_distance(network, torch.where(background, b, a), a) > 0.05).all()


def test_perceptual_distance_grows_with_blur_noise_and_a_move(held_out, network):
    images = held_out.images[:16]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))

    def mean(other):
        return perceptual_distance(network, images, other).mean().item()

    blurs = [mean(gaussian_blur(images, torch.full([16], s))) for s in (0.5, 1.0, 2.0)]
    noises = [mean((images + s * noise).clamp(-1, 1)) for s in (0.03, 0.1, 0.3)]
    moves = [mean(images.roll(s, 3)) for s in (1, 3)]
    assert blurs == sorted(blurs)
    assert noises == sorted(noises)
    assert moves == sorted(moves)


def test_perceptual_distance_leads_an_image_to_its_target(held_out, network):
    target = held_out.images[:1]
    image = target.roll(1, 2).clone().requires_grad_()
    optimiser = torch.optim.Adam([image], lr=0.03)
    losses = []
    for _ in range(12):
        loss = perceptual_distance(network, image, target).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert image.grad.isfinite().all()
    assert losses[-1] < 0.5 * losses[0]
    assert all(p.grad is None for p in network.parameters())


def test_the_gradient_is_finite_where_features_vanish(network):
    image = torch.zeros(1, 3, 32, 32, requires_grad=True)
    perceptual_distance(network, image, torch.zeros(1, 3, 32, 32)).sum().backward()
    assert image.grad.isfinite().all()


def test_bad_images_are_named(network):
    good = torch.zeros(1, 3, 64, 64)
    with pytest.raises(ValueError, match="at least 32 x 32"):
        network.embed(torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match=r"b: got \[2, 3, 64, 64\], expected"):
        perceptual_distance(network, good, good.repeat(2, 1, 1, 1))
    with pytest.raises(ValueError, match="images"):
        network(good.byte())


def test_appearance_measures_colour_and_contrast():
    images = torch.zeros(1, 3, 64, 64)
    images[:, 0, :16, :16] = 0.4
    images[:, :, 48:, 48::2] = 1.0
    found = appearance(images)
    assert found[0, :3, 0, 0].tolist() == pytest.approx([1, 0, 0], abs=1e-5)
    assert found[0, 3, 0, 0].item() == pytest.approx(-2.5, abs=1e-3)
    assert found[0, :3, 3, 3].tolist() == pytest.approx([1.25] * 3)
    assert found[0, 3, 3, 3].item() == pytest.approx(2.5)
    images = torch.rand(1, 3, 64, 64)
    larger = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(appearance(larger), appearance(images), rtol=1e-4, atol=1e-5)


def test_attributes_are_described_by_their_type():
    number, flag, kind = torch.tensor([1.0, 3.0]), torch.tensor([True, False]), torch.tensor([0, 4])
    spec = describe_attributes({"number": number, "flag": flag, "kind": kind})
    assert spec["number"] == pytest.approx([2.0, 2**0.5])
    assert spec["flag"] == []
    assert spec["kind"] == [5]
    network = FeatureNetwork(spec)
    found = network.eval().predict(torch.zeros(2, 3, 64, 64))
    assert found["flag"].dtype == torch.bool
    assert found["kind"].dtype == torch.int64
    # An untrained head predicts the mean of everything.
    assert found["number"].tolist() == pytest.approx([2.0, 2.0])
    assert found["appearance"].eq(0).all()


@pytest.mark.parametrize("what", ["features", "parser", "autoencoder"])
def test_training_is_deterministic(what, tmp_path):
    first = train_network(what, steps=2, batch_size=4, seed=3, progress=False)
    path = tmp_path / "network.safetensors"
    second = train_network(what, steps=2, batch_size=4, seed=3, out=path, progress=False)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert path.exists()
