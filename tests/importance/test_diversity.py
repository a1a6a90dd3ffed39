"""Diversity scores: the variance over directions by hand, and what a channel must do for one."""

import copy

import numpy as np
import pytest
import torch

from cagc_lib.importance import principal_directions, score_channels
from cagc_lib.importance.diversity import content_diversity, diversity
from cagc_lib.importance.samples import own_draws
from cagc_lib.networks import Generator, GeneratorConfig, SNGANConfig, SNGANGenerator

CONFIG = GeneratorConfig(8, (4, 5, 6, 7), z_dim=8, w_dim=8, mapping_layers=2)


def network(kind: str = "stylegan2") -> Generator | SNGANGenerator:
    torch.manual_seed(0)
    if kind == "stylegan2":
        return Generator(CONFIG).double()
    g = SNGANGenerator(SNGANConfig(8, (4, 5, 6), z_dim=8)).double()
    with torch.no_grad():
        # batch norms with statistics of their own: fresh ones are all alike
        g(2 * torch.randn(16, 8, dtype=torch.float64) + 1)
    return g.eval()


def bright(images: torch.Tensor) -> torch.Tensor:
    return images.amax(dim=1, keepdim=True) > 0


@pytest.mark.parametrize("kind", ["stylegan2", "sngan"])
def test_scores_are_the_variance_over_directions_by_hand(kind: str) -> None:
    g = network(kind)
    directions, shares = principal_directions(g)
    expected = [torch.zeros(c, dtype=torch.float64) for c in g.config.channels]
    for i in range(3):
        draw = own_draws(7, i)
        w = g.mapping(torch.randn(1, 8, generator=draw).double())
        maps = [torch.randn(1, 1, s, s, generator=draw).double() for s in g.config.noise_sides]
        chosen = torch.multinomial(shares, 10, replacement=True, generator=draw)
        answers = [[] for _ in expected]
        for direction in directions[chosen]:
            g.zero_grad()
            moved = g.synthesis((w + 5 * direction).detach(), maps)
            (moved - g.synthesis(w.detach(), maps)).abs().sum().backward()
            for own, names in zip(answers, g.readers, strict=True):
                weights = [g.synthesis.get_parameter(name) for name in names]
                # one row a channel: all weights that read it, of one tensor or two
                rows = torch.cat([p.grad.transpose(0, 1).flatten(1) for p in weights], dim=1)
                own.append(rows.abs().mean(dim=1))
        for total, own in zip(expected, answers, strict=True):
            mean = sum(own) / 10
            total += sum((answer - mean) ** 2 for answer in own) / 10
    g.zero_grad()
    scores = diversity(g, [range(2), range(2, 3)], 7, "random")
    for ours, theirs in zip(scores, expected, strict=True):
        assert ours == pytest.approx(theirs.numpy(), rel=1e-9)
        assert (ours > 0).all()


def test_a_channel_that_no_direction_moves_scores_nothing() -> None:
    g = network()
    last = g.synthesis.torgbs[-1]
    with torch.no_grad():
        # the last width's channel 2 is its bias, whatever the latent, and is read as it is
        g.synthesis.convs[-1].weight[2] = 0
        g.synthesis.convs[-1].bias[2] = 3
        last.affine.weight[2] = 0
    diverse = score_channels(g, bright, "diversity", 4, noise="const").scores[-1]
    aware = score_channels(g, bright, "content-aware", 4, noise="const").scores[-1]
    assert diverse[2] < 1e-12 * diverse.max()
    # its weight moves the content all the same
    assert aware[2] > 0.1 * aware.max()
    with torch.no_grad():
        for layer in [*g.synthesis.convs, *g.synthesis.torgbs]:
            layer.affine.weight.zero_()
    # where no latent moves the image, no channel has a score, nor has the product
    for method in ("diversity", "content-diversity"):
        assert not any(s.any() for s in score_channels(g, bright, method, 2).scores)


def test_the_batch_split_changes_nothing() -> None:
    g = network().float()
    whole = score_channels(g, bright, "diversity", num_samples=4, batch_size=4)
    for size in (1, 3):
        split = score_channels(g, bright, "diversity", num_samples=4, batch_size=size)
        assert all(torch.equal(a, b) for a, b in zip(whole.scores, split.scores, strict=True))
    # a longer score begins with the samples of a shorter one
    more = score_channels(g, bright, "diversity", num_samples=5).scores
    assert all((a <= b).all() for a, b in zip(whole.scores, more, strict=True))


def test_content_diversity_is_the_product() -> None:
    g = network()
    settings = {"num_samples": 5, "batch_size": 2, "seed": 3}
    both = score_channels(g, bright, "content-diversity", **settings).scores
    aware = score_channels(g, bright, "content-aware", **settings).scores
    diverse = score_channels(g, bright, "diversity", **settings).scores
    for score, a, d in zip(both, aware, diverse, strict=True):
        spread = d.double().sqrt()
        assert torch.equal(score.argsort(), (a.double() * spread).argsort())
        expected = a / a.mean() * spread / spread.mean()
        assert score == pytest.approx(expected.numpy(), rel=1e-5)
    # its content-aware half knows batches, and can do without them
    ones = score_channels(g, bright, "content-diversity", per_sample=True, **settings).scores
    again = score_channels(g, bright, "content-diversity", 5, 1, seed=3).scores
    assert all(torch.equal(a, b) for a, b in zip(ones, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(ones, both, strict=True))


def test_a_product_forgets_each_widths_scale() -> None:
    a, b = [torch.rand(5), torch.rand(3)], [torch.rand(5), torch.rand(3)]
    scaled = content_diversity([a[0] * 8, a[1] / 4], [b[0] / 4, b[1] * 16])
    assert all(torch.equal(x, y) for x, y in zip(scaled, content_diversity(a, b), strict=True))
    for given in ([torch.zeros(3), torch.rand(3)], [torch.rand(3), torch.zeros(3)]):
        assert torch.equal(content_diversity(*([x] for x in given))[0], torch.zeros(3))


@pytest.mark.parametrize("kind", ["stylegan2", "sngan"])
def test_principal_directions_are_those_of_w(kind: str) -> None:
    g = network(kind).float()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    directions, shares = principal_directions(g)
    again = principal_directions(g)
    assert torch.equal(directions, again[0]) and torch.equal(shares, again[1])
    assert torch.equal(torch.get_rng_state(), before)
    z = torch.randn(10_000, 8, generator=torch.Generator().manual_seed(0))
    w = g.mapping(z).detach().double().numpy()
    _, singular, rows = np.linalg.svd(w - w.mean(0), full_matrices=False)
    assert shares == pytest.approx(singular**2 / (singular**2).sum(), abs=1e-12)
    assert np.abs((directions.numpy() * rows).sum(1)) == pytest.approx(np.ones(8), abs=1e-9)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    assert (largest > 0).all()
    # latents of an SN-GAN are as they are drawn: no direction stands out
    assert (shares.max() < 1.1 / 8) == (kind == "sngan")


def test_directions_need_latents_that_differ() -> None:
    g = network()
    for value in (0.0, float("nan")):
        broken = copy.deepcopy(g)
        with torch.no_grad():
            broken.mapping.fc1.weight.fill_(value)
        with pytest.raises(ValueError, match=f"^variance of w: got {value}, expected a number"):
            score_channels(broken, bright, "diversity", num_samples=2)
