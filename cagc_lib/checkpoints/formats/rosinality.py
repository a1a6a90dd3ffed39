"""The layout of rosinality/stylegan2-pytorch, the public CAGC code, DCP-GAN and StyleKD.

    their state dict -> (config, our state dict, our names -> theirs), and back

Nothing but tensors is stored: widths, resolution and mapping depth are read off the shapes. Noise
maps may be absent (older files); the resampling filters are stored and must be that of 1, 3, 3, 1.
The tables name tensors in the order of the public code's files, since its pruning pairs
them by it. The sources are those projects' public code; numbers are checked by golden vectors.
Chapter 13.
"""

import re
from typing import Any

from torch import nn

from ...networks import KINDS, DiscriminatorConfig, GeneratorConfig, kind_of
from . import layouts
from .layouts import State, Table, layer, width

_PLAIN: Table = {"weight": "weight", "bias": "bias"}
_WEIGHT: Table = {"conv.weight": "weight"}
_AFFINE = layer("conv.modulation", "affine", _PLAIN)
_AFTER: Table = {"noise.weight": "noise_strength", "activate.bias": "bias"}
_CONV = _WEIGHT | _AFFINE | _AFTER
_UP_CONV = _WEIGHT | {"conv.blur.kernel": None} | _AFFINE | _AFTER
_RGB = {"bias": "bias"} | _WEIGHT | _AFFINE
_UP_RGB = {"bias": "bias", "upsample.kernel": None} | _WEIGHT | _AFFINE
_BLOCK: Table = {
    "conv1.0.weight": "conv0.weight", "conv1.1.bias": "conv0.bias",
    "conv2.0.kernel": None, "conv2.1.weight": "conv1.weight", "conv2.2.bias": "conv1.bias",
    "skip.0.kernel": None, "skip.1.weight": "skip.weight",
}  # fmt: skip


def _generator_table(config: GeneratorConfig) -> Table:
    """The names of a generator's tensors -> ours; `w_avg` is not among them."""
    table: Table = {}
    for i in range(config.mapping_layers):
        table |= layer(f"style.{i + 1}", f"mapping.fc{i}", _PLAIN)
    table["input.input"] = "synthesis.const"
    table |= layer("conv1", "synthesis.convs.0", _CONV)
    table |= layer("to_rgb1", "synthesis.torgbs.0", _RGB)
    for k in range(1, config.num_convs):
        names = _UP_CONV if k % 2 else _CONV
        table |= layer(f"convs.{k - 1}", f"synthesis.convs.{k}", names)
    for j in range(1, len(config.channels) // 2):
        table |= layer(f"to_rgbs.{j - 1}", f"synthesis.torgbs.{j}", _UP_RGB)
    for k in range(config.num_convs):
        table[f"noises.noise_{k}"] = f"synthesis.convs.{k}.noise_const"
    return table


def _discriminator_table(config: DiscriminatorConfig) -> Table:
    table: Table = {"convs.0.0.weight": "fromrgb.weight", "convs.0.1.bias": "fromrgb.bias"}
    for i in range(len(config.channels) - 1):
        table |= layer(f"convs.{i + 1}", f"blocks.{i}", _BLOCK)
    table |= {"final_conv.0.weight": "conv.weight", "final_conv.1.bias": "conv.bias"}
    return table | layer("final_linear.0", "fc", _PLAIN) | layer("final_linear.1", "out", _PLAIN)


def read_generator(state: State, modules: object, what: str) -> layouts.Translated:
    """Translate a generator; `w_avg`, and noise maps if it lacks them all, stay absent.

    `modules` is what NVIDIA's layout has besides tensors, and None here.
    """
    convs = layouts.count(state, r"convs\.\d+\.conv\.weight")
    if convs % 2 or not convs:
        raise ValueError(f"convs.*.conv.weight: got {convs} tensors, expected two per resolution")
    widths = [layouts.start_width(state, "input.input"), width(state, "conv1.conv.weight", 1)]
    widths += [width(state, f"convs.{i}.conv.weight", 1) for i in range(convs)]
    config = GeneratorConfig(
        resolution=4 * 2 ** (convs // 2), channels=tuple(widths),
        z_dim=width(state, "style.1.weight", 1), w_dim=width(state, "style.1.weight", 0),
        mapping_layers=layouts.count(state, r"style\.\d+\.weight"),
    )
    table = _generator_table(config)
    if not any(name.startswith("noises.") for name in state):
        table = {a: b for a, b in table.items() if not a.startswith("noises.")}
    return layouts.translate(config, state, table, 4.0, what)


def read_discriminator(state: State, modules: object, what: str) -> layouts.Translated:
    """Translate a discriminator, as `read_generator`."""
    blocks = layouts.count(state, r"convs\.\d+\.conv2\.1\.weight")
    widths = [width(state, "convs.0.0.weight", 0)]
    widths += [width(state, f"convs.{i + 1}.conv2.1.weight", 0) for i in range(blocks)]
    config = DiscriminatorConfig(resolution=4 * 2**blocks, channels=tuple(widths))
    return layouts.translate(config, state, _discriminator_table(config), 1.0, what)


def check_config(config: Any) -> None:
    """Raise a ValueError unless the layout can express a generator of this config.

    It cannot if that is no StyleGAN2, is clamped, or has a z and a w of two sizes.
    """
    if not isinstance(config, GeneratorConfig):
        raise ValueError(
            f"generator: got {KINDS[kind_of(config)].title}, expected StyleGAN2, whose layout a "
            ".pt file has; .safetensors holds any"
        )
    if config.conv_clamp is not None:
        got = f"a .pt file has no place for conv_clamp, got {config.conv_clamp}"
        raise ValueError(f"{got}; write .safetensors, or drop it with convert --drop-clamp")
    if config.z_dim != config.w_dim:
        raise ValueError(f"z_dim: got {config.z_dim}, expected w_dim {config.w_dim} for a .pt file")


def pack(generator: nn.Module, discriminator: nn.Module | None) -> dict[str, Any]:
    """The content of a .pt file; a ValueError for a discriminator that it cannot express.

    The generator's config has passed `check_config`.
    """
    weights = _write(generator, _generator_table(generator.config), 4.0)
    # as the public pruning writes it, g and g_ema are the same tensors, stored once
    content: dict[str, Any] = {"g": weights, "g_ema": weights}
    if discriminator is not None:
        config = discriminator.config
        if config.conv_clamp is not None or config.mbstd_group != 4:
            raise ValueError(
                f"discriminator: got conv_clamp {config.conv_clamp} and mbstd_group "
                f"{config.mbstd_group}, expected None and 4 for a .pt file; leave it out with "
                "convert --generator-only"
            )
        content["d"] = _write(discriminator, _discriminator_table(config), 1.0)
    return content | {"latent_avg": generator.w_avg.detach().cpu().clone()}


def _write(network: nn.Module, table: Table, gain: float) -> State:
    """Write a network in the layout's names, shapes and order; each filter sums to `gain`."""
    ours = network.state_dict()
    state = {}
    for theirs, name in table.items():
        value = ours[name].detach().cpu().float() if name else layouts.filter_4x4(gain)
        if theirs.endswith(("conv.weight", "noise.weight", "input.input")):
            value = value[None]
        elif theirs.startswith("noises."):
            value = value[None, None]
        elif re.fullmatch(r"to_rgb(1|s\.\d+)\.bias", theirs):
            value = value.reshape(1, 3, 1, 1)
        state[theirs] = value.contiguous()
    return state
