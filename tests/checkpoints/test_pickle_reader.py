"""NVIDIA snapshots are read to the bit, in every protocol, and as inert values only."""

import hashlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from book._tools.snapshots import (
    SOURCE,
    EasyDict,
    Persistent,
    discriminator_module,
    dump,
    generator_module,
    module,
    snapshot,
)
from cagc_lib.checkpoints import load_checkpoint
from cagc_lib.checkpoints.formats.pickle_reader import (
    PersistentObject,
    module_tensors,
    read_nvidia_pickle,
    submodules,
)
from cagc_lib.networks import Discriminator, DiscriminatorConfig, Generator, GeneratorConfig

GOLDEN = Path(__file__).parents[1] / "golden" / "nvidia_ada.pkl"


def make_generator(**options) -> Generator:
    g = Generator(GeneratorConfig(16, (7, 6, 5, 4, 3, 2), 9, 8, **options))
    with torch.no_grad():
        for tensor in g.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape))
    return g


def read(tmp_path: Path, data: bytes) -> dict:
    (tmp_path / "x.pkl").write_bytes(data)
    return read_nvidia_pickle(tmp_path / "x.pkl")


def test_golden_snapshot() -> None:
    root = read_nvidia_pickle(GOLDEN)
    assert list(root) == ["G", "D", "G_ema", "augment_pipe", "training_set_kwargs"]
    assert root["augment_pipe"] is None
    assert root["training_set_kwargs"]["path"] == "x.zip"
    g = root["G_ema"]
    assert (g.class_name, g.state["z_dim"]) == ("Generator", 64)
    assert g.source_sha256 == hashlib.sha256(b"# source text removed\n").hexdigest()
    assert g.state["_init_kwargs"]["mapping_kwargs"] == {"num_layers": 4}
    assert g.state["_modules"]["mapping"].state["_modules"]["fc0"].state["bias_gain"] == 0.01
    tensors = module_tensors(g)
    assert tensors["synthesis.b8.conv0.weight"].shape == (32, 32, 3, 3)
    assert len(tensors) == 79
    assert set(submodules(g)) >= {"", "mapping", "mapping.fc3", "synthesis.b32.torgb.affine"}


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(("clamp", "depth"), [(None, 8), (256.0, 2)])
@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("stylegan3", [False, True])
def test_snapshots_load_to_the_bit(
    tmp_path: Path, protocol: int, clamp, depth: int, augment: bool, stylegan3: bool
) -> None:
    g = make_generator(conv_clamp=clamp, mapping_layers=depth)
    d = Discriminator(DiscriminatorConfig(16, (4, 5, 6), mbstd_group=8, conv_clamp=clamp))
    path = tmp_path / "x.pkl"
    path.write_bytes(snapshot(g, d, protocol, augment, stylegan3))
    loaded = load_checkpoint(path)
    assert loaded.format == "nvidia"
    assert loaded.meta == {
        "source_code_sha256": hashlib.sha256(SOURCE.encode()).hexdigest(),
        "not_read": ["training_set_kwargs", *(["augment_pipe"] if augment else [])],
    }
    for ours, theirs in ((g, loaded.generator), (d, loaded.discriminator)):
        assert ours.config == theirs.config
        for name, tensor in ours.state_dict().items():
            assert torch.equal(tensor, theirs.state_dict()[name]), name


@pytest.mark.parametrize("channel_base", [16384, 32768])
def test_widths_of_both_channel_bases(tmp_path: Path, channel_base: int) -> None:
    """256 px; NVIDIA's rule for widths, all of them divided by 64."""
    sides = [4 * 2**k for k in range(7)]
    widths = [min(channel_base // side, 512) // 64 for side in sides]
    expected = tuple(width for width in widths for _ in (0, 1))
    assert expected[-2:] == (channel_base // 16384,) * 2
    g = Generator(GeneratorConfig(256, expected, 8, 8, 2, conv_clamp=256))
    d = Discriminator(DiscriminatorConfig(256, tuple(widths[::-1]), conv_clamp=256))
    (tmp_path / "x.pkl").write_bytes(snapshot(g, d))
    loaded = load_checkpoint(tmp_path / "x.pkl")
    assert loaded.generator.config == g.config
    assert loaded.discriminator.config == d.config


def test_equal_networks_give_equal_files() -> None:
    g = make_generator()
    assert snapshot(g) == snapshot(g) != snapshot(make_generator())


def test_snapshot_without_discriminator(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(snapshot(make_generator()))
    assert load_checkpoint(tmp_path / "x.pkl").discriminator is None


def test_protocol_2_is_refused_by_the_name_it_needs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"refused at byte \d+: got global '__builtin__.set'"):
        read(tmp_path, snapshot(make_generator(), protocol=2))


def test_older_numpy_name(tmp_path: Path) -> None:
    data = snapshot(make_generator(), protocol=3)
    assert b"cnumpy._core.multiarray\n" in data
    root = read(tmp_path, data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    gain = root["G_ema"].state["_modules"]["synthesis"].state["_modules"]["b4"]
    assert gain.state["_modules"]["conv1"].state["act_gain"] == 2**0.5


@pytest.mark.parametrize(
    "dtype",
    ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8"],
)
def test_tensor_types(tmp_path: Path, dtype: str) -> None:
    tensor = (torch.randn(3, 4) * 10).abs().to(getattr(torch, dtype))
    loaded = read(tmp_path, dump({"t": tensor}))["t"]
    assert loaded.dtype == tensor.dtype
    assert torch.equal(loaded, tensor)


def test_views_and_layouts(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(2, 3, 2, 2)
    tensors = {
        "transposed": base.transpose(0, 1),
        "channels_last": base.contiguous(memory_format=torch.channels_last),
        "slice": base[1, :, 1:],
        "scalar": torch.tensor(3.0),
    }
    for name, tensor in tensors.items():
        loaded = read(tmp_path, dump({name: tensor}))[name]
        assert loaded.stride() == tensor.stride()
        assert torch.equal(loaded, tensor)


def test_plain_values(tmp_path: Path) -> None:
    values = {
        "numbers": [0, 255, 256, 65536, -1, 1.5, float("inf")],
        "flags": (True, False, None),
        "text": "é \U0001f600" + "x" * 300,
        "numpy": [np.float64(1.25), np.float32(0.5), np.int64(-7), np.int32(3), np.bool_(True)],
        "easy": EasyDict(a=1, b=EasyDict(c=())),
        "ordered": OrderedDict(a=1),
        "names": {"p", "q"},
    }
    root = read(tmp_path, dump(values, protocol=3))
    assert root == values
    kinds = {type(value) for value in root.values()}
    assert kinds == {list, tuple, str, dict, set}
    assert {type(value) for value in root["numpy"]} == {float, int, bool}


def test_shared_parts_stay_shared(tmp_path: Path) -> None:
    weight = torch.ones(2)
    root = read(tmp_path, dump({"a": [weight], "b": [weight]}))
    assert root["a"][0] is root["b"][0]


def test_module_that_is_not_a_tree() -> None:
    leaf = PersistentObject("L", "", {"_parameters": {}, "_buffers": {}, "_modules": {}})
    twice = {"_parameters": {}, "_buffers": {}, "_modules": {"a": leaf, "b": leaf}}
    with pytest.raises(ValueError, match="repeated or not a module"):
        submodules(PersistentObject("M", "", twice))
    with pytest.raises(ValueError, match="expected dicts _parameters"):
        submodules(PersistentObject("M", "", {}))
    wrong = {"_parameters": {"w": 3}, "_buffers": {}, "_modules": {}}
    with pytest.raises(ValueError, match="w: got a int, expected a tensor"):
        module_tensors(PersistentObject("M", "", wrong))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"c_dim": 10},
            r"x.pkl: G_ema: got a conditional network \(c_dim 10\), expected c_dim 0$",
        ),
        ({"c_dim": False}, "c_dim: got False, expected 0"),
        ({"img_channels": 1}, "img_channels: got 1, expected 3"),
        ({"architecture": "resnet"}, "architecture: got 'resnet', expected 'skip'"),
        ({"use_noise": False}, "use_noise: got False, expected True"),
        ({"activation": "relu"}, "activation: got 'relu', expected 'lrelu'"),
        ({"bias_gain": 1.0}, "bias_gain: got 1.0, expected 0.01"),
        ({"conv_clamp": "x"}, "conv_clamp: got 'x', expected a number or None"),
        ({"conv_clamp": -1}, "conv_clamp: got -1, expected None or a number > 0"),
        ({"conv_clamp": [1]}, "conv_clamp: got no plain value"),
    ],
)
def test_networks_of_another_kind(tmp_path: Path, overrides: dict, message: str) -> None:
    (tmp_path / "x.pkl").write_bytes(snapshot(make_generator(), **overrides))
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path / "x.pkl")


def inside(network: Persistent, *names: str) -> dict:
    """The attributes of a layer within layers."""
    for name in names:
        network = network.meta["state"]["_modules"][name]
    return network.meta["state"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda g, d: inside(g, "synthesis")["_parameters"].update(extra=torch.ones(1)),
            r"G_ema: tensors 1 unexpected \(synthesis.extra\)",
        ),
        (
            lambda g, d: inside(g, "synthesis", "b8", "conv1")["_parameters"].pop("bias"),
            r"G_ema: tensors 1 missing \(synthesis.b8.conv1.bias\)",
        ),
        (
            lambda g, d: inside(d, "b8")["_buffers"].update(a_resample_filter=torch.ones(1)),
            r"D: tensors 1 unexpected \(b8.a_resample_filter\)",
        ),
        (
            lambda g, d: inside(d, "b8")["_buffers"].pop("resample_filter"),
            r"D: tensors 1 missing \(b8.resample_filter\)",
        ),
        (
            lambda g, d: inside(d, "b8", "skip").update(conv_clamp=9.0),
            r"conv_clamp: got layers with different values",
        ),
    ],
)
def test_what_is_wrong_within_a_network_is_named(tmp_path: Path, change, message: str) -> None:
    g = generator_module(make_generator())
    d = discriminator_module(Discriminator(DiscriminatorConfig(16, (4, 5, 6), conv_clamp=9.0)))
    change(g, d)
    (tmp_path / "x.pkl").write_bytes(dump({"G_ema": g, "D": d}))
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path / "x.pkl")


def test_networks_that_are_no_stylegan2_of_pytorch_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    for root in ({"G": module("Generator")}, {"G_ema": {}}, {"G_ema": module("Generator")}):
        path.write_bytes(dump(root))
        with pytest.raises(ValueError, match=r"expected a StyleGAN2's|got no StyleG|got dict"):
            load_checkpoint(path)
    # as StyleGAN3's: an input layer, and one layer after the other
    synthesis = module("SynthesisNetwork", children={"input": module("SynthesisInput")})
    path.write_bytes(dump({"G_ema": module("Generator", children={"synthesis": synthesis})}))
    with pytest.raises(ValueError) as error:
        load_checkpoint(path)
    assert str(error.value) == (
        f"{path}: G_ema: got no StyleGAN2 (no synthesis.b4.const), expected one; StyleGAN3 and "
        "StyleGAN-XL are not supported"
    )
    # as TensorFlow's: a tuple of networks, each built by its class
    path.write_bytes(b"\x80\x03cdnnlib.tflib.network\nNetwork\nq\x00)\x81q\x01}q\x02b.")
    with pytest.raises(ValueError, match=r"at byte 2: .*tflib.network.Network', a TensorFlow pic"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "meta", [{"version": 7}, {"type": "function"}, {"class_name": 3}, {"state": []}, {"extra": 1}],
)
def test_other_persistent_objects(tmp_path: Path, meta: dict) -> None:
    with pytest.raises(ValueError, match=r"refused at byte \d+: got a"):
        read(
            tmp_path, dump({"G_ema": Persistent(**{"class_name": "Generator", "state": {}} | meta)})
        )
