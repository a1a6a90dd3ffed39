"""The SN-GAN discriminator: the literature's count, unit spectral norms, exact state."""

import copy

import pytest
import torch

from cagc_lib.networks import SNGANConfig, SNGANDiscriminator, SNGANDiscriminatorConfig, kinds

SMALL = SNGANDiscriminatorConfig(16, (4, 6))


def test_the_papers_network_for_cifar_to_the_unit() -> None:
    d = SNGANDiscriminator(kinds.matching_discriminator(SNGANConfig()))
    conv = 9 * 128 * 128 + 128
    first = 9 * 3 * 128 + 128 + conv + 3 * 128 + 128
    second = 2 * conv + 128 * 128 + 128
    assert sum(p.numel() for p in d.parameters()) == first + second + 4 * conv + 128 == 1_053_824
    assert d.blocks[2].shortcut is d.blocks[3].shortcut is None


def test_every_weight_used_has_spectral_norm_one() -> None:
    d = SNGANDiscriminator(SMALL)
    for _ in range(50):
        d(torch.randn(2, 3, 16, 16))
    layers = [m for m in d.modules() if hasattr(m, "parametrizations")]
    assert len(layers) == 2 * 3 + 1
    for layer in layers:
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        assert norm.item() == pytest.approx(1, abs=1e-3)


def test_evaluation_is_a_function_of_state_and_images() -> None:
    d = SNGANDiscriminator(SMALL)
    images = torch.randn(2, 3, 16, 16)
    before = copy.deepcopy(d.state_dict())
    d.eval()
    first = d(images)
    assert first.shape == (2, 1)
    assert torch.equal(first, d(images))
    assert all(torch.equal(t, before[name]) for name, t in d.state_dict().items())
    other = SNGANDiscriminator(SMALL).eval()
    other.load_state_dict(before)
    assert torch.equal(other(images), first)
    d.train()
    d(images)
    assert not all(torch.equal(t, before[name]) for name, t in d.state_dict().items())


def test_under_autocast_the_norms_stay_in_full_precision() -> None:
    d = SNGANDiscriminator(SMALL)
    images = torch.randn(2, 3, 16, 16)
    plain = copy.deepcopy(d)
    plain(images)
    with torch.autocast("cpu", torch.bfloat16):
        logits = d(images)
    assert logits.dtype == torch.float32
    ours, theirs = d.state_dict(), plain.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"^images: got \[1, 3, 8, 8\], expected \[N, 3, 16, 16\]"):
        SNGANDiscriminator(SMALL)(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"^config: got dict, expected that of a network \(style"):
        kinds.build({})


def test_kinds() -> None:
    assert kinds.kind_of(SMALL) == kinds.kind_of(SNGANConfig()) == "sngan"
    assert kinds.matching_discriminator(SNGANConfig()) == SNGANDiscriminatorConfig()
    large = kinds.matching_discriminator(SNGANConfig(256, (4,) * 13))
    assert large.channels == (128,) * 5
