"""The layout of NVIDIA's stylegan2-ada-pytorch and of the StyleGAN2 in its stylegan3 repository.

    (tensors, modules) -> (config, our state dict, our names -> theirs)

Tensors and modules come from `pickle_reader`. Shapes give the widths; the attributes that
the pickled layers carry give the clamp and the minibatch group, and must otherwise be those of an
unconditional skip generator and a residual discriminator. Numbers are checked by golden vectors.
Chapter 12.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...networks import (
    MAPPING_LR_MULTIPLIER,
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    check_pair,
)
from .layouts import (
    State,
    assemble,
    check_filters,
    check_names,
    complete,
    count,
    not_read,
    put,
    rename,
    width,
)
from .pickle_reader import PersistentObject, module_tensors, read_nvidia_pickle, submodules

Modules = Mapping[str, Mapping[str, Any]]
_PLAIN = {"weight": "weight", "bias": "bias"}
_LAYER = {name: name for name in ("weight", "bias", "affine.weight", "affine.bias")}
_NOISE = {"noise_strength": "noise_strength", "noise_const": "noise_const"}


def read_generator(state: State, modules: Modules) -> tuple[GeneratorConfig, State, dict[str, str]]:
    """Translate an NVIDIA generator.

    Args:
        state: its tensors by dotted name.
        modules: the attributes of each of its layers by dotted path.

    Raises:
        ValueError: a tensor too many, too few or of another shape, or a network of another kind.
    """
    if "synthesis.b4.const" not in state:
        raise ValueError(
            "G_ema: got no StyleGAN2 (no synthesis.b4.const), expected one; StyleGAN3 is not "
            "supported"
        )
    if (classes := _common(modules, "c_dim")) != 0:
        raise ValueError(f"G_ema: got a conditional network (c_dim {classes!r}), expected c_dim 0")
    _require(modules, {"c_dim": 0, "img_channels": 3, "architecture": "skip", "use_noise": True})
    _require(_select(modules, r"synthesis\..*\.conv[01]"), {"activation": "lrelu"})
    mapping = {"activation": "lrelu", "bias_gain": MAPPING_LR_MULTIPLIER}
    _require(_select(modules, r"mapping\.fc\d+"), mapping)
    side, widths = 4, [width(state, "synthesis.b4.const", 0)]
    widths.append(width(state, "synthesis.b4.conv1.weight", 0))
    while f"synthesis.b{side * 2}.conv0.weight" in state:
        side *= 2
        widths += [width(state, f"synthesis.b{side}.conv{i}.weight", 0) for i in (0, 1)]
    config = GeneratorConfig(
        resolution=side, channels=tuple(widths), z_dim=width(state, "mapping.fc0.weight", 1),
        w_dim=width(state, "mapping.fc0.weight", 0),
        mapping_layers=count(state, r"mapping\.fc\d+\.weight"), conv_clamp=_conv_clamp(modules),
    )
    table = {"synthesis.b4.const": "synthesis.const", "mapping.w_avg": "w_avg"}
    filters = []
    for i in range(config.mapping_layers):
        put(table, f"mapping.fc{i}", f"mapping.fc{i}", _PLAIN)
    for k in range(config.num_convs):
        theirs = f"synthesis.b{config.conv_resolution(k)}.conv{0 if k % 2 else 1}"
        put(table, f"synthesis.convs.{k}", theirs, _LAYER | _NOISE)
        filters.append(f"{theirs}.resample_filter")
    for j in range(len(widths) // 2):
        put(table, f"synthesis.torgbs.{j}", f"synthesis.b{4 * 2**j}.torgb", _LAYER)
        filters.append(f"synthesis.b{4 * 2**j}.resample_filter")
    check_names(state, [*table, *filters], "G_ema")
    check_filters(state, filters, 1.0)
    return config, rename(state, table), {b: a for a, b in table.items()}


def read_discriminator(
    state: State, modules: Modules
) -> tuple[DiscriminatorConfig, State, dict[str, str]]:
    """Translate an NVIDIA discriminator: arguments and errors as for the generator."""
    _require(modules, {"c_dim": 0, "img_channels": 3, "architecture": "resnet", "num_channels": 1})
    sides = [int(m[1]) for name in state if (m := re.fullmatch(r"b(\d{1,4})\.skip\.weight", name))]
    sides.sort(reverse=True)
    if not sides:
        raise ValueError("D: tensor b8.skip.weight is missing")
    # the one kind of convolution that is never clamped
    shortcuts = _select(modules, r"b\d+\.skip")
    _require(shortcuts, {"conv_clamp": None})
    widths = [width(state, f"b{sides[0]}.fromrgb.weight", 0)]
    widths += [width(state, f"b{side}.conv1.weight", 0) for side in sides]
    config = DiscriminatorConfig(
        resolution=sides[0], channels=tuple(widths), mbstd_group=_common(modules, "group_size"),
        conv_clamp=_conv_clamp({path: m for path, m in modules.items() if path not in shortcuts}),
    )
    table: dict[str, str] = {}
    put(table, "fromrgb", f"b{sides[0]}.fromrgb", _PLAIN)
    filters = [f"b{sides[0]}.fromrgb.resample_filter", "b4.conv.resample_filter"]
    for i, side in enumerate(sides):
        layers = ("", "conv0.", "conv1.", "skip.")
        filters += [f"b{side}.{layer}resample_filter" for layer in layers]
        for layer in ("conv0", "conv1"):
            put(table, f"blocks.{i}.{layer}", f"b{side}.{layer}", _PLAIN)
        table[f"b{side}.skip.weight"] = f"blocks.{i}.skip.weight"
    for layer in ("conv", "fc", "out"):
        put(table, layer, f"b4.{layer}", _PLAIN)
    check_names(state, [*table, *filters], "D")
    check_filters(state, filters, 1.0)
    return config, rename(state, table), {b: a for a, b in table.items()}


def _common(modules: Modules, key: str) -> Any:
    """The one plain value that every pickled module with this attribute gives it."""
    values = [m[key] for m in modules.values() if key in m]
    if not values or any(type(v) not in (int, float, bool, str, type(None)) for v in values):
        raise ValueError(f"{key}: got no plain value, expected one for all layers")
    if any(value != values[0] for value in values):
        raise ValueError(f"{key}: got layers with different values, expected one for all")
    return values[0]


def _select(modules: Modules, pattern: str) -> Modules:
    return {path: m for path, m in modules.items() if re.fullmatch(pattern, path)}


def _require(modules: Modules, expected: Mapping[str, Any]) -> None:
    for key, value in expected.items():
        got = _common(modules, key)
        if got != value or type(got) is not type(value):
            raise ValueError(f"{key}: got {got!r}, expected {value!r}")


def _conv_clamp(modules: Modules) -> float | None:
    clamp = _common(modules, "conv_clamp")
    if clamp is not None and type(clamp) not in (int, float):
        raise ValueError(f"conv_clamp: got {clamp!r}, expected a number or None")
    return clamp


def read_nvidia(path: Path) -> tuple[Generator, Discriminator | None, dict[str, Any]]:
    """Read a .pkl of NVIDIA's: generator, discriminator if any, meta of `Checkpoint`."""
    root = read_nvidia_pickle(path)
    source = root.get("G_ema")
    if type(source) is not PersistentObject:
        raise ValueError(f"got a pickle with {list(root)[:8]}, expected a network G_ema")
    config, ours, theirs = read_generator(module_tensors(source), _attributes(source))
    generator, meta = complete(config, ours, theirs)
    meta["source_code_sha256"] = source.source_sha256
    meta |= not_read(root, ("G_ema", "D"))
    if root.get("D") is None:
        return generator, None, meta
    d_config, d_ours, theirs = read_discriminator(module_tensors(root["D"]), _attributes(root["D"]))
    check_pair(d_config, config, "discriminator", "resolution")
    return generator, assemble(d_config, d_ours, "discriminator", theirs), meta


def _attributes(module: PersistentObject) -> dict[str, dict[str, Any]]:
    return {path: part.state for path, part in submodules(module).items()}
