"""What fixes a network's shapes: the way to JSON and back, and what is refused in one line."""

import json
from dataclasses import replace

import pytest

from cagc_lib.distillation import DistillationConfig
from cagc_lib.networks import (
    Config,
    DiscriminatorConfig,
    GeneratorConfig,
    SNGANConfig,
    SNGANDiscriminatorConfig,
)

STYLEGAN2 = GeneratorConfig(16, [5, 4, 3, 7, 6, 3], z_dim=6, w_dim=8, conv_clamp=256)
DISCRIMINATOR = DiscriminatorConfig(16, (3, 5, 6), mbstd_group=2, conv_clamp=256)
SNGAN = SNGANConfig(16, (6, 5, 4, 7, 6), z_dim=8)
SNGAN_DISCRIMINATOR = SNGANDiscriminatorConfig(32, (4, 6))
DISTILLATION = DistillationConfig(l1=1.5, mask_content=False, noise="shared", init="fresh")


@pytest.mark.parametrize(
    "config", [STYLEGAN2, DISCRIMINATOR, SNGAN, SNGAN_DISCRIMINATOR, DISTILLATION]
)
def test_a_config_survives_json(config: Config) -> None:
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match=f"^{config.what}: unknown depth; expected"):
        config.from_dict(config.to_dict() | {"depth": 3})


@pytest.mark.parametrize("config", [STYLEGAN2, DISCRIMINATOR, SNGAN, SNGAN_DISCRIMINATOR])
def test_channels_are_a_tuple_and_needed(config: Config) -> None:
    assert type(config.channels) is tuple
    values = config.to_dict()
    del values["channels"]
    with pytest.raises(ValueError, match=f"^{config.what}: missing channels; expected"):
        config.from_dict(values)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (STYLEGAN2, {"resolution": 24}, "resolution: got 24, expected a power of two from 8 to"),
        (STYLEGAN2, {"resolution": 2048}, "resolution: got 2048"),
        (DISCRIMINATOR, {"resolution": 4}, "resolution: got 4"),
        (SNGAN, {"resolution": 16.0}, "resolution: got 16.0"),
        (STYLEGAN2, {"channels": (4,) * 5}, "channels: got 5 widths, expected 6 for resolution 16"),
        (DISCRIMINATOR, {"channels": (3, 5)}, "channels: got 2 widths, expected 3 for resolution"),
        (SNGAN, {"channels": (8,) * 6}, "channels: got 6 widths, expected 5 for resolution 16"),
        (SNGAN_DISCRIMINATOR, {"channels": (8,)}, "channels: got 1 widths, expected at least 2"),
        (STYLEGAN2, {"channels": (5, 4, 0, 7, 6, 3)}, r"channels\[2\]: got 0, expected an integer"),
        (STYLEGAN2, {"channels": (5, 4, 3, 7, 6, True)}, r"channels\[5\]: got True"),
        (DISCRIMINATOR, {"channels": (3, 5, 6.0)}, r"channels\[2\]: got 6.0"),
        (SNGAN_DISCRIMINATOR, {"channels": (8, 0)}, r"channels\[1\]: got 0, expected an integer"),
        (STYLEGAN2, {"z_dim": 0}, "z_dim: got 0, expected an integer >= 1"),
        (STYLEGAN2, {"w_dim": 2.0}, "w_dim: got 2.0"),
        (STYLEGAN2, {"mapping_layers": -1}, "mapping_layers: got -1"),
        (SNGAN, {"z_dim": True}, "z_dim: got True, expected an integer >= 1"),
        (DISCRIMINATOR, {"mbstd_group": 0}, "mbstd_group: got 0"),
        (STYLEGAN2, {"conv_clamp": 0}, "conv_clamp: got 0, expected None or a number > 0"),
        (DISCRIMINATOR, {"conv_clamp": -1}, "conv_clamp: got -1, expected None or a number > 0"),
        (DISTILLATION, {"l1": -1}, "l1: got -1, expected a number >= 0"),
        (DISTILLATION, {"rgb": float("nan")}, "rgb: got nan, expected a number >= 0"),
        (DISTILLATION, {"perceptual": "3"}, "perceptual: got '3', expected a number"),
        (DISTILLATION, {"adversarial": True}, "adversarial: got True, expected a number"),
        (DISTILLATION, {"mask_content": 1}, "mask_content: got 1, expected True or False"),
        (DISTILLATION, {"noise": "same"}, "noise: got 'same', expected independent or shared"),
        (DISTILLATION, {"init": "new"}, "init: got 'new', expected inherited or fresh"),
    ],
)
def test_wrong_values_are_named(config: Config, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as error:
        replace(config, **changes)
    assert "\n" not in str(error.value)
