"""Hair and beard: a mass behind, locks at the sides, a cap in front, all with strands.

A style is a row of measures; nothing else differs between styles, so a batch of mixed styles is
drawn by one pass. The hairline is a curve y = h(x) over the forehead, swept from the parting.
"""

import torch
from torch import Tensor

from .anatomy import Columns, choose
from .canvas import Canvas, Measures, blob, ellipse, ramp
from .face import head_distance, lambert

# top, side volume; hairline at the parting; sweep; parting; fringe teeth; lock length; bumps; bun
STYLES = {
    "bald": (-0.30, -0.30, -1.60, 0.0, 0.0, 0.00, -1.0, 0.00, 0.0),
    "buzz": (0.035, 0.015, -0.72, 0.25, 0.0, 0.00, -1.0, 0.00, 0.0),
    "short": (0.100, 0.050, -0.66, 0.35, 0.5, 0.02, -1.0, 0.012, 0.0),
    "side-parted": (0.150, 0.060, -0.68, 1.05, 1.1, 0.008, -1.0, 0.00, 0.0),
    "quiff": (0.200, 0.040, -0.70, 0.25, 0.5, 0.012, -1.0, 0.018, 0.0),
    "curly": (0.260, 0.240, -0.60, 0.45, 0.0, 0.03, 0.25, 0.05, 0.0),
    "bob": (0.130, 0.140, -0.60, 1.00, 0.9, 0.008, 0.85, 0.00, 0.0),
    "long straight": (0.110, 0.100, -0.68, 1.05, 0.5, 0.004, 1.75, 0.00, 0.0),
    "long wavy": (0.160, 0.190, -0.66, 1.05, 0.8, 0.008, 1.60, 0.03, 0.0),
    "bun": (0.080, 0.030, -0.66, 0.45, 0.5, 0.004, -1.0, 0.00, 1.0),
    "fringe": (0.130, 0.120, -0.33, 0.10, 0.2, 0.022, 1.30, 0.00, 0.0),
}
WEIGHTS_LOW = (1.0, 1.3, 2.4, 2.2, 1.8, 1.2, 0.2, 0.5, 0.3, 0.2, 0.2)
WEIGHTS_HIGH = (0.1, 0.2, 0.5, 0.5, 0.2, 1.3, 1.8, 2.0, 2.2, 1.5, 1.7)


def measure_hair(c: Columns, m: Measures) -> Measures:
    """The style's row, varied by the hair columns."""
    low, high = choose(c("hair_style"), WEIGHTS_LOW), choose(c("hair_style"), WEIGHTS_HIGH)
    style = torch.where(m.fem < 0.5, low, high)
    row = torch.tensor([*STYLES.values()], device=m.fem.device)[style.flatten()]
    top, side, line, sweep, part, teeth, length, bumps, bun = row.T.contiguous()[..., None, None]
    h = Measures(style=style, bun=bun, teeth=teeth)
    volume = c("hair_volume", 0.75, 1.35)
    h.top = torch.where(top > 0, top * volume, top)
    h.side = torch.where(side > 0, side * volume, side)
    receding = 0.10 * (m.age - 0.5).clamp(min=0) * (m.fem < 0.5)
    h.line = line - 0.14 * (c("hairline") - 0.5) - receding
    h.sweep = sweep * (0.8 + 0.4 * c("hair_wave"))
    h.part = part * (c("hair_part") - 0.5) * 0.9
    h.length = torch.where(length > 0, length * c("hair_length", 0.8, 1.25), length)
    h.bumps = bumps * (0.6 + 0.8 * c("hair_wave"))
    h.wave = 0.2 + 2.2 * c("hair_wave") * (bumps > 0.015) + 0.5 * c("hair_wave")
    h.phase = 6.3 * c("hair_part")
    h.x = -0.09 * m.pose.sin_yaw
    h.shown = (style > 0).float()
    # a shaved or swept-back hairline fades into the skin
    h.soft = torch.where(style <= 1, 0.10, torch.where((style <= 4) | (style == 9), 0.06, 0.012))
    return h


def mass_distance(m: Measures, h: Measures, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance to the hair around the skull."""
    d = ellipse(x - h.x, y + 0.17, m.width + h.side, 0.86 + h.top)
    return d - h.bumps * ((x * 13.0 + h.phase).sin() * (y * 12.0).sin())


def curtain_distance(m: Measures, h: Measures, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance to hair hanging to `length`."""
    sway = (0.015 + h.bumps) * (y * 7.5 + h.phase).sin()
    low = y.clamp(min=-0.2)
    half = m.width + h.side + 0.05 * low - 0.72 * (y - h.length + 0.35).clamp(min=0.0).square()
    return torch.maximum((x - h.x + sway).abs() - half, torch.maximum(y - h.length, -0.2 - y))


def draw_hair_back(canvas: Canvas, m: Measures, h: Measures, k: Measures) -> None:
    """What is behind the neck: the mass, the hanging part, the bun."""
    w = canvas.box(-1.3, -1.75, 1.3, 2.2)
    x, y = w.x, w.y
    d = torch.minimum(mass_distance(m, h, x, y), curtain_distance(m, h, x, y))
    bun_x = h.x - 0.25 * m.pose.sin_yaw
    bun = ellipse(x - bun_x, y + 1.16, 0.34, 0.27)
    d = torch.where(h.bun > 0, torch.minimum(d, bun), d)
    strand = (x * 30.0 + h.wave * (y * 7.0 + h.phase).sin()).sin()
    light = 0.24 + 0.10 * strand + 0.1 * m.pose.lx * x
    light += h.bun * 0.75 * blob(x, y, bun_x + 0.1 * m.pose.lx, -1.24, 0.36, 0.28)
    w.paint(ramp(light, k.hair_shadow, k.hair, k.hair_glow), h.shown * w.cover(d), 17)


def draw_locks(canvas: Canvas, m: Measures, h: Measures, k: Measures) -> None:
    """Locks that fall before the shoulders, beside the face."""
    w = canvas.box(-1.3, -0.45, 1.3, 2.2)
    x, y = w.x, w.y
    inner = m.width * (0.93 - 0.20 * (y - 0.45).clamp(min=0.0)) + 0.02 * (y * 7.5 + h.phase).sin()
    d = torch.maximum(curtain_distance(m, h, x, y), inner - (x - m.shear * y).abs())
    strand = (x * 34.0 + h.wave * 1.4 * (y * 7.5 + h.phase).sin()).sin()
    strand += 0.6 * (x * 57.0 - h.wave * (y * 5.0).sin()).sin()
    light = 0.62 + 0.13 * strand + 0.30 * m.pose.lx * x.sign() - 0.18 * (y - 0.3)
    light += 0.35 * blob(y, y, 0.55, 0.0, 0.4, 1e6) * (0.6 + 0.4 * strand)
    w.paint(ramp(light, k.hair_shadow, k.hair, k.hair_glow), h.shown * w.cover(d), 17)


def draw_hair_front(canvas: Canvas, m: Measures, h: Measures, k: Measures) -> None:
    """The cap over the forehead, down to the hairline."""
    w = canvas.box(-1.15, -1.55, 1.15, 0.55)
    x, y = w.x, w.y
    cx = x - (m.shear * y * 0.5 + 0.32 * m.pose.sin_yaw)
    off = (cx - h.part).abs()
    line = h.line + 0.35 * m.pose.sin_pitch + h.sweep * off.square() / (1.0 + 0.8 * off)
    line += 4.5 * (cx.abs() - 0.58 * m.width).clamp_(min=0.0).square()
    root = (cx - h.part) / (y + 2.0)
    # strands end apart from each other
    line += h.teeth * ((root * 41.0 + h.phase).sin() + 0.6 * (root * 77.0).sin())
    slope = 1.0 + 0.9 * h.sweep * off
    mass = mass_distance(m, h, x, y)
    # short hair ends at the sideburns
    edge = torch.maximum((y - line) / slope, y - torch.where(h.length > 0, 0.5, 0.16))
    d = torch.maximum(mass, edge)
    strand = (root * 62.0 + h.wave * (y * 6.0 + h.phase).sin()).sin()
    strand += 0.6 * (root * 105.0 + h.wave * (y * 9.0).sin()).sin()
    light = 0.15 + 0.78 * lambert(m, x - h.x, y + 0.17, m.width + h.side + 0.12, 1.02)
    gloss = blob(x, y + 0.22 * x.square(), h.x + 0.35 * m.pose.lx, -0.86, 0.75, 0.17)
    light += (0.10 + 0.20 * gloss) * strand + 0.42 * gloss
    light -= (0.06 + 4.0 * h.teeth) * blob(y - line, y, 0.0, 0.0, 0.13, 1e6)
    # the fringe shades the forehead
    shade = w.cover(torch.maximum(d - 0.07, head_distance(m, x, y)), 0.12)
    w.paint(k.skin_shadow, 0.30 * h.shown * shade * (w.labels == 1))
    cover = w.cover(mass) * w.cover(edge, h.soft)
    w.paint(ramp(light, k.hair_shadow, k.hair, k.hair_glow), h.shown * cover, 17)


def measure_beard(c: Columns, m: Measures) -> Measures:
    """Kind of beard, numbered as in `portraits.ATTRIBUTES`, its length, and the moustache."""
    kind = torch.where(m.fem < 0.5, choose(c("beard"), (0.42, 0.2, 0.11, 0.11, 0.16)), 0)
    length = c("beard_length", 0.01, 0.15) * (kind >= 3)
    return Measures(kind=kind, length=length, moustache=(kind >= 2).float())


def draw_beard(canvas: Canvas, m: Measures, b: Measures, k: Measures) -> None:
    """Stubble and beard on the jaw, moustache under the nose.

    They keep the skin's label inside the head, as in CelebAMask-HQ; beyond the chin they are hair.
    """
    w = canvas.box(-1.0, -0.05, 1.0, 1.35)
    x, y = w.x, w.y
    mx, my = m.mouth[0], m.mouth[1]
    drop = 0.6 * b.length * blob(x, x, m.shear, 0.0, 0.8, 1e6)
    jaw = head_distance(m, x, y - drop, b.length * 0.35)
    cx = x - mx
    line = (my - 0.13 - 1.15 * cx.square()).clamp_(min=0.0)
    line += 0.27 * blob(x, x, mx, 0.0, 0.24, 1e6)
    beard = torch.maximum(jaw, line - y)
    goatee = torch.maximum(jaw, ellipse(cx, y - my - 0.25, m.mouth_w * 0.78, 0.26))
    d = torch.where(b.kind == 3, goatee, beard)
    present = torch.where(b.kind == 1, 0.30, torch.where(b.kind >= 3, 0.94, 0.0))
    strand = (x * 40.0 + 2.0 * (y * 9.0).sin()).sin() + 0.6 * (x * 66.0 - (y * 12.0).sin()).sin()
    light = 0.15 + 0.62 * lambert(m, x, y, m.width * 1.1, 1.15) + 0.09 * strand
    colour = ramp(light, k.hair_shadow, k.hair, k.hair_glow)
    cover = w.cover(d, torch.where(b.kind == 1, 0.12, 0.03))
    outside = (b.kind >= 3) & (cover >= 0.5) & (w.labels != 1) & (y > 0.2)
    # sideburns thin out towards the ear
    w.paint(colour, present * cover * ((y + 0.04) * 4.0).clamp(0.0, 1.0))
    w.labels.masked_fill_(outside, 17)
    droop = my - 0.075 - 0.05 * m.smile + (0.5 + 0.4 * b.length) * cx.square()
    thick = 0.062 * (1.0 - (cx / (m.mouth_w * 1.12)).square())
    w.paint(colour, 0.94 * b.moustache * w.cover((y - droop).abs() - thick, 0.02))
