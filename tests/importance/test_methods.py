"""Channel scores: the golden vectors, what a seed promises, and that nothing is left behind."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from cagc_lib.checkpoints import load_generator
from cagc_lib.importance import (
    METHODS,
    ChannelScores,
    gradient_scores,
    salt_and_pepper,
    score_channels,
)
from cagc_lib.importance.samples import own_draws
from cagc_lib.importance.scores import LOOKING
from cagc_lib.networks import Generator, GeneratorConfig, SNGANConfig, SNGANGenerator
from cagc_lib.pruning import plan_pruning, prune

GOLDEN = Path(__file__).parents[1] / "golden"
with np.load(GOLDEN / "rosinality.npz") as file:
    OFFICIAL = {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture(scope="module")
def g() -> Generator:
    return load_generator(GOLDEN / "rosinality.pt")


def sngan() -> SNGANGenerator:
    """A network with batch-norm statistics of its own: fresh ones are all alike."""
    network = SNGANGenerator(SNGANConfig(16, (6, 5, 4, 7, 6), z_dim=8))
    with torch.no_grad():
        for _ in range(3):
            network(2 * torch.randn(8, 8) + 1)
    return network.eval()


def bright(images: torch.Tensor) -> torch.Tensor:
    """A content source without a network: the pixels that are bright in some channel."""
    return images.amax(dim=1, keepdim=True) > 0


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 2e-5 * theirs.abs().max()


def same(a: ChannelScores, b: ChannelScores) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.scores, b.scores, strict=True))


def test_gradient_scores_agree_with_the_official_code(g: Generator) -> None:
    scores = gradient_scores(g, OFFICIAL["w"], OFFICIAL["noisy"])
    assert len(scores) == 8
    for k, score in enumerate(scores):
        assert_close(score, OFFICIAL[f"score_{k}"])


def test_the_callers_rounding_does_not_enter(g: Generator) -> None:
    w, noisy = OFFICIAL["w"], OFFICIAL["noisy"]
    exact = gradient_scores(g, w, noisy)
    shaken = gradient_scores(g, w, noisy * (1 + 1e-6 * torch.randn(noisy.shape)))
    assert all(torch.equal(a, b) for a, b in zip(exact, shaken, strict=True))
    clean = gradient_scores(g, w, OFFICIAL["img"])
    assert all(not score.any() for score in clean)


def test_l1_out_agrees_with_the_official_code(
    g: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    z = OFFICIAL["z"]
    monkeypatch.setattr(
        "cagc_lib.importance.baselines.draw_samples",
        lambda g, batch, seed, noise: (z[list(batch)], noise, []),
    )
    scores = score_channels(g, bright, method="l1-out", num_samples=4, batch_size=3)
    for k, score in enumerate(scores.scores):
        assert_close(score, OFFICIAL[f"l1out_{k}"])


def test_l1_in_is_the_norm_of_the_averaged_effective_kernels(g: Generator) -> None:
    scores = score_channels(g, bright, method="l1-in", num_samples=3).scores
    z = torch.stack([torch.randn(64, generator=own_draws(0, i)) for i in range(3)])
    conv = g.synthesis.convs[2]
    styles = conv.affine(g.mapping(z))
    kernels = conv.weight * styles[:, None, :, None, None]
    kernels = kernels / kernels.square().sum(dim=(2, 3, 4), keepdim=True).sqrt()
    assert_close(scores[3], kernels.mean(dim=0).abs().sum(dim=(1, 2, 3)).detach())


def test_activation_is_the_mean_magnitude_of_each_channel(g: Generator) -> None:
    scores = score_channels(g, bright, "activation", num_samples=3, batch_size=2, noise="const")
    z = torch.stack([torch.randn(64, generator=own_draws(0, i)) for i in range(3)])
    seen = []
    with g.synthesis.convs[4].register_forward_hook(lambda m, i, output: seen.append(output)):
        g(z)
    assert_close(scores.scores[5], seen[0].abs().mean(dim=(0, 2, 3)).detach())
    assert_close(scores.scores[0], g.synthesis.const.abs().mean(dim=(1, 2)).detach())


@pytest.mark.parametrize("kind", ["stylegan2", "sngan"])
def test_ablation_is_what_the_content_loses_by_pruning_one_channel(g: Generator, kind: str) -> None:
    g = g if kind == "stylegan2" else sngan()
    scores = score_channels(g, bright, "ablation", 3, batch_size=2, noise="const").scores
    z = torch.stack([torch.randn(g.config.z_dim, generator=own_draws(0, i)) for i in range(3)])
    image = g(z)
    mask = bright(image)
    for k, c in ((0, 1), (1, 3), (len(scores) - 1, 2)):
        marks = [torch.ones(width) for width in g.config.channels]
        marks[k][c] = 0
        ratios = [1.5 / width if i == k else 0.0 for i, width in enumerate(g.config.channels)]
        without = prune(g, plan_pruning(marks, ratios), "preserved")(z)
        lost = ((without - image).abs().mean(1, keepdim=True) * mask).sum() / mask.sum()
        assert scores[k][c] == pytest.approx(lost.item(), rel=1e-4)


def test_taylor_is_the_gradient_times_the_weight(g: Generator) -> None:
    halved = copy.deepcopy(g)
    last = halved.synthesis.torgbs[-1]
    with torch.no_grad():
        # a painter of one size for all its weights, whose sign the gradient does not know
        last.weight.copy_(last.weight.sign() / 2)
    scores = score_channels(halved, bright, "taylor", num_samples=2, batch_size=2).scores[-1]
    aware = score_channels(halved, bright, num_samples=2, batch_size=2).scores[-1]
    assert_close(scores, aware / 2)
    with torch.no_grad():
        last.weight[:, 1] = 0
    assert score_channels(halved, bright, "taylor", num_samples=2).scores[-1][1] == 0
    assert score_channels(halved, bright, num_samples=2).scores[-1][1] > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["stylegan2", "sngan"])
def test_a_seed_decides_everything(g: Generator, kind: str, method: str) -> None:
    g = g if kind == "stylegan2" else sngan()
    first = score_channels(g, bright, method, num_samples=5, batch_size=2, seed=3)
    torch.manual_seed(99)
    again = score_channels(g, bright, method, num_samples=5, batch_size=2, seed=3)
    other = score_channels(g, bright, method, num_samples=5, batch_size=2, seed=4)
    assert same(first, again)
    # an SN-GAN's weights and gains are used as they are, whatever the latents
    drawn = kind == "stylegan2" or method in (*LOOKING, "diversity", "activation", "random")
    assert same(first, other) != drawn
    assert first.channels == g.config.channels
    assert first.method == method


def test_samples_do_not_depend_on_the_batch_split(g: Generator) -> None:
    # batches of one take |gradient| sample by sample, which is what per_sample means
    ones = score_channels(g, bright, num_samples=4, batch_size=1)
    for size in (1, 3, 4):
        single = score_channels(g, bright, num_samples=4, batch_size=size, per_sample=True)
        assert same(ones, single)
    batched = score_channels(g, bright, num_samples=4, batch_size=4)
    # |sum| <= sum of | |, and here some channel's gradients do cancel
    for summed, single in zip(batched.scores, ones.scores, strict=True):
        assert (summed <= single * (1 + 1e-4)).all()
    assert not same(batched, ones)


def test_scores_are_the_sum_of_gradient_scores_over_batches(g: Generator) -> None:
    masks = []

    def content(images: torch.Tensor) -> torch.Tensor:
        assert not images.requires_grad
        masks.append(bright(images))
        return masks[-1]

    scores = score_channels(g, content, num_samples=3, batch_size=2, noise="const")
    expected = [torch.zeros(c) for c in g.config.channels]
    for indices, mask in zip(((0, 1), (2,)), masks, strict=True):
        draws = [own_draws(0, i) for i in indices]
        w = g.mapping(torch.stack([torch.randn(64, generator=draw) for draw in draws]))
        image = g.synthesis(w).detach()
        noisy = torch.cat([
            salt_and_pepper(image[i : i + 1], mask[i : i + 1], 0.05, draw)
            for i, draw in enumerate(draws)
        ])
        for total, score in zip(expected, gradient_scores(g, w, noisy), strict=True):
            total += score
    for ours, theirs in zip(scores.scores, expected, strict=True):
        assert_close(ours, theirs)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["stylegan2", "sngan"])
def test_scoring_leaves_no_trace(g: Generator, kind: str, method: str) -> None:
    network = copy.deepcopy(g if kind == "stylegan2" else sngan()).train()
    frozen, kept, *_ = (p for p in network.synthesis.parameters() if p.ndim == 4)
    frozen.requires_grad_(False)
    kept.grad = torch.ones_like(kept)
    before = {name: p.clone() for name, p in network.state_dict().items()}
    flags = [p.requires_grad for p in network.parameters()]
    random_state = torch.get_rng_state()
    with torch.inference_mode():
        score_channels(network, bright, method, num_samples=2, batch_size=2)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert network.training
    assert [p.requires_grad for p in network.parameters()] == flags
    assert (kept.grad == 1).all()
    assert sum(p.grad is not None for p in network.parameters()) == 1
    assert all(torch.equal(p, before[name]) for name, p in network.state_dict().items())
    assert not any(layer._forward_pre_hooks for layer in network.modules())


def test_salt_and_pepper_sets_whole_pixels_inside_the_mask() -> None:
    images = torch.rand(8, 3, 64, 64) - 0.5
    mask = torch.rand(8, 1, 64, 64) < 0.5
    noisy = salt_and_pepper(images, mask, 0.2, torch.Generator().manual_seed(1))
    changed = (noisy != images).any(dim=1, keepdim=True)
    assert not (changed & ~mask).any()
    values = noisy.movedim(1, -1)[changed[:, 0]]  # [pixels, 3]
    assert (values.abs() == 1).all()
    assert (values == values[:, :1]).all()
    # four standard deviations of a binomial with about 16,000 and 3,300 draws
    assert abs(changed.sum() / mask.sum() - 0.2) < 0.013
    assert abs((values[:, 0] > 0).float().mean() - 0.5) < 0.035
    assert torch.equal(salt_and_pepper(images, mask, 0.0), images)
    everywhere = salt_and_pepper(images, mask, 1.0).abs() == 1
    assert torch.equal(everywhere, mask.expand_as(images))


def test_scores_survive_a_file(g: Generator, tmp_path) -> None:
    other = {"noise_prob": 0.125, "per_sample": True, "noise": "const"}
    scores = score_channels(g, bright, num_samples=2, seed=7, **other)
    scores.save(tmp_path / "scores.safetensors")
    loaded = ChannelScores.load(tmp_path / "scores.safetensors")
    assert same(scores, loaded)
    assert {**vars(loaded), "scores": None} == {**vars(scores), "scores": None}
    assert [p.name for p in tmp_path.iterdir()] == ["scores.safetensors"]


def test_a_double_precision_network_is_scored_in_double_precision() -> None:
    config = GeneratorConfig(8, (4, 5, 6, 7), z_dim=8, w_dim=8, mapping_layers=2)
    network = Generator(config).double()
    w = network.mapping(torch.randn(2, 8, dtype=torch.float64))
    noisy = network.synthesis(w).detach()
    noisy[:, :, 2:5, 3] = 1
    assert all(score.dtype == torch.float64 for score in gradient_scores(network, w, noisy))
    assert score_channels(network, bright, num_samples=2).scores[0].dtype == torch.float32
