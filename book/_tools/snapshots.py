"""Writes a network of ours as an NVIDIA snapshot, with Python's own pickler.

Chapter 13 reads such a file where there is no network, and the tests read many. The
modules that NVIDIA's pickles name exist only while pickling, as empty shells. The same
networks give the same bytes: torch names a storage by its address in memory, which is
replaced by its number.
"""

import io
import itertools
import pickle
import re
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from cagc_lib.networks import Discriminator, Generator

SOURCE = "# source text\n" * 40


def _reconstruct_persistent_obj(meta: dict) -> None:
    raise AssertionError("a reader called what the file names")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


class EasyDict(dict):
    """A shell of NVIDIA's dict with attributes."""


EasyDict.__module__ = "dnnlib.util"


class Persistent:
    """Pickles the way NVIDIA's persistent classes do."""

    def __init__(self, class_name: str, state: dict, source: str = SOURCE, **meta: Any) -> None:
        named = {"module_src": source, "class_name": class_name, "state": state}
        self.meta = {"type": "class", "version": 6} | named | meta

    def __reduce__(self) -> tuple:
        return _reconstruct_persistent_obj, (self.meta,)


def module(
    class_name: str, tensors: dict | None = None, children: dict | None = None, **attributes: Any
) -> Persistent:
    """One layer: parameters and buffers, submodules, attributes."""
    buffers = ("resample_filter", "noise_const", "w_avg")
    tensors = tensors or {}
    state = {
        "training": False,
        "_parameters": {k: torch.nn.Parameter(v) for k, v in tensors.items() if k not in buffers},
        "_buffers": {k: v for k, v in tensors.items() if k in buffers},
        "_non_persistent_buffers_set": set(),
        "_backward_hooks": OrderedDict(),
        "_modules": children or {},
    }
    return Persistent(class_name, state | attributes)


@contextmanager
def shells(
    reconstruct: Callable[[dict], Any] = _reconstruct_persistent_obj,
) -> Iterator[None]:
    """Make the names importable that a snapshot holds, for as long as it takes.

    Args:
        reconstruct: stands for NVIDIA's function that makes an object of its description.
    """
    modules = {}
    for name, attribute, content in (
        ("torch_utils.persistence", "_reconstruct_persistent_obj", reconstruct),
        ("dnnlib.util", "EasyDict", EasyDict),
    ):
        modules[name.partition(".")[0]] = ModuleType(name.partition(".")[0])
        modules[name] = ModuleType(name)
        setattr(modules[name], attribute, content)
    with patch.dict(sys.modules, modules):
        yield


class _Pickler(pickle.Pickler):
    """Numbers the storages."""

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.numbers = itertools.count()

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, torch.storage.TypedStorage):
            return NotImplemented
        load, (data,) = value.__reduce__()
        found = re.search(rb"X....([0-9]+)q", data, re.DOTALL)
        old, new = found[1], str(next(self.numbers)).encode()
        named = [b"X" + struct.pack("<I", len(key)) + key for key in (old, new)]
        # in the storage's id and in the list of keys; the numbers lie behind both
        return load, (data.replace(*named, 2),)


def dump(root: Any, protocol: int = 4) -> bytes:
    """Pickle as NVIDIA's code does."""
    file = io.BytesIO()
    with shells():
        _Pickler(file, protocol).dump(root)
    return file.getvalue()


def _filter() -> torch.Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return taps.outer(taps)


def _fc(state: dict, prefix: str, act: str = "linear", gain: float = 1) -> Persistent:
    tensors = {k: state[f"{prefix}.{k}"] for k in ("weight", "bias")}
    return module("FullyConnectedLayer", tensors, activation=act, bias_gain=gain)


def generator_module(g: Generator, **overrides: Any) -> Persistent:
    """A generator as NVIDIA's modules; `overrides` replace attributes wherever they occur."""
    config = g.config
    state = {name: tensor.detach() for name, tensor in g.state_dict().items()}
    attributes = {"c_dim": 0, "img_channels": 3, "conv_clamp": config.conv_clamp}
    attributes |= {"activation": "lrelu", "use_noise": True, "architecture": "skip"} | overrides

    def layer(kind: str, prefix: str, names: tuple[str, ...], keys: tuple[str, ...], **extra: Any):
        tensors = {k: state[f"{prefix}.{k}"] for k in names} | extra
        children = {"affine": _fc(state, f"{prefix}.affine")}
        chosen = {k: attributes[k] for k in keys} | {"act_gain": np.float64(2**0.5)}
        return module(kind, tensors, children, **chosen)

    blocks = {}
    for j in range(len(config.channels) // 2):
        children = {}
        for k in (2 * j - 1, 2 * j):
            if k < 0:
                continue
            names = ("weight", "bias", "noise_strength", "noise_const")
            children["conv0" if k % 2 else "conv1"] = layer(
                "SynthesisLayer", f"synthesis.convs.{k}", names,
                ("conv_clamp", "activation", "use_noise"), resample_filter=_filter(),
            )  # fmt: skip
        children["torgb"] = layer(
            "ToRGBLayer", f"synthesis.torgbs.{j}", ("weight", "bias"), ("conv_clamp",)
        )
        tensors = {"resample_filter": _filter()}
        if j == 0:
            tensors["const"] = state["synthesis.const"]
        blocks[f"b{4 * 2**j}"] = module(
            "SynthesisBlock", tensors, children, architecture=attributes["architecture"]
        )
    gain = overrides.get("bias_gain", 0.01)
    mapping = {
        f"fc{i}": _fc(state, f"mapping.fc{i}", "lrelu", gain) for i in range(config.mapping_layers)
    }
    top = {k: attributes[k] for k in ("c_dim", "img_channels")}
    children = {
        "synthesis": module("SynthesisNetwork", {}, blocks, img_channels=top["img_channels"]),
        "mapping": module("MappingNetwork", {"w_avg": state["w_avg"]}, mapping, c_dim=top["c_dim"]),
    }
    kwargs = EasyDict(num_layers=config.mapping_layers)
    return module("Generator", {}, children, **top, _init_kwargs={"mapping_kwargs": kwargs})


def discriminator_module(d: Discriminator) -> Persistent:
    """A discriminator as NVIDIA's modules."""
    config = d.config
    state = {name: tensor.detach() for name, tensor in d.state_dict().items()}

    def conv(prefix: str) -> Persistent:
        tensors = {
            k: state[f"{prefix}.{k}"] for k in ("weight", "bias") if f"{prefix}.{k}" in state
        }
        tensors["resample_filter"] = _filter()
        # NVIDIA's code clamps every convolution but this one
        clamp = None if prefix.endswith("skip") else config.conv_clamp
        return module("Conv2dLayer", tensors, conv_clamp=clamp)

    children = {}
    for i in range(len(config.channels) - 1):
        layers = {name: conv(f"blocks.{i}.{name}") for name in ("conv0", "conv1", "skip")}
        if i == 0:
            layers["fromrgb"] = conv("fromrgb")
        tensors = {"resample_filter": _filter()}
        children[f"b{config.resolution >> i}"] = module(
            "DiscriminatorBlock", tensors, layers, architecture="resnet"
        )
    children["b4"] = module(
        "DiscriminatorEpilogue",
        {},
        {
            "mbstd": module("MinibatchStdLayer", group_size=config.mbstd_group, num_channels=1),
            "conv": conv("conv"),
            "fc": _fc(state, "fc", "lrelu"),
            "out": _fc(state, "out"),
        },
        architecture="resnet",
    )
    return module("Discriminator", {}, children, c_dim=0, img_channels=3)


def as_stylegan3(network: Persistent) -> Persistent:
    """Add what the StyleGAN2 of NVIDIA's stylegan3 repository stores besides."""
    state = network.meta["state"]
    weight = state["_parameters"].get("weight")
    if network.meta["class_name"] == "FullyConnectedLayer":
        state |= {"in_features": weight.shape[1], "out_features": weight.shape[0]}
    elif weight is not None:
        state |= {"in_channels": weight.shape[1], "out_channels": weight.shape[0]}
    elif network.meta["class_name"] == "SynthesisBlock":
        state["fused_modconv_default"] = "inference_only"
    elif network.meta["class_name"] == "SynthesisNetwork":
        state["num_fp16_res"] = 4
    for child in state["_modules"].values():
        as_stylegan3(child)
    return network


def with_source(network: Persistent, source: str) -> Persistent:
    """Let a network and all it holds come from this source text."""
    network.meta["module_src"] = source
    for child in network.meta["state"]["_modules"].values():
        with_source(child, source)
    return network


def augment_pipe() -> Persistent:
    """The ADA pipe, a module of another source file, which the reader must pass over."""
    tensors = {"p": torch.tensor(0.6), "Hz_geom": torch.ones(12), "Hz_fbank": torch.ones(4, 13)}
    state = {"training": False, "_parameters": {}, "_buffers": tensors, "_modules": {}}
    settings = {"xflip": 1.0, "imgfilter_bands": [1, 1, 1, 1], "xint_max": 0.125}
    return Persistent("AugmentPipe", state | settings, "# another source text\n" * 9)


def snapshot(
    g: Generator,
    d: Discriminator | None = None,
    protocol: int = 4,
    augment: bool = False,
    stylegan3: bool = False,
    source: str = SOURCE,
    **overrides: Any,
) -> bytes:
    """The bytes of a whole `.pkl`: G, D, G_ema, augment_pipe, training_set_kwargs.

    Args:
        g, d: what it holds; `G`, the generator before averaging, is None.
        protocol: of the pickle.
        augment: add the pipe of ADA.
        stylegan3: add what the stylegan3 repository stores besides.
        source: stands for the Python source of the classes, one file for all.
        overrides: replace attributes of the generator's layers wherever they occur.
    """
    network = generator_module(g, **overrides)
    critic = None if d is None else discriminator_module(d)
    for part in (network, *([critic] if critic else [])):
        with_source(part, source)
        if stylegan3:
            as_stylegan3(part)
    settings = EasyDict(class_name="training.dataset.ImageFolderDataset", path="x.zip")
    root = {"training_set_kwargs": settings, "G": None, "D": critic, "G_ema": network}
    return dump(root | {"augment_pipe": augment_pipe() if augment else None}, protocol)
