"""What must hold for any small generator on the way from scores to a student."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cagc_lib.checkpoints.formats.layouts import COUNTER, state_shapes
from cagc_lib.metrics import count_macs, layer_table, macs, parameters
from cagc_lib.networks import (
    Generator,
    GeneratorConfig,
    PrunableGenerator,
    SNGANConfig,
    SNGANDiscriminatorConfig,
    SNGANGenerator,
    build,
)
from cagc_lib.pruning import PruningPlan, kept_channels, plan_pruning, prune

few = settings(max_examples=15)
ratios = st.floats(0, 1, exclude_max=True)


@st.composite
def stylegan2(draw: st.DrawFn) -> Generator:
    """A generator in which every bias and noise strength is at work."""
    log2 = draw(st.integers(3, 5))
    size = 2 * log2 - 2
    widths = draw(st.lists(st.integers(1, 9), min_size=size, max_size=size))
    latents = draw(st.integers(1, 8)), draw(st.integers(1, 8)), draw(st.integers(1, 3))
    clamp = draw(st.sampled_from([None, 256.0]))
    torch.manual_seed(draw(st.integers(0, 2**16)))
    g = Generator(GeneratorConfig(2**log2, tuple(widths), *latents, clamp)).eval()
    with torch.no_grad():
        for name, p in g.named_parameters():
            if name.endswith(("bias", "noise_strength")):
                p += 0.3 * torch.randn(p.shape)
    return g


@st.composite
def sngan(draw: st.DrawFn) -> SNGANGenerator:
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


# of one kind or the other, so twice as many
generators = st.one_of(stylegan2(), sngan())
many = settings(max_examples=30)


def image(g: PrunableGenerator) -> torch.Tensor:
    z = torch.randn(2, g.config.z_dim, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return g(z)


def assert_close(a: torch.Tensor, b: torch.Tensor) -> None:
    assert (a - b).abs().max() <= 2e-5 * b.abs().max()


def plan_of(g: PrunableGenerator, ratio: float) -> PruningPlan:
    return plan_pruning([torch.rand(c) for c in g.config.channels], ratio)


@many
@given(generators, st.sampled_from(["recomputed", "preserved"]))
def test_keeping_everything_returns_the_identical_network(
    g: PrunableGenerator, rgb_gain: str
) -> None:
    keep = tuple(torch.arange(c) for c in g.config.channels)
    student = prune(g, PruningPlan(keep, g.config.channels, 0.0), rgb_gain)
    ours, theirs = student.state_dict(), g.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(image(student), image(g))


@many
@given(generators, st.booleans())
def test_permuting_channels_consistently_changes_nothing(
    g: PrunableGenerator, training: bool
) -> None:
    orders = [torch.randperm(c) for c in g.config.channels]
    state = {}
    for name, tensor in g.state_dict().items():
        for axis, k in g.sliced_axes(name):
            tensor = tensor.index_select(axis, orders[k])
        state[name] = tensor
    permuted = build(g.config).eval()
    permuted.load_state_dict(state)
    # in training batch norm takes the batch's statistics, and their order is the channels' too
    assert_close(image(permuted.train(training)), image(g.train(training)))


@many
@given(generators, st.data())
def test_removing_channels_that_nothing_reads_changes_nothing(
    g: PrunableGenerator, data: st.DataObject
) -> None:
    widths = g.config.channels
    dead = [data.draw(st.sets(st.integers(0, w - 1), max_size=w - 1)) for w in widths]
    with torch.no_grad():
        for name, weight in g.named_parameters():
            for axis, k in g.sliced_axes(name):
                if axis == 1:
                    weight[:, sorted(dead[k])] = 0
    keep = (torch.tensor(sorted(set(range(w)) - d)) for w, d in zip(widths, dead, strict=True))
    plan = PruningPlan(tuple(keep), widths, 0.0)
    assert_close(image(prune(g, plan, rgb_gain="preserved")), image(g))


@few
@given(sngan(), st.data())
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
    layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][:, 0]))
    image(g)
    assert seen[0].min() == seen[0].max()


@many
@given(generators, ratios)
def test_predicted_costs_are_the_counted_ones(g: PrunableGenerator, ratio: float) -> None:
    for network in (g, prune(g, plan_of(g, ratio))):
        assert macs(network) == macs(network.config) == count_macs(network)
        sizes = {f"{name}.": p.numel() for name, p in network.named_parameters()}
        assert parameters(network) == sum(sizes.values())
        rows = layer_table(network)
        assert sum(row.macs for row in rows) == macs(network)
        for row in rows:
            own = [size for name, size in sizes.items() if name.startswith(f"{row.name}.")]
            assert row.parameters == sum(own), row.name


@settings(max_examples=60)
@given(st.integers(1, 700), ratios, st.integers(1, 64))
def test_widths_follow_the_official_formula_and_round_up(
    width: int, ratio: float, round_to: int
) -> None:
    plain, rounded = kept_channels(width, ratio), kept_channels(width, ratio, round_to)
    assert plain == max(1, width - int(width * ratio)) <= rounded <= width
    assert rounded == width or (rounded % round_to == 0 and rounded - plain < round_to)
    (keep,) = plan_pruning([torch.rand(width)], ratio).keep
    assert len(keep) == plain and keep.tolist() == sorted(set(keep.tolist()))


@few
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), ratios, ratios)
def test_a_higher_ratio_keeps_a_subset(values: list[int], a: float, b: float) -> None:
    # few distinct values: ties must not break the nesting
    scores = [torch.tensor(values, dtype=torch.float32)]
    more, fewer = (set(plan_pruning(scores, r).keep[0].tolist()) for r in sorted((a, b)))
    assert fewer <= more


@many
@given(generators, ratios, ratios)
def test_lineage_composes(g: PrunableGenerator, first: float, second: float) -> None:
    once = prune(g, plan_of(g, first))
    twice = prune(once, plan_of(once, second))
    direct = prune(g, PruningPlan(twice.lineage.keep, g.config.channels, 0.0))
    assert torch.equal(image(direct), image(twice))


@few
@given(sngan(), st.lists(st.integers(1, 5), min_size=2, max_size=4))
def test_the_predicted_names_and_shapes_are_the_networks(
    g: SNGANGenerator, widths: list[int]
) -> None:
    for network in (g, build(SNGANDiscriminatorConfig(16, tuple(widths)))):
        shapes = {k: tuple(v.shape) for k, v in network.state_dict().items()}
        expected = state_shapes(lambda config=network.config: build(config))
        assert {k: v for k, v in shapes.items() if not k.endswith(COUNTER)} == expected


@many
@given(generators)
def test_what_reads_or_writes_a_width_is_sliced_by_it(g: PrunableGenerator) -> None:
    for names, axis in ((g.readers, 1), (g.writers, 0)):
        for k, group in enumerate(names):
            for name in group:
                axes = dict(g.sliced_axes(f"synthesis.{name}"))
                assert axes[axis] in (k, k - len(names)), name
