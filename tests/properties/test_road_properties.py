"""What must hold for any small generator on the way from scores to a student."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cagc_lib.metrics import count_macs, layer_table, macs, parameters
from cagc_lib.networks import Generator, GeneratorConfig
from cagc_lib.networks.generator import sliced_axes
from cagc_lib.pruning import PruningPlan, kept_channels, plan_pruning, prune

few = settings(deadline=None, derandomize=True, max_examples=15)
ratios = st.floats(0, 1, exclude_max=True)


@st.composite
def configs(draw: st.DrawFn) -> GeneratorConfig:
    log2 = draw(st.integers(3, 5))
    size = 2 * log2 - 2
    widths = draw(st.lists(st.integers(1, 9), min_size=size, max_size=size))
    latent = draw(st.integers(1, 8))
    clamp = draw(st.sampled_from([None, 256.0]))
    return GeneratorConfig(2**log2, tuple(widths), latent, draw(st.integers(1, 8)),
                           draw(st.integers(1, 3)), clamp)


@st.composite
def generators(draw: st.DrawFn) -> Generator:
    """A generator in which every bias and noise strength is at work."""
    config = draw(configs())
    torch.manual_seed(draw(st.integers(0, 2**16)))
    g = Generator(config)
    with torch.no_grad():
        for name, p in g.named_parameters():
            if name.endswith(("bias", "noise_strength")):
                p += 0.3 * torch.randn(p.shape)
    return g


def image(g: Generator) -> torch.Tensor:
    z = torch.randn(2, g.config.z_dim, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return g(z)


def assert_close(a: torch.Tensor, b: torch.Tensor) -> None:
    assert (a - b).abs().max() <= 2e-5 * b.abs().max()


def everything(g: Generator) -> PruningPlan:
    keep = tuple(torch.arange(c) for c in g.config.channels)
    return PruningPlan(keep, g.config.channels, 0.0)


@few
@given(generators(), st.sampled_from(["recomputed", "preserved"]))
def test_keeping_everything_returns_the_identical_network(g: Generator, rgb_gain: str) -> None:
    student = prune(g, everything(g), rgb_gain)
    ours, theirs = student.state_dict(), g.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(image(student), image(g))


@few
@given(generators())
def test_permuting_channels_consistently_changes_nothing(g: Generator) -> None:
    orders = [torch.randperm(c) for c in g.config.channels]
    state = {}
    for name, tensor in g.state_dict().items():
        for axis, k in sliced_axes(name):
            tensor = tensor.index_select(axis, orders[k])
        state[name] = tensor
    permuted = Generator(g.config)
    permuted.load_state_dict(state)
    assert_close(image(permuted), image(g))


@few
@given(generators(), st.data())
def test_removing_channels_that_nothing_reads_changes_nothing(
    g: Generator, data: st.DataObject
) -> None:
    keep = []
    for k, width in enumerate(g.config.channels):
        dead = data.draw(st.sets(st.integers(0, width - 1), max_size=width - 1), f"dead {k}")
        keep.append(torch.tensor(sorted(set(range(width)) - dead)))
        with torch.no_grad():
            if k < g.config.num_convs:
                g.synthesis.convs[k].weight[:, sorted(dead)] = 0
            if k % 2:
                g.synthesis.torgbs[k // 2].weight[:, sorted(dead)] = 0
    plan = PruningPlan(tuple(keep), g.config.channels, 0.0)
    assert_close(image(prune(g, plan, rgb_gain="preserved")), image(g))


@few
@given(generators(), ratios)
def test_predicted_costs_are_the_counted_ones(g: Generator, ratio: float) -> None:
    scores = [torch.rand(c) for c in g.config.channels]
    for network in (g, prune(g, plan_pruning(scores, ratio))):
        assert macs(network) == macs(network.config) == count_macs(network)
        assert parameters(network) == sum(p.numel() for p in network.parameters())
        assert sum(row.macs for row in layer_table(network)) == macs(network)


@few
@given(st.lists(st.integers(1, 700), min_size=1, max_size=6), ratios)
def test_kept_numbers_follow_the_official_formula(widths: list[int], ratio: float) -> None:
    plan = plan_pruning([torch.rand(c) for c in widths], ratio)
    for width, keep in zip(widths, plan.keep, strict=True):
        assert len(keep) == max(1, width - int(width * ratio))
        assert keep.tolist() == sorted(set(keep.tolist()))


@few
@given(st.lists(st.integers(1, 700), min_size=1, max_size=6), ratios, st.integers(1, 64))
def test_rounded_widths_are_multiples_or_whole(
    widths: list[int], ratio: float, round_to: int
) -> None:
    for width in widths:
        plain, rounded = kept_channels(width, ratio), kept_channels(width, ratio, round_to)
        assert plain <= rounded <= width
        assert rounded == width or (rounded % round_to == 0 and rounded - plain < round_to)


@few
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), ratios, ratios)
def test_a_higher_ratio_keeps_a_subset(values: list[int], a: float, b: float) -> None:
    # few distinct values: ties must not break the nesting
    scores = [torch.tensor(values, dtype=torch.float32)]
    more, fewer = (set(plan_pruning(scores, r).keep[0].tolist()) for r in sorted((a, b)))
    assert fewer <= more


@few
@given(generators(), ratios, ratios)
def test_lineage_composes(g: Generator, first: float, second: float) -> None:
    once = prune(g, plan_pruning([torch.rand(c) for c in g.config.channels], first))
    twice = prune(once, plan_pruning([torch.rand(c) for c in once.config.channels], second))
    direct = prune(g, PruningPlan(twice.lineage.keep, g.config.channels, 0.0))
    assert torch.equal(image(direct), image(twice))
