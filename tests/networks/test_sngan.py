"""SN-GAN: the literature's numbers, its parts by hand, unit spectral norms, what it refuses."""

import copy

import pytest
import torch
import torch.nn.functional as F

from cagc_lib.importance import gradient_scores, salt_and_pepper, score_channels
from cagc_lib.metrics import macs, parameters
from cagc_lib.networks import (
    Discriminator,
    DiscriminatorConfig,
    SNGANConfig,
    SNGANDiscriminator,
    SNGANDiscriminatorConfig,
    SNGANGenerator,
    UpBlock,
    kinds,
)

SMALL = SNGANConfig(16, (6, 5, 4, 7, 6), z_dim=8)
SMALL_D = SNGANDiscriminatorConfig(16, (4, 6))


def small() -> SNGANGenerator:
    return SNGANGenerator(SMALL).eval()


def everything(images: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(images[:, :1], dtype=torch.bool)


def test_the_papers_network_for_cifar_to_the_unit() -> None:
    config = SNGANConfig()
    assert config.resolution == 32
    dense = 128 * 4096 + 4096
    conv, shortcut = 9 * 256 * 256 + 256, 256 * 256 + 256
    block = 2 * conv + shortcut + 2 * 2 * 256
    rgb = 2 * 256 + 9 * 256 * 3 + 3
    assert parameters(config) == dense + 3 * block + rgb == 4_276_739
    assert sum(p.numel() for p in SNGANGenerator(config).parameters()) == 4_276_739
    grids = 8**2 + 16**2 + 32**2
    convs = 128 * 4096 + 2 * 9 * 256**2 * grids + 9 * 256 * 3 * 32**2
    assert round(convs / 1e9, 2) == 1.59
    # the 1x1 shortcuts on the grid they run on, a quarter, or on their output's
    assert macs(config) == convs + 256**2 * grids // 4 == 1_615_069_184
    assert macs(config, "output-resolution") == convs + 256**2 * grids
    assert round(macs(config, "output-resolution") / 1e9, 2) == 1.68


def test_an_image_by_hand() -> None:
    g = small()
    z = torch.randn(3, 8)
    s = g.synthesis
    x = torch.einsum("nz,cijz->ncij", z, s.dense.weight) + s.dense.bias
    for block in s.blocks:
        y = F.interpolate(F.relu(block.bn1(x)), scale_factor=2, mode="nearest")
        y = block.conv2(F.relu(block.bn2(block.conv1(y))))
        # the literature enlarges first: the same numbers, four times each
        x = y + block.shortcut(F.interpolate(x, scale_factor=2, mode="nearest"))
    expected = torch.tanh(s.to_rgb(F.relu(s.bn(x))))
    with torch.no_grad():
        assert torch.allclose(g(z), expected, atol=1e-6)
        assert torch.equal(g.synthesis(z[:, None]), g(z))
        assert torch.equal(g.synthesis(z, return_rgbs=True)[0], g(z))
        assert torch.equal(g(z, truncation_psi=0.5, noise="random"), g(z / 2))


def test_initial_weights_are_glorots() -> None:
    block = UpBlock(64, 64, 64)
    for conv, fan, gain in ((block.conv1, 9, 2**0.5), (block.shortcut, 1, 1)):
        bound = gain * (6 / (2 * 64 * fan)) ** 0.5
        assert 0.98 * bound < conv.weight.abs().max() <= bound
        assert (conv.bias == 0).all()
    dense = SNGANGenerator(SNGANConfig()).synthesis.dense
    assert dense.weight.abs().max() <= (6 / (128 + 4096)) ** 0.5


def test_wrong_input_is_named() -> None:
    g = small()
    with pytest.raises(ValueError, match=r"^w: got shape \[2, 9\], expected \[N, 8\] or "):
        g(torch.zeros(2, 9))
    with pytest.raises(ValueError, match=r"^noise: got 'loud', expected one of const, "):
        g(torch.zeros(2, 8), noise="loud")
    with pytest.raises(ValueError, match=r"^noise: got 1 maps, expected none for an SN-GAN$"):
        g(torch.zeros(2, 8), noise=[torch.zeros(1, 1, 4, 4)])


def test_statistics_measured_anew_are_those_of_the_latents() -> None:
    g, z = small(), 3 * torch.randn(250, 8) + 1
    weights = [p.clone() for p in g.parameters()]
    g.update_means(z)
    assert not g.training
    seen = {}
    for name, layer in g.named_modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.register_forward_hook(lambda *event, name=name: seen.update({name: event[2]}))
    g(z)
    assert len(seen) == 5
    for y in seen.values():
        # a new batch norm has gain 1 and bias 0; three batches' statistics are averaged
        torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(y.shape[1]), atol=0.1, rtol=0)
        torch.testing.assert_close(y.var((0, 2, 3)), torch.ones(y.shape[1]), atol=0.1, rtol=0)
    assert all(torch.equal(a, b) for a, b in zip(weights, g.parameters(), strict=True))


def test_a_score_is_the_mean_over_all_weights_that_read_the_channel() -> None:
    g = small()
    z = torch.randn(2, 8)
    with torch.no_grad():
        clean = g(z)
    noisy = salt_and_pepper(clean, everything(clean), 0.2)
    image = g(z)
    replaced = (noisy != clean).any(1, keepdim=True)
    ((noisy - image).abs() * replaced).sum().backward()
    block = g.synthesis.blocks[0]
    both = torch.cat([c.weight.grad.transpose(0, 1).flatten(1) for c in
                      (block.conv1, block.shortcut)], dim=1)
    scores = gradient_scores(g, z, noisy)
    assert torch.allclose(scores[0], both.abs().mean(1), rtol=1e-4)
    hidden = block.conv2.weight.grad.abs().mean((0, 2, 3))
    assert torch.allclose(scores[1], hidden, rtol=1e-4)


def test_norms_and_gains_by_hand() -> None:
    g = small()
    block, bn = g.synthesis.blocks[1], g.synthesis.bn
    with torch.no_grad():
        for norm in (block.bn1, block.bn2, bn):
            norm.weight.normal_()
    quick = {"num_samples": 3, "batch_size": 2}
    out = score_channels(g, everything, "l1-out", **quick).scores
    expected = block.conv1.weight.abs().sum((0, 2, 3)) + block.shortcut.weight.abs().sum((0, 2, 3))
    assert torch.allclose(out[2], expected)
    into = score_channels(g, everything, "l1-in", **quick).scores
    expected = block.conv2.weight.abs().sum((1, 2, 3)) + block.shortcut.weight.abs().sum((1, 2, 3))
    assert torch.allclose(into[4], expected)
    assert torch.allclose(into[0], g.synthesis.dense.weight.abs().sum((1, 2, 3)))
    gains = score_channels(g, everything, "slimming", **quick).scores
    assert torch.allclose(gains[2], block.bn1.weight.abs())
    assert torch.allclose(gains[3], block.bn2.weight.abs())
    assert torch.allclose(gains[4], bn.weight.abs())


def test_the_papers_discriminator_to_the_unit() -> None:
    d = SNGANDiscriminator(kinds.matching_discriminator(SNGANConfig()))
    conv = 9 * 128 * 128 + 128
    first = 9 * 3 * 128 + 128 + conv + 3 * 128 + 128
    second = 2 * conv + 128 * 128 + 128
    assert sum(p.numel() for p in d.parameters()) == first + second + 4 * conv + 128 == 1_053_824
    assert d.blocks[2].shortcut is d.blocks[3].shortcut is None


def test_every_weight_used_has_spectral_norm_one() -> None:
    d = SNGANDiscriminator(SMALL_D)
    for _ in range(50):
        d(torch.randn(2, 3, 16, 16))
    layers = [m for m in d.modules() if hasattr(m, "parametrizations")]
    assert len(layers) == 2 * 3 + 1
    for layer in layers:
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        assert norm.item() == pytest.approx(1, abs=1e-3)


def test_evaluation_is_a_function_of_state_and_images() -> None:
    d = SNGANDiscriminator(SMALL_D)
    images = torch.randn(2, 3, 16, 16)
    before = copy.deepcopy(d.state_dict())
    d.eval()
    first = d(images)
    assert first.shape == (2, 1)
    assert torch.equal(first, d(images))
    assert all(torch.equal(t, before[name]) for name, t in d.state_dict().items())
    other = SNGANDiscriminator(SMALL_D).eval()
    other.load_state_dict(before)
    assert torch.equal(other(images), first)
    d.train()
    d(images)
    assert not all(torch.equal(t, before[name]) for name, t in d.state_dict().items())


def test_under_autocast_the_norms_stay_in_full_precision() -> None:
    d = SNGANDiscriminator(SMALL_D)
    images = torch.randn(2, 3, 16, 16)
    plain = copy.deepcopy(d)
    plain(images)
    with torch.autocast("cpu", torch.bfloat16):
        logits = d(images)
    assert logits.dtype == torch.float32
    ours, theirs = d.state_dict(), plain.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_no_discriminator_takes_is_named() -> None:
    for d in (SNGANDiscriminator(SMALL_D), Discriminator(DiscriminatorConfig(16, (3, 5, 6)))):
        with pytest.raises(ValueError, match=r"^images: got \[1, 3, 8, 8\], expected \[N, 3, 16, "):
            d(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"^config: got dict, expected that of a network \(style"):
        kinds.build({})


def test_kinds() -> None:
    assert kinds.kind_of(SMALL_D) == kinds.kind_of(SNGANConfig()) == "sngan"
    assert kinds.matching_discriminator(SNGANConfig()) == SNGANDiscriminatorConfig()
    large = kinds.matching_discriminator(SNGANConfig(256, (4,) * 13))
    assert large.channels == (128,) * 5
