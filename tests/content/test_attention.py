"""Clusters of a generator's own features as content."""

import copy

import pytest
import torch

from cagc_lib.checkpoints import load_generator
from cagc_lib.content import GeneratorFeatures, check_mask, content_source, everything, following
from cagc_lib.importance import score_channels
from cagc_lib.networks import GeneratorConfig, SNGANConfig, build

STYLEGAN2 = GeneratorConfig(16, (4,) * 6, z_dim=8, w_dim=8, mapping_layers=1)
NOT_DRAWN = r"^content: got images that the generator did not just draw, .*whole batch"


@pytest.mark.parametrize("config", [STYLEGAN2, SNGANConfig(16, (4,) * 5, z_dim=8)])
def test_the_images_just_drawn_have_a_mask_and_no_others(config: object) -> None:
    torch.manual_seed(0)
    g = build(config).eval()
    plain = g(torch.ones(2, 8))
    source = GeneratorFeatures(g, clusters=4, keep=[0, 1], num_samples=8)
    with pytest.raises(ValueError, match=NOT_DRAWN):
        source(plain)
    z = torch.randn(2, 8)
    with torch.no_grad():
        images = g(z)
        assert torch.equal(g.synthesis(g.mapping(z), return_rgbs=True)[-1], images)
    mask = check_mask(source(images), images)
    assert source.clusters(images).shape == (2, 8, 8)
    with pytest.raises(ValueError, match=NOT_DRAWN):
        source(images.flip(0))
    with pytest.raises(ValueError, match=NOT_DRAWN):
        source(images[:1])
    # a copy has a source of its own, and scoring finds the images it asks about
    other = copy.deepcopy(g)
    followed = following(source, other)
    with torch.no_grad():
        assert torch.equal(followed(other(z)), mask)
    assert following(everything, other) is everything
    scores = score_channels(g, source, num_samples=3, batch_size=2, noise_prob=1.0)
    assert scores.channels == config.channels


def test_the_portraits_own_features_know_the_person() -> None:
    g = load_generator("portraits")
    source, parser = content_source("attention", generator=g), content_source("portraits")
    z = torch.randn(64, g.config.z_dim, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        images = g(z)
    found, truth = source(images), parser(images)
    overlap = (found & truth).sum() / (found | truth).sum()
    # the best that one place for all images can do
    place = (truth.float().mean(0, keepdim=True) > 0.5).expand_as(truth)
    assert overlap > (place & truth).sum() / (place | truth).sum() + 0.02


def test_the_caller_may_choose_clusters() -> None:
    torch.manual_seed(0)
    g = build(STYLEGAN2).eval()
    a, b = (GeneratorFeatures(g, clusters=3, keep=k, num_samples=4) for k in ([0], [1, 2]))
    with torch.no_grad():
        images = g(torch.randn(2, 8))
    assert torch.equal(a.clusters(images), b.clusters(images))
    assert not (a(images) & b(images)).any()
    assert b.kept == (1, 2)


def test_the_same_seed_finds_the_same_clusters() -> None:
    g = build(STYLEGAN2).eval()
    a, b, c = (GeneratorFeatures(g, keep=[0], num_samples=4, seed=s) for s in (0, 0, 1))
    assert torch.equal(a.centres, b.centres)
    assert not torch.equal(a.centres, c.centres)
    assert torch.allclose(a.centres.norm(dim=1), torch.ones(8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": 1}, "clusters: got 1, expected >= 2"),
        ({"num_samples": 0}, "num_samples: got 0, expected >= 1"),
        ({"keep": []}, r"keep: got \[\], expected a list of some of the clusters 0 to 7"),
        ({"keep": [8]}, r"keep: got \[8\]"), ({"keep": 3}, "keep: got 3"),
        ({"keep": "3"}, "keep: got '3', expected a list"),
    ],
)
def test_wrong_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        GeneratorFeatures(build(STYLEGAN2), **options)


def test_a_generators_name_or_a_tiny_generator_will_not_do() -> None:
    with pytest.raises(ValueError, match=r"^generator: got <class 'str'>, expected a generator"):
        content_source("attention", generator="portraits")
    with pytest.raises(ValueError, match="without maps of 2 or 4 px, expected a larger one for at"):
        GeneratorFeatures(build(SNGANConfig(8, (4,) * 3, z_dim=8)).eval())
