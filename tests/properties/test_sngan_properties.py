"""What must hold for any small SN-GAN on the way from scores to a student."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cagc_lib.checkpoints.formats.layouts import COUNTER, state_shapes
from cagc_lib.metrics import count_macs, layer_table, macs, parameters
from cagc_lib.networks import SNGANConfig, SNGANDiscriminatorConfig, SNGANGenerator, build
from cagc_lib.pruning import PruningPlan, plan_pruning, prune

few = settings(deadline=None, derandomize=True, max_examples=15)
ratios = st.floats(0, 1, exclude_max=True)


@st.composite
def generators(draw: st.DrawFn) -> SNGANGenerator:
    """A generator in which every bias, batch-norm parameter and statistic is at work."""
    log2 = draw(st.integers(3, 5))
    size = 2 * log2 - 3
    widths = draw(st.lists(st.integers(1, 7), min_size=size, max_size=size))
    torch.manual_seed(draw(st.integers(0, 2**16)))
    g = SNGANGenerator(SNGANConfig(2**log2, tuple(widths), draw(st.integers(1, 8))))
    with torch.no_grad():
        for name, tensor in g.state_dict().items():
            if name.endswith(("bias", "running_mean")):
                tensor.normal_(0, 0.3)
            elif ".bn" in name and name.endswith(("weight", "running_var")):
                tensor.uniform_(0.5, 2)
    return g.eval()


def image(g: SNGANGenerator) -> torch.Tensor:
    z = torch.randn(2, g.config.z_dim, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return g(z)


def assert_close(a: torch.Tensor, b: torch.Tensor) -> None:
    assert (a - b).abs().max() <= 2e-5 * b.abs().max()


@few
@given(generators(), st.sampled_from(["recomputed", "preserved"]))
def test_keeping_everything_returns_the_identical_network(
    g: SNGANGenerator, rgb_gain: str
) -> None:
    keep = tuple(torch.arange(c) for c in g.config.channels)
    student = prune(g, PruningPlan(keep, g.config.channels, 0.0), rgb_gain)
    ours, theirs = student.state_dict(), g.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(image(student), image(g))


@few
@given(generators(), st.booleans())
def test_permuting_channels_consistently_changes_nothing(
    g: SNGANGenerator, training: bool
) -> None:
    orders = [torch.randperm(c) for c in g.config.channels]
    state = {}
    for name, tensor in g.state_dict().items():
        for axis, k in g.sliced_axes(name):
            tensor = tensor.index_select(axis, orders[k])
        state[name] = tensor
    permuted = SNGANGenerator(g.config).eval()
    permuted.load_state_dict(state)
    # in training batch norm takes the batch's statistics, and their order is the channels' too
    assert_close(image(permuted.train(training)), image(g.train(training)))


@few
@given(generators(), st.data())
def test_removing_channels_that_nothing_reads_changes_nothing(
    g: SNGANGenerator, data: st.DataObject
) -> None:
    keep = []
    for k, (width, names) in enumerate(zip(g.config.channels, g.readers, strict=True)):
        dead = data.draw(st.sets(st.integers(0, width - 1), max_size=width - 1), f"dead {k}")
        keep.append(torch.tensor(sorted(set(range(width)) - dead)))
        for name in names:
            with torch.no_grad():
                g.synthesis.get_parameter(name)[:, sorted(dead)] = 0
    assert_close(image(prune(g, PruningPlan(tuple(keep), g.config.channels, 0.0))), image(g))


@few
@given(generators(), st.data())
def test_a_channel_that_nothing_writes_still_adds_a_constant(
    g: SNGANGenerator, data: st.DataObject
) -> None:
    # why pruning looks at what reads: batch norm's offset passes on what never varies
    k = data.draw(st.integers(0, len(g.config.channels) - 1))
    with torch.no_grad():
        for name in g.writers[k]:
            layer = g.synthesis.get_submodule(name.removesuffix(".weight"))
            layer.weight[0] = 0
            layer.bias[0] = 0
    seen = []
    layer = g.synthesis.get_submodule(g.readers[k][0].removesuffix(".weight"))
    handle = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][:, 0]))
    image(g)
    handle.remove()
    assert seen[0].min() == seen[0].max()


@few
@given(generators(), ratios)
def test_predicted_costs_are_the_counted_ones(g: SNGANGenerator, ratio: float) -> None:
    scores = [torch.rand(c) for c in g.config.channels]
    for network in (g, prune(g, plan_pruning(scores, ratio))):
        assert macs(network) == macs(network.config) == count_macs(network)
        assert parameters(network) == sum(p.numel() for p in network.parameters())
        for row in layer_table(network):
            layer = network.get_submodule(row.name)
            assert row.parameters == sum(p.numel() for p in layer.parameters()), row.name


@few
@given(generators(), ratios, ratios)
def test_lineage_composes(g: SNGANGenerator, first: float, second: float) -> None:
    once = prune(g, plan_pruning([torch.rand(c) for c in g.config.channels], first))
    twice = prune(once, plan_pruning([torch.rand(c) for c in once.config.channels], second))
    direct = prune(g, PruningPlan(twice.lineage.keep, g.config.channels, 0.0))
    assert torch.equal(image(direct), image(twice))


@few
@given(generators(), st.lists(st.integers(1, 5), min_size=2, max_size=4))
def test_the_predicted_names_and_shapes_are_the_networks(
    g: SNGANGenerator, widths: list[int]
) -> None:
    d = build(SNGANDiscriminatorConfig(16, tuple(widths)))
    for network in (g, d):
        got = {
            name: tuple(tensor.shape) for name, tensor in network.state_dict().items()
            if not name.endswith(COUNTER)
        }
        assert got == state_shapes(lambda config=network.config: build(config))


@few
@given(generators())
def test_every_axis_of_a_width_is_sliced(g: SNGANGenerator) -> None:
    for name, tensor in g.state_dict().items():
        for axis, k in g.sliced_axes(name):
            assert tensor.shape[axis] == g.config.channels[k], name
    for names, axis in ((g.readers, 1), (g.writers, 0)):
        for k, group in enumerate(names):
            for name in group:
                axes = dict(g.sliced_axes(f"synthesis.{name}"))
                assert axes[axis] in (k, k - len(names)), name
