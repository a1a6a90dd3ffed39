"""What the command line prints of networks, as lines of text.

    card:       checkpoint -> format, sizes, costs, hashes, what is missing
    comparison: teacher, student -> a table: widths, parameters, MACs, latency

Chapters 1 and 13.
"""

import statistics
from itertools import groupby

from ..checkpoints import Checkpoint
from ..export import DRAWN
from ..metrics import latency, macs, parameters
from ..networks import KINDS, GeneratorConfig, PrunableGenerator, kind_of

TURNS = 9
_FORMATS = {
    "safetensors": "safetensors of this project", "rosinality": "rosinality/CAGC .pt",
    "nvidia": "NVIDIA .pkl", "nvidia-torch": "NVIDIA's network in a .pt",
}


def card(checkpoint: Checkpoint, name: str) -> str:
    """Describe a checkpoint that is called so, one line a fact."""
    g, d, meta = checkpoint.generator, checkpoint.discriminator, checkpoint.meta
    config, lineage = g.config, g.lineage
    own = [("latents", f"z {config.z_dim}, used as it is")]
    if isinstance(config, GeneratorConfig):
        sizes = f"z {config.z_dim}, w {config.w_dim}, {config.mapping_layers} mapping layers"
        clamp = "no clamp" if config.conv_clamp is None else f"clamp {config.conv_clamp:g}"
        own = [("latents", sizes), ("activations", clamp)]
    rows = [
        ("file", name), ("format", _FORMATS[checkpoint.format]), ("SHA-256", checkpoint.sha256),
        ("network", KINDS[kind_of(config)].title), ("resolution", f"{config.resolution} px"),
        ("widths", short_widths(config.channels)), *own,
        ("parameters", f"{parameters(g):,}"), ("MACs", f"{macs(g):,}"),
    ]
    if d is not None:
        count = sum(p.numel() for p in d.parameters())
        widths = short_widths(d.config.channels)
        rows.append(("discriminator", f"widths {widths}, {count:,} parameters"))
    if lineage is not None:
        rows += [
            ("pruned from", f"widths {short_widths(lineage.source_channels)}"),
            ("teacher", f"SHA-256 {lineage.source_sha256 or 'unknown'}"),
            ("kept", f"indices of all {len(lineage.keep)} layers; RGB gain {lineage.rgb_gain}"),
        ]
    if "network" in meta:
        rows.append(("read", meta["network"]))
    if "source_code_sha256" in meta:
        rows.append(("source text", f"SHA-256 {meta['source_code_sha256']}, not run"))
    missing = [f"{what}: {meta[key]}" for key, what in DRAWN.items() if key in meta]
    if d is None:
        missing.append("discriminator")
    if lineage is None:
        missing.append("kept indices and teacher's hash (if it was pruned, none are stored)")
    rows += [("missing", fact) for fact in missing or ["nothing"]]
    if "not_read" in meta:
        # names out of a file may hold line ends or control characters
        text = ", ".join(meta["not_read"])
        rows.append(("not read", "".join(c if c.isprintable() else " " for c in text)))
    wide = max(len(what) for what, _ in rows)
    return "\n".join(f"{what:<{wide}}  {fact}" for what, fact in rows)


def comparison(teacher: PrunableGenerator, student: PrunableGenerator) -> str:
    """Describe a teacher and its student, moved to the CPU, one line a fact, with their ratio.

    Latencies are measured here and now.
    """
    pair = (teacher.cpu(), student.cpu())
    work = [macs(g) for g in pair]
    sizes = [parameters(g) for g in pair]
    # in turns, so that whatever else the machine does meets both alike
    turns = [[latency(g, repeats=1, warmup=1).p50 for g in pair] for _ in range(TURNS)]
    times = [statistics.median(column) for column in zip(*turns, strict=True)]
    rows = [
        ("", "teacher", "student", ""),
        ("widths", *(short_widths(g.config.channels) for g in pair), ""),
        ("parameters", *(f"{n:,}" for n in sizes), f"{sizes[0] / sizes[1]:.2f}x fewer"),
        ("MACs", *(f"{n:,}" for n in work), f"{work[0] / work[1]:.2f}x fewer"),
        ("latency", *(f"{1e3 * t:.1f} ms" for t in times), f"{times[0] / times[1]:.2f}x the speed"),
    ]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([name.ljust(wide[0]), *map(str.rjust, cells, wide[1:])]).rstrip()
        for name, *cells in rows
    ]
    return "\n".join(lines)


def short_widths(channels: tuple[int, ...]) -> str:
    """Write widths 160, 160, 160, 80 as 160x3,80."""
    runs = [(width, len(list(run))) for width, run in groupby(channels)]
    return ",".join(f"{width}x{count}" if count > 1 else str(width) for width, count in runs)
