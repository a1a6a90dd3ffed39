"""Which networks a file of others holds, and which of them is read.

    .pt: {"g_ema": state, "d": state}, {"state_dict": {"g_ema.conv1.weight": ...}}, state or module
    .pkl: {"G_ema": module, "D": module}

A state is a dict of tensors by name, a module one of NVIDIA's. Both are found by a tensor that only
such a network has, wherever it lies, and by the public code's keys. What wrapped a network,
DataParallel or torch.compile, shows in its tensors' names and is peeled off. The moving average is
read where there is one; else the only network, or the one that is asked for. Chapter 12.
"""

import re
from typing import Any, NamedTuple

from torch import Tensor

from . import layouts, nvidia, rosinality
from .pickle_machine import Budget, Global
from .pickle_reader import PersistentObject, loaded, module_tensors, submodules

_LAYOUTS = {"rosinality": rosinality, "nvidia": nvidia}
_WRAPPERS = re.compile(r"(?:(?:module|_orig_mod)\.)*")
_WRAPPED = re.compile(r"(?:(?<![^.])(?:module|_orig_mod)\.)+$")
_MAX_DEPTH = 3
_MAX_NAME = 200


class _Role(NamedTuple):
    """What tells the networks of one role: a tensor of theirs, or a key of the file -> a layout."""

    tensors: dict[str, str]
    keys: dict[str, str]


_GENERATOR = _Role(
    {
        "input.input": "rosinality", "synthesis.b4.const": "nvidia",
        # StyleGAN3's, to be named as such
        "synthesis.input.freqs": "nvidia",
    },
    {"g_ema": "rosinality", "G_ema": "nvidia"},
)
_DISCRIMINATOR = _Role(
    {"final_linear.1.weight": "rosinality", "b4.out.weight": "nvidia"},
    {"d": "rosinality", "D": "nvidia"},
)


class _Network(NamedTuple):
    """A network that was found: its layout, what holds it, and the prefix of its names there."""

    layout: str
    holder: Any
    prefix: str = ""


def _find(content: Any, role: _Role, budget: Budget, path: tuple = ()) -> dict[str, _Network]:
    """All networks of a role by their dotted places, such as "state_dict.g_ema"."""
    found: dict[str, _Network] = {}
    if type(content) is PersistentObject:
        parts = content.state.get("_modules")
        for tensor, layout in role.tensors.items():
            if type(parts) is dict and tensor.partition(".")[0] in parts:
                found[".".join(path)] = _Network(layout, content)
    if type(content) is not dict or len(path) > _MAX_DEPTH:
        return found
    # one dict out of the memo may lie in any number of others
    budget.spend("opcodes", len(content))
    for name, value in content.items():
        if type(name) is not str or len(name) > _MAX_NAME or not name.isprintable():
            continue
        for tensor, layout in role.tensors.items():
            if f".{name}".endswith(f".{tensor}"):
                prefix = _WRAPPED.sub("", name.removesuffix(tensor))
                place = ".".join([*path, prefix[:-1]] if prefix else path)
                found[place] = _Network(layout, content, prefix)
        if name in role.keys and not path and value is not None:
            found[name] = _Network(role.keys[name], value)
        found |= _find(value, role, budget, (*path, name))
    return found


def _chosen(found: dict[str, _Network], key: str | None) -> str:
    listed = ", ".join(list(found)[:8])
    if key is not None:
        if key not in found:
            raise ValueError(f"key: got {key!r}, expected one of: {listed}")
        return key
    best = [place for place in found if _is_average(place)] or list(found)
    if len(best) > 1:
        raise ValueError(f"got several networks, expected --key (key) with one of: {listed}")
    return best[0]


def _is_average(place: str) -> bool:
    return place.lower().endswith("ema")


def _kind(value: Any) -> str:
    return value.name if type(value) is Global else type(value).__name__


def _read(network: _Network, what: str) -> tuple[layouts.State, nvidia.Modules]:
    """Read a network's tensors from the file, and its layers if they are there."""
    holder, prefix = network.holder, network.prefix
    if type(holder) is PersistentObject:
        return module_tensors(holder), submodules(holder)
    if type(holder) is not dict or not holder:
        raise ValueError(f"{what}: got {_kind(holder)}, expected a dict of tensors")
    state: layouts.State = {}
    for name, value in holder.items():
        if prefix and not (type(name) is str and name.startswith(prefix)):
            continue
        try:
            tensor = loaded(value)
        except ValueError as error:
            raise ValueError(f"{what}.{name}: {error}") from None
        if type(name) is not str or type(tensor) is not Tensor:
            raise ValueError(f"{what}.{name}: got a {_kind(tensor)}, expected names and tensors")
        state[name.removeprefix(prefix)] = tensor
    wrappers = {_WRAPPERS.match(name)[0] for name in state}
    if len(wrappers) == 1:
        state = {name.removeprefix(*wrappers): tensor for name, tensor in state.items()}
    return state, None


def _mean_w(value: Any) -> Tensor:
    """The mean w, [w_dim], of a file that keeps it so or as equal rows, [num_ws, w_dim]."""
    if type(value) is not Tensor:
        raise ValueError(f"latent_avg: got a {_kind(value)}, expected a tensor")
    if value.ndim != 2:
        return value
    if not (value == value[0]).all():
        raise ValueError(f"latent_avg: got {len(value)} rows that differ, expected equal ones")
    return value[0]


def _not_read(content: Any, found: dict[str, _Network], read: list[str]) -> dict[str, Any]:
    """Name what a file holds besides what was read of it, as meta's "not_read"."""
    if type(content) is not dict or "" in read:
        return {}
    left = [
        str(key) for key, value in content.items() if value is not None
        if not any(_within(place, str(key)) or _within(str(key), place) for place in read)
    ]
    # beside a network that was read, in the same dict
    beside = [
        place for place in found if not any(_within(place, other) for other in [*left, *read])
    ]
    # a flat dict has one key a tensor
    names = dict.fromkeys(name.partition(".")[0][:40] for name in left)
    names |= dict.fromkeys(place[:40] for place in beside)
    return {"not_read": list(names)} if names else {}


def _within(place: str, other: str) -> bool:
    return f"{place}.".startswith(f"{other}.")


def read_pair(content: Any, key: str | None, generator_only: bool) -> tuple[str, layouts.Pair]:
    """Build the networks of a file's content and name their layout.

    Args:
        content: inert values, as `torch_content` and `read_nvidia_pickle` give them.
        key: the place of the generator to be read; None for the moving average, or the only one.
        generator_only: leave the discriminator out.

    Raises:
        ValueError: no generator, several without an average, none at `key`, or one that is wrong.
    """
    budget = Budget(0)
    found, critics = (_find(content, role, budget) for role in (_GENERATOR, _DISCRIMINATOR))
    if not found:
        got = f"a whole {_kind(content)}"
        if type(content) is dict:
            got = f"keys {[str(key)[:40] for key in content][:8]}"
        raise ValueError(f"got {got}, expected a StyleGAN2's tensors, as its state_dict() has them")
    place = _chosen(found, key)
    network, what, meta = found[place], place or "generator", {}
    layout = _LAYOUTS[network.layout]
    state, modules = _read(network, what)
    generator = layout.read_generator(state, modules, what)
    read = [place]
    if type(content) is dict and content.get("latent_avg") is not None:
        generator.state.setdefault("w_avg", _mean_w(loaded(content["latent_avg"])))
        read.append("latent_avg")
    if modules:
        meta["source_code_sha256"] = modules[""].source_sha256
    elif network.layout == "nvidia":
        meta["conv_clamp"] = "absent, none assumed"
    if place and not _is_average(place):
        meta["network"] = f"{place}, by its name no moving average (g_ema)"
    named = [name for name in critics if name.rpartition(".")[2] in _DISCRIMINATOR.keys]
    named = named or list(critics)

    def discriminator() -> layouts.Translated:
        if len(named) > 1:
            raise ValueError(f"got several discriminators, {', '.join(named[:8])}, expected one")
        critic, what = critics[named[0]], named[0] or "discriminator"
        return _LAYOUTS[critic.layout].read_discriminator(*_read(critic, what), what)

    wanted = bool(named) and not generator_only
    meta |= _not_read(content, found | critics, [*read, *(named[:1] if wanted else [])])
    return network.layout, layouts.build_pair(generator, discriminator if wanted else None, meta)
