"""The layout of NVIDIA's stylegan2-ada-pytorch and of the StyleGAN2 in its stylegan3 repository.

    pickled network -> (config, our state dict, our names -> theirs)

Tensors and modules come from `pickle_reader`. Shapes give the widths; the attributes that
the pickled layers carry give the clamp and the minibatch group, and must otherwise be those of an
unconditional skip generator and a residual discriminator. Numbers are checked by golden vectors.
Chapter 13.
"""

import re
from collections.abc import Mapping
from typing import Any

from ...networks import MAPPING_LR_MULTIPLIER, DiscriminatorConfig, GeneratorConfig
from . import layouts
from .layouts import State, Table, layer, width
from .pickle_reader import PersistentObject

# the pickled layers by dotted path; None where a file holds the tensors alone
Modules = Mapping[str, PersistentObject] | None
_PLAIN: Table = {"weight": "weight", "bias": "bias"}
_CONV = _PLAIN | {"resample_filter": None}
_RGB = _PLAIN | layer("affine", "affine", _PLAIN)
_NOISY_CONV = _RGB | {
    "noise_strength": "noise_strength", "noise_const": "noise_const", "resample_filter": None,
}  # fmt: skip
_BLOCK = layer("conv0", "conv0", _CONV) | layer("conv1", "conv1", _CONV) | {
    "skip.weight": "skip.weight", "skip.resample_filter": None, "resample_filter": None,
}  # fmt: skip


def read_generator(state: State, modules: Modules, what: str) -> layouts.Translated:
    """Translate a generator; without `modules` it is taken for one of NVIDIA's, unclamped."""
    if "synthesis.b4.const" not in state:
        got = "no StyleGAN2 (no synthesis.b4.const)"
        others = "StyleGAN3 and StyleGAN-XL are not supported"
        raise ValueError(f"{what}: got {got}, expected one; {others}")
    if (classes := _common(modules, "c_dim", int("mapping.embed.weight" in state))) != 0:
        raise ValueError(f"{what}: got a conditional network (c_dim {classes!r}), expected c_dim 0")
    _require(modules, {"c_dim": 0, "img_channels": 3, "architecture": "skip", "use_noise": True})
    _require(_select(modules, r"synthesis\..*\.conv[01]"), {"activation": "lrelu"})
    mapping = {"activation": "lrelu", "bias_gain": MAPPING_LR_MULTIPLIER}
    _require(_select(modules, r"mapping\.fc\d+"), mapping)
    side, widths = 4, [layouts.start_width(state, "synthesis.b4.const")]
    widths.append(width(state, "synthesis.b4.conv1.weight", 0))
    while f"synthesis.b{side * 2}.conv0.weight" in state:
        side *= 2
        widths += [width(state, f"synthesis.b{side}.conv{i}.weight", 0) for i in (0, 1)]
    config = GeneratorConfig(
        resolution=side, channels=tuple(widths), z_dim=width(state, "mapping.fc0.weight", 1),
        w_dim=width(state, "mapping.fc0.weight", 0),
        mapping_layers=layouts.count(state, r"mapping\.fc\d+\.weight"),
        conv_clamp=_conv_clamp(modules),
    )
    table: Table = {"synthesis.b4.const": "synthesis.const", "mapping.w_avg": "w_avg"}
    for i in range(config.mapping_layers):
        table |= layer(f"mapping.fc{i}", f"mapping.fc{i}", _PLAIN)
    for k in range(config.num_convs):
        theirs = f"synthesis.b{config.conv_resolution(k)}.conv{0 if k % 2 else 1}"
        table |= layer(theirs, f"synthesis.convs.{k}", _NOISY_CONV)
    for j in range(len(widths) // 2):
        block = f"synthesis.b{4 * 2**j}"
        table |= layer(f"{block}.torgb", f"synthesis.torgbs.{j}", _RGB)
        table[f"{block}.resample_filter"] = None
    return layouts.translate(config, state, table, 1.0, what)


def read_discriminator(state: State, modules: Modules, what: str) -> layouts.Translated:
    """Translate a discriminator; without `modules` as `read_generator`."""
    _require(modules, {"c_dim": 0, "img_channels": 3, "architecture": "resnet", "num_channels": 1})
    sides = [int(m[1]) for name in state if (m := re.fullmatch(r"b(\d{1,4})\.skip\.weight", name))]
    sides.sort(reverse=True)
    if not sides:
        raise ValueError(f"{what}: tensor b8.skip.weight is missing")
    # the one kind of convolution that is never clamped
    _require(_select(modules, r"b\d+\.skip"), {"conv_clamp": None})
    widths = [width(state, f"b{sides[0]}.fromrgb.weight", 0)]
    widths += [width(state, f"b{side}.conv1.weight", 0) for side in sides]
    config = DiscriminatorConfig(
        resolution=sides[0], channels=tuple(widths),
        mbstd_group=_common(modules, "group_size", DiscriminatorConfig.mbstd_group),
        conv_clamp=_conv_clamp(_select(modules, r"(?s)(?!b\d+\.skip$).*")),
    )
    table = layer(f"b{sides[0]}.fromrgb", "fromrgb", _CONV)
    for i, side in enumerate(sides):
        table |= layer(f"b{side}", f"blocks.{i}", _BLOCK)
    table |= layer("b4.conv", "conv", _CONV)
    table |= layer("b4.fc", "fc", _PLAIN) | layer("b4.out", "out", _PLAIN)
    return layouts.translate(config, state, table, 1.0, what)


def _common(modules: Modules, key: str, unknown: Any = None) -> Any:
    """The one plain value that every pickled module with this attribute gives it."""
    if modules is None:
        return unknown
    values = [module.state[key] for module in modules.values() if key in module.state]
    if not values or any(type(v) not in (int, float, bool, str, type(None)) for v in values):
        raise ValueError(f"{key}: got no plain value, expected one for all layers")
    if any(value != values[0] for value in values):
        raise ValueError(f"{key}: got layers with different values, expected one for all")
    return values[0]


def _select(modules: Modules, pattern: str) -> Modules:
    return modules and {path: m for path, m in modules.items() if re.fullmatch(pattern, path)}


def _require(modules: Modules, expected: Mapping[str, Any]) -> None:
    for key, value in expected.items():
        got = _common(modules, key, value)
        if got != value or type(got) is not type(value):
            raise ValueError(f"{key}: got {got!r}, expected {value!r}")


def _conv_clamp(modules: Modules) -> float | None:
    clamp = _common(modules, "conv_clamp")
    if clamp is not None and type(clamp) not in (int, float):
        raise ValueError(f"conv_clamp: got {clamp!r}, expected a number or None")
    return clamp
