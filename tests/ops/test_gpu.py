"""The kernels at the sizes they are for, on a GPU; where there is none, nothing here runs."""

import itertools

import pytest
import torch
from twins import agree, error

from cagc_lib.networks import Generator, GeneratorConfig
from cagc_lib.ops import frozen_weights, implementation, modulated_conv2d

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs an NVIDIA GPU: shapes too large to interpret"
)


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    x = torch.randn(shape, device="cuda").to(dtype)
    return x.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize(
    ("n", "channels", "filters", "size"),
    [
        (1, 512, 512, (4, 4)), (16, 154, 154, (32, 32)), (2, 77, 39, (128, 128)),
        (3, 131, 37, (65, 33)), (1, 32, 32, (512, 512)), (64, 39, 39, (64, 64)),
    ],
)
def test_layers_of_real_networks(
    n: int, channels: int, filters: int, size: tuple[int, int], up: int, dtype: torch.dtype
) -> None:
    x, weight = draw(n, channels, *size, dtype=dtype), draw(filters, channels, 3, 3)
    styles, bias = draw(n, channels), draw(filters)
    noise = draw(n, 1, *(up * side for side in size))
    tail = {"bias": bias, "noise": noise, "act": "lrelu", "clamp": 256.0}
    wide = {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in tail.items()}
    exact = modulated_conv2d(
        x.double(), weight.double(), styles.double(), up=up, impl="reference", **wide
    )
    ours = modulated_conv2d(x, weight, styles, up=up, impl="triton", **tail)
    theirs = modulated_conv2d(x, weight, styles, up=up, impl="reference", **tail)
    limit = 1e-6 if dtype == torch.float32 else 2 * error(theirs, exact)
    assert error(ours, exact) <= limit


def test_offsets_beyond_two_to_the_31() -> None:
    """Nine samples of 2^28 values each: the last ones lie past 32-bit offsets."""
    x = torch.zeros(9, 256, 1024, 1024, dtype=torch.float16, device="cuda")
    x = x.contiguous(memory_format=torch.channels_last)
    x[-1] = 1
    weight, styles = draw(16, 256, 1, 1), torch.ones(9, 256, device="cuda")
    y = modulated_conv2d(x, weight, styles, impl="triton")
    one = modulated_conv2d(x[-1:, :, :4, :4], weight, styles[-1:], impl="reference")
    assert not y[:-1].any() and error(y[-1, :, -4:, -4:], one[0]) < 1e-3


@pytest.mark.parametrize("widths", [(512,) * 10 + (256,) * 2, (154,) * 10 + (77,) * 2])
def test_a_training_steps_gradients(widths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    g = Generator(GeneratorConfig(128, widths)).cuda()
    w, parameters = torch.randn(4, 512, device="cuda"), list(g.synthesis.parameters())

    def step() -> list[torch.Tensor]:
        loss = g.synthesis(w).square().mean()
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        return [loss, *(grad for grad in grads if grad is not None)]

    agree(step, 1e-4)


def test_a_graph_replays_frozen_weights() -> None:
    torch.manual_seed(0)
    g = Generator(GeneratorConfig(64, (154,) * 8 + (77, 39))).cuda().eval()
    w = torch.randn(2, 512, device="cuda")
    with torch.no_grad(), frozen_weights(), implementation("triton"):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                expected = g.synthesis(w)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            image = g.synthesis(w)
        for _, scale in itertools.product(range(2), (1.0, 0.5)):
            w.copy_(torch.randn_like(w) * scale)
            graph.replay()
            expected = g.synthesis(w)
            assert error(image, expected) < 1e-6
