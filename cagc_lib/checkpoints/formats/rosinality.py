"""The layout of rosinality/stylegan2-pytorch, the official CAGC code, DCP-GAN and StyleKD.

    their state dict -> (config, our state dict, our names -> theirs), and back

Nothing but tensors is stored: widths, resolution and mapping depth are read off the shapes. Noise
maps may be absent (older files); the resampling filters are stored and must be that of 1, 3, 3, 1.
The sources are those projects' public code; numbers are checked by golden vectors. Chapter 12.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...networks import (
    KINDS,
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    check_pair,
    kind_of,
)
from .layouts import (
    State,
    assemble,
    check_filters,
    check_names,
    complete,
    count,
    filter_4x4,
    not_read,
    put,
    rename,
    width,
)
from .torch_files import torch_load

_AFFINE = {"affine.weight": "conv.modulation.weight", "affine.bias": "conv.modulation.bias"}
_PLAIN = {"weight": "weight", "bias": "bias"}
_MAX_BLOCKS = 64
_PARTS = ("style", "input", "conv1", "to_rgb1", "convs", "to_rgbs", "noises")
_TENSORS = (
    "weight", "bias", "upsample.kernel", "conv.weight", "conv.blur.kernel",
    "conv.modulation.weight", "conv.modulation.bias", "noise.weight", "activate.bias",
)  # fmt: skip


def generator_config(state: State) -> GeneratorConfig:
    """Read widths, resolution and mapping depth off a rosinality generator's tensors.

    Raises:
        ValueError: the tensors this needs are absent or disagree; names one.
    """
    convs = count(state, r"convs\.\d+\.conv\.weight")
    if convs % 2 or not convs:
        raise ValueError(f"convs.*.conv.weight: got {convs} tensors, expected two per resolution")
    widths = [width(state, "input.input", 1), width(state, "conv1.conv.weight", 1)]
    widths += [width(state, f"convs.{i}.conv.weight", 1) for i in range(convs)]
    return GeneratorConfig(
        resolution=4 * 2 ** (convs // 2), channels=tuple(widths),
        z_dim=width(state, "style.1.weight", 1), w_dim=width(state, "style.1.weight", 0),
        mapping_layers=count(state, r"style\.\d+\.weight"),
    )


def generator_table(config: GeneratorConfig) -> dict[str, str]:
    """rosinality's tensor names, stored noise included -> ours, `w_avg` aside."""
    table = {"input.input": "synthesis.const"}
    for i in range(config.mapping_layers):
        put(table, f"mapping.fc{i}", f"style.{i + 1}", _PLAIN)
    for k in range(config.num_convs):
        conv = {"weight": "conv.weight", "bias": "activate.bias", "noise_strength": "noise.weight"}
        theirs = f"convs.{k - 1}" if k else "conv1"
        put(table, f"synthesis.convs.{k}", theirs, conv | _AFFINE)
        table[f"noises.noise_{k}"] = f"synthesis.convs.{k}.noise_const"
    for j in range(len(config.channels) // 2):
        theirs = f"to_rgbs.{j - 1}" if j else "to_rgb1"
        rgb = {"weight": "conv.weight", "bias": "bias"}
        put(table, f"synthesis.torgbs.{j}", theirs, rgb | _AFFINE)
    return table


def generator_filters(config: GeneratorConfig) -> list[str]:
    """The constant 4x4 filters, each summing to 4, that rosinality's generator stores."""
    blurs = [f"convs.{i}.conv.blur.kernel" for i in range(0, config.num_convs - 1, 2)]
    return blurs + [f"to_rgbs.{j}.upsample.kernel" for j in range(len(config.channels) // 2 - 1)]


def read_generator(state: State) -> tuple[GeneratorConfig, State, dict[str, str]]:
    """Translate a rosinality generator; `w_avg`, and noise maps it lacks, stay absent.

    Raises:
        ValueError: a tensor too many, too few or of another shape; names it.
    """
    config = generator_config(state)
    table = generator_table(config)
    if not any(name.startswith("noises.") for name in state):
        table = {a: b for a, b in table.items() if not a.startswith("noises.")}
    filters = generator_filters(config)
    check_names(state, [*table, *filters], "generator")
    check_filters(state, filters, 4.0)
    return config, rename(state, table), {b: a for a, b in table.items()}


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
        raise ValueError(
            f"a .pt file has no place for conv_clamp, got {config.conv_clamp}; write .safetensors, "
            "or drop it with convert --drop-clamp"
        )
    if config.z_dim != config.w_dim:
        raise ValueError(f"z_dim: got {config.z_dim}, expected w_dim {config.w_dim} for a .pt file")


def write_generator(generator: Generator) -> State:
    """Write a generator in rosinality's names, shapes and order; `w_avg` has no place in it.

    Raises:
        ValueError: the layout cannot express the network: see `check_config`.
    """
    config = generator.config
    check_config(config)
    ours = generator.state_dict()
    state = {}
    for theirs, name in generator_table(config).items():
        value = ours[name].detach().cpu().float()
        if theirs.endswith("conv.weight") or theirs == "input.input":
            value = value[None]
        elif theirs.startswith("noises."):
            value = value[None, None]
        elif theirs.endswith("noise.weight"):
            value = value.reshape(1)
        elif theirs.startswith("to_rgb") and theirs.count(".bias") and "conv" not in theirs:
            value = value.reshape(1, 3, 1, 1)
        state[theirs] = value.contiguous()
    state |= {name: filter_4x4(4.0) for name in generator_filters(config)}
    return {name: state[name] for name in sorted(state, key=_place)}


def _place(name: str) -> tuple[int, int, int]:
    """Where a tensor stands in the public code's generator.

    The official pruning pairs tensors by the order in which the file holds them.
    """
    part, _, rest = name.partition(".")
    number = re.search(r"\d+", rest)
    # the constant and the noise maps are alone in their places
    tensor = re.sub(r"^\d+\.", "", rest)
    rank = _TENSORS.index(tensor) if tensor in _TENSORS else 0
    return _PARTS.index(part), int(number[0]) if number else 0, rank


def _discriminator_names(config: DiscriminatorConfig) -> tuple[dict[str, str], list]:
    table: dict[str, str] = {}
    put(table, "fromrgb", "convs.0", {"weight": "0.weight", "bias": "1.bias"})
    filters = []
    block = {
        "conv0.weight": "conv1.0.weight", "conv0.bias": "conv1.1.bias",
        "conv1.weight": "conv2.1.weight", "conv1.bias": "conv2.2.bias",
        "skip.weight": "skip.1.weight",
    }  # fmt: skip
    for i in range(len(config.channels) - 1):
        put(table, f"blocks.{i}", f"convs.{i + 1}", block)
        filters += [f"convs.{i + 1}.conv2.0.kernel", f"convs.{i + 1}.skip.0.kernel"]
    put(table, "conv", "final_conv", {"weight": "0.weight", "bias": "1.bias"})
    put(table, "fc", "final_linear.0", _PLAIN)
    put(table, "out", "final_linear.1", _PLAIN)
    return table, filters


def read_discriminator(state: State) -> tuple[DiscriminatorConfig, State, dict[str, str]]:
    """Translate a rosinality discriminator.

    Raises:
        ValueError: a tensor too many, too few or of another shape; names it.
    """
    blocks = count(state, r"convs\.\d+\.conv2\.1\.weight")
    widths = [width(state, "convs.0.0.weight", 0)]
    widths += [width(state, f"convs.{i + 1}.conv2.1.weight", 0) for i in range(blocks)]
    config = DiscriminatorConfig(resolution=4 * 2**blocks, channels=tuple(widths))
    table, filters = _discriminator_names(config)
    check_names(state, [*table, *filters], "discriminator")
    check_filters(state, filters, 1.0)
    return config, rename(state, table), {b: a for a, b in table.items()}


def write_discriminator(discriminator: Discriminator) -> State:
    """Write a discriminator in rosinality's names and order; shapes are the same.

    Raises:
        ValueError: the layout cannot express it: clamped, or another minibatch group.
    """
    config = discriminator.config
    if config.conv_clamp is not None or config.mbstd_group != 4:
        raise ValueError(
            f"discriminator: got conv_clamp {config.conv_clamp} and mbstd_group "
            f"{config.mbstd_group}, expected None and 4 for a .pt file; leave it out with convert "
            "--generator-only"
        )
    table, filters = _discriminator_names(config)
    ours = discriminator.state_dict()
    state = {a: ours[b].detach().cpu().float().contiguous() for a, b in table.items()}
    state |= {name: filter_4x4(1.0) for name in filters}
    # within a block, the public code's order is that of the alphabet
    return {name: state[name] for name in sorted(state, key=_block)}


def _block(name: str) -> tuple[int, str]:
    part, _, rest = name.partition(".")
    index, _, tensor = rest.partition(".")
    return (int(index), tensor) if part == "convs" else (_MAX_BLOCKS, "")


def read_rosinality(path: Path) -> tuple[Generator, Discriminator | None, dict[str, Any]]:
    """Read a .pt of rosinality or CAGC: generator, discriminator if any, meta of `Checkpoint`."""
    content = torch_load(path)
    if isinstance(content, Mapping) and all(isinstance(v, Tensor) for v in content.values()):
        content = {"g_ema": content}  # a generator's state dict by itself
    if not isinstance(content, Mapping) or "g_ema" not in content:
        keys = [k for k in content if isinstance(k, str)] if isinstance(content, Mapping) else []
        raise ValueError(f"got a torch file with keys {keys[:8]}, expected a dict with g_ema")
    limit = path.stat().st_size
    state = _foreign_state(content["g_ema"], "g_ema", limit)
    config, ours, theirs = read_generator(state)
    if "latent_avg" in content:
        average = {"latent_avg": content["latent_avg"]}
        ours["w_avg"] = _foreign_state(average, "checkpoint", limit)["latent_avg"]
    generator, meta = complete(config, ours, theirs)
    meta |= not_read(content, ("g_ema", "d", "latent_avg"))
    if content.get("d") is None:
        return generator, None, meta
    d_state = _foreign_state(content["d"], "d", limit)
    d_config, d_ours, theirs = read_discriminator(d_state)
    check_pair(d_config, config, "discriminator", "resolution")
    return generator, assemble(d_config, d_ours, "discriminator", theirs), meta


def _foreign_state(value: Any, what: str, limit: int) -> State:
    """Check that a value is a state dict no bigger than its file; strip DataParallel's prefix."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"{what}: got {type(value).__name__}, expected a dict of tensors")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ValueError(f"{what}: got a {type(tensor).__name__}, expected names and tensors")
        if tensor.layout is not torch.strided or tensor.device.type != "cpu":
            raise ValueError(f"{what}.{name}: got a sparse or meta tensor, expected stored numbers")
        if not tensor.is_floating_point():
            raise ValueError(f"{what}.{name}: got {tensor.dtype}, expected floating point")
    # a view can repeat one stored number any number of times
    if sum(t.numel() * t.element_size() for t in value.values()) > limit:
        raise ValueError(f"{what}: got tensors larger than the file, expected stored numbers")
    prefixed = all(name.startswith("module.") for name in value)
    return {name.removeprefix("module.") if prefixed else name: t for name, t in value.items()}
