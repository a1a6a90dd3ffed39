"""Which networks a file of others holds, and which of them is read.

    .pt: {"g_ema": state, "d": state}, {"state_dict": {"g_ema.conv1.weight": ...}}, state or module
    .pkl: {"G_ema": module, "D": module}

A state is a dict of tensors by name, a module one of NVIDIA's. Both are found by a tensor that only
such a network has, wherever it lies, and by the public code's keys. What wrapped a network,
DataParallel or torch.compile, shows in its tensors' names and is peeled off. The moving average is
read where there is one; else the only network, or the one that is asked for. Chapter 13.
"""

import re
from typing import Any

from torch import Tensor

from . import layouts, nvidia, rosinality
from .pickle_machine import Budget, Global
from .pickle_reader import MAX_PATH, PersistentObject, loaded, module_tensors, submodules

_LAYOUTS = {"rosinality": rosinality, "nvidia": nvidia}
# a tensor that only such a network has -> its layout; StyleGAN3's is there to be named as such
_GENERATORS = {
    "input.input": "rosinality", "synthesis.b4.const": "nvidia", "synthesis.input.freqs": "nvidia",
}  # fmt: skip
_DISCRIMINATORS = {"final_linear.1.weight": "rosinality", "b4.out.weight": "nvidia"}
# the public code's keys, whatever lies there
_KEYS = {"g_ema": "rosinality", "G_ema": "nvidia"}, {"d": "rosinality", "D": "nvidia"}
_WRAPPERS = re.compile(r"(?:(?:module|_orig_mod)\.)*")
_WRAPPED = re.compile(r"(?:(?<![^.])(?:module|_orig_mod)\.)+$")
_MAX_DEPTH = 3
_MAX_NETWORKS = 100
# dotted place -> layout, what holds the network, prefix of its names there
Found = dict[str, tuple[str, Any, str]]


def _find(content: Any, marks: dict[str, str], budget: Budget, path: tuple = ()) -> Found:
    """Find networks by their marks, at places such as "state_dict.g_ema"."""
    found: Found = {}
    if type(content) is PersistentObject:
        parts = content.state.get("_modules")
        for mark, layout in marks.items():
            if type(parts) is dict and mark.partition(".")[0] in parts:
                found[".".join(path)] = layout, content, ""
    if type(content) is not dict or len(path) > _MAX_DEPTH:
        return found
    # one dict out of the memo may lie in any number of others
    budget.spend("opcodes", len(content))
    for name, value in content.items():
        if type(name) is not str or len(name) > MAX_PATH or not name.isprintable():
            continue
        for mark, layout in marks.items():
            if f".{name}".endswith(f".{mark}"):
                prefix = _WRAPPED.sub("", name.removesuffix(mark))
                place = ".".join([*path, prefix[:-1]] if prefix else path)
                found[place] = layout, content, prefix
        found |= _find(value, marks, budget, (*path, name))
        if len(found) > _MAX_NETWORKS:
            raise ValueError(f"got more than {_MAX_NETWORKS} networks, expected fewer")
    return found


def _average(place: str) -> bool:
    return place.lower().endswith("ema")


def _chosen(found: Found, key: str | None) -> str:
    fit = [place for place in found if _average(place)] or list(found)
    fit = fit if key is None else [place for place in found if place == key]
    if len(fit) != 1:
        got = "several networks" if key is None else f"key {key!r}"
        listed = ", ".join(list(found)[:8])
        raise ValueError(f"got {got}, expected --key (key=) with one of: {listed}")
    return fit[0]


def _kind(value: Any) -> str:
    return value.name if type(value) is Global else type(value).__name__


def read_state(holder: Any, prefix: str, what: str) -> tuple[layouts.State, nvidia.Modules, str]:
    """Read a network's tensors from the file, and its layers if they are there; `what` comes back.

    Raises:
        ValueError: anything but a dict of tensors by name, or one of NVIDIA's modules.
    """
    if type(holder) is PersistentObject:
        return module_tensors(holder), submodules(holder), what
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
    return state, None, what


def _mean_w(value: Any) -> Tensor:
    """The mean w, [w_dim], which some store as equal rows, [num_ws, w_dim]."""
    if type(value) is not Tensor:
        raise ValueError(f"latent_avg: got a {_kind(value)}, expected a tensor")
    if value.ndim == 2 and not (value == value[0]).all():
        raise ValueError(f"latent_avg: got {len(value)} rows that differ, expected equal ones")
    return value[0] if value.ndim == 2 else value


def _not_read(content: dict, found: Found, read: list[str]) -> list[str]:
    """What a file holds besides what was read of it."""
    taken = {place.partition(".")[0] for place in read}
    # where a dict is flat, a network's names begin alike
    keys = [str(key).partition(".")[0] for key, value in content.items() if value is not None]
    names = [name for name in keys if name not in taken]
    names += [p for p in found if p.partition(".")[0] in taken and p not in read]
    return list(dict.fromkeys(name[:40] for name in names))


def read_pair(content: Any, key: str | None, generator_only: bool) -> tuple[str, layouts.Pair]:
    """Build the networks of a file's content and name their layout.

    Args:
        content: inert values, as `torch_content` and `read_nvidia_pickle` give them.
        key: the place of the generator to be read; None for the moving average, or the only one.
        generator_only: leave the discriminator out.

    Raises:
        ValueError: no generator, several without an average, none at `key`, or one that is wrong.
    """
    root, budget = content if type(content) is dict else {}, Budget(0)
    found, critics = (
        {k: (layout, root[k], "") for k, layout in keys.items() if root.get(k) is not None}
        | _find(content, marks, budget)
        for keys, marks in zip(_KEYS, (_GENERATORS, _DISCRIMINATORS), strict=True)
    )
    if not found:
        got = f"keys {[str(k)[:40] for k in root][:8]}" if root else f"a whole {_kind(content)}"
        raise ValueError(f"got {got}, expected a StyleGAN2's tensors, as its state_dict() has them")
    place = _chosen(found, key)
    layout, *where = found[place]
    state, modules, what = read_state(*where, place or "generator")
    generator, read, meta = _LAYOUTS[layout].read_generator(state, modules, what), [place], {}
    if root.get("latent_avg") is not None:
        generator.state.setdefault("w_avg", _mean_w(loaded(root["latent_avg"])))
        read.append("latent_avg")
    if modules:
        meta["source_code_sha256"] = modules[""].source_sha256
    elif layout == "nvidia":
        meta["conv_clamp"] = "absent, none assumed"
    if place and not _average(place):
        meta["network"] = f"{place}, by its name no moving average (g_ema)"
    # others may stand beside the public code's
    named = [name for name in critics if name in _KEYS[1]] or list(critics)

    def discriminator() -> layouts.Translated:
        if len(named) > 1:
            raise ValueError(f"got discriminators {', '.join(named[:8])}, expected one")
        layout, *where = critics[named[0]]
        return _LAYOUTS[layout].read_discriminator(*read_state(*where, named[0] or "discriminator"))

    wanted = discriminator if named and not generator_only else None
    read += named[:1] if wanted else []
    if place and (left := _not_read(root, found | critics, read)):
        meta["not_read"] = left
    return layout, layouts.build_pair(generator, wanted, meta)
