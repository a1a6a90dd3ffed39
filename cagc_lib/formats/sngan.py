"""The names and shapes of SN-GAN's state dicts, without building a network.

Batch norm's counters are left out: nothing reads them, and they are no weights. A discriminator's
weights are stored as they are trained, with the vectors of the power iteration. Chapter 12.
"""

from ..sngan import SNGANConfig
from ..sngan_discriminator import SNGANDiscriminatorConfig

COUNTER = ".num_batches_tracked"
Shapes = dict[str, tuple[int, ...]]


def generator_shapes(config: SNGANConfig) -> Shapes:
    """Name -> shape of `SNGANGenerator.state_dict()`."""
    widths = config.channels
    shapes: Shapes = {
        "synthesis.dense.weight": (widths[0], 4, 4, config.z_dim),
        "synthesis.dense.bias": (widths[0], 4, 4),
    }
    for i in range(len(widths) // 2):
        inputs, hidden, outputs = widths[2 * i : 2 * i + 3]
        name = f"synthesis.blocks.{i}"
        shapes |= _norm(f"{name}.bn1", inputs) | _conv(f"{name}.conv1", hidden, inputs, 3)
        shapes |= _norm(f"{name}.bn2", hidden) | _conv(f"{name}.conv2", outputs, hidden, 3)
        shapes |= _conv(f"{name}.shortcut", outputs, inputs, 1)
    return shapes | _norm("synthesis.bn", widths[-1]) | _conv("synthesis.to_rgb", 3, widths[-1], 3)


def discriminator_shapes(config: SNGANDiscriminatorConfig) -> Shapes:
    """Name -> shape of `SNGANDiscriminator.state_dict()`."""
    shapes: Shapes = {}
    inputs = 3
    for i, outputs in enumerate(config.channels):
        name = f"blocks.{i}"
        layers = {"conv1": (inputs, 3), "conv2": (outputs, 3)}
        if i < config.num_down or inputs != outputs:
            layers["shortcut"] = (inputs, 1)
        for layer, (reads, kernel) in layers.items():
            shapes |= _spectral(f"{name}.{layer}", (outputs, reads, kernel, kernel))
            shapes[f"{name}.{layer}.bias"] = (outputs,)
        inputs = outputs
    return shapes | _spectral("out", (1, inputs))


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.{n}": (width,) for n in ("weight", "bias", "running_mean", "running_var")}


def _conv(name: str, outputs: int, inputs: int, kernel: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, kernel, kernel), f"{name}.bias": (outputs,)}


def _spectral(name: str, weight: tuple[int, ...]) -> Shapes:
    name = f"{name}.parametrizations.weight"
    # the power iteration's vectors, of the weight as a matrix [O, I k k]
    columns = 1
    for size in weight[1:]:
        columns *= size
    return {f"{name}.original": weight, f"{name}.0._u": weight[:1], f"{name}.0._v": (columns,)}
