"""What is worn: clothes, necklaces, earrings, eyeglasses, hats.

Clothes hang on the body, which does not turn with the head, so they use body coordinates (the
head's centre and unit without its roll); the rest is drawn in head coordinates.
"""

import torch

from .anatomy import Columns, choose
from .canvas import Canvas, Measures, View, blob, box, circle, ellipse, ramp, segment, swatch
from .face import head_distance

GARMENTS = ("crew neck", "V-neck", "shirt", "turtleneck", "jacket")


def measure_dress(c: Columns, m: Measures) -> Measures:
    """Discrete choices and measures of what is worn."""
    return Measures(
        garment=choose(c("cloth"), (1.5, 0.9, 1.3, 0.7, 1.2)),
        # none, round, square, sunglasses; none, beanie, brimmed, cap
        glasses=choose(c("glasses"), (0.70, 0.12, 0.12, 0.06)),
        hat=choose(c("hat"), (0.80, 0.07, 0.07, 0.06)),
        earrings=((c("earrings") + 0.3 * (m.fem - 0.5)) > 0.68).float(),
        necklace=((c("necklace") + 0.3 * (m.fem - 0.5)) > 0.70).float(),
        glasses_size=c("glasses_size", 1.15, 1.45), neckline=c("neckline"),
    )


def draw_clothes(canvas: Canvas, c: Columns, m: Measures, d: Measures, k: Measures) -> None:
    """Shoulders, neckline, collar or lapels, and the pattern of the cloth."""
    w = View(canvas, 0.0, 0.70, 1.0, 1.0)
    x, y = w.body
    ax, low, g = x.abs(), d.neckline, d.garment
    shoulder = 1.17 + 0.10 * ax + 0.11 * ax * ax
    crew = ellipse(x, y - 1.10, 0.44, 0.15 + 0.14 * low)
    vee = (ax - (1.50 + 0.35 * low - y) * 0.75) * 0.8
    tight = (ax - (1.36 + 0.12 * low - y) * 1.4) * 0.58
    hole = torch.where(g == 0, crew, torch.where((g == 1) | (g == 4), vee,
                       torch.where(g == 2, tight, 9.0)))
    high = torch.maximum(ax - 0.44 - 0.05 * (1.0 - m.fem), 1.02 - y)
    top = torch.where(g == 3, torch.minimum(shoulder - y, high), shoulder - y)
    inner = torch.maximum(shoulder - y, -tight)
    fold = (x * 5.0 + 2.5 * y).sin() * (x * 9.0 - 4.0 * y).sin()
    light = 0.80 + 0.28 * m.pose.lx * x + 0.10 * fold - 0.25 * (ax - 0.9).clamp(min=0.0)
    light = light - 0.30 * blob(x, y, 0.0, 1.12, 0.75, 0.30)
    shirt = swatch(light, 0.93, 0.91, 0.87) * (0.55 + 0.5 * light).unsqueeze(1)
    w.paint(shirt, w.cover(inner) * (g == 4), 16)
    style = choose(c("cloth_pattern"), (0.5, 0.2, 0.15, 0.15))
    bands = torch.where(style == 1, (y * 36.0).sin(), torch.where(
        style == 2, (x * 26.0).sin(), torch.maximum((x * 20.0).sin(), (y * 20.0).sin()) - 0.5))
    weave = ((bands * 2.5).clamp(-1.0, 1.0) * 0.5 + 0.5) * (style > 0) * (g != 4)
    colour = ramp(light, k.cloth_shadow, k.cloth, k.cloth_glow)
    accent = k.accent * (0.45 + 0.6 * light.clamp(max=1.0)).unsqueeze(1)
    colour = torch.lerp(colour, accent, 0.8 * weave.unsqueeze(1))
    cover = w.cover(torch.maximum(top, -hole))
    w.paint(colour, cover, 16)
    # hems, collars, lapels and the turtleneck's fold
    hem = cover * w.cover((hole - 0.045).abs() - 0.045) * (g <= 1)
    w.paint(k.cloth * 0.72, 0.7 * hem)
    collar = torch.maximum((hole - 0.09).abs() - 0.09, torch.maximum(y - 1.58 + 0.5 * ax, 1.10 - y))
    collar = torch.maximum(collar, ax - 0.60)
    bright = (k.cloth * 0.75 + 0.22) * (0.6 + 0.45 * light).unsqueeze(1)
    w.paint(bright, w.cover(collar) * (g == 2), 16)
    w.paint(k.cloth_shadow, 0.7 * w.cover(collar.abs() - 0.012) * (g == 2))
    lapel = torch.maximum((hole - 0.13).abs() - 0.13, 1.2 - y)
    w.paint(k.cloth * 0.68, 0.75 * w.cover(lapel) * (g == 4) * cover)
    w.paint(k.cloth_shadow * 0.7, 0.8 * w.cover((hole - 0.26).abs() - 0.012) * (g == 4) * cover)
    roll = torch.maximum((y - 1.20 - 0.06 * x.square()).abs() - 0.014, ax - 0.46)
    w.paint(k.cloth_shadow, 0.8 * w.cover(roll, 0.02) * (g == 3) * cover)


def draw_necklace(canvas: Canvas, m: Measures, d: Measures, k: Measures) -> None:
    """Beads on a string around the neck, with a pendant."""
    w = View(canvas, 0.1, 0.72, 0.9, 1.0)
    x, y = w.body[0] - 0.5 * m.shear, w.body[1]
    line = 1.30 + 0.09 * d.neckline - 1.35 * x.square()
    bead = 0.020 + 0.014 * (x * 62.0).cos()
    string = torch.maximum((y - line).abs() / (1.0 + 1.6 * x.abs()) - bead, x.abs() - 0.37)
    pendant = circle(x, y - line - 0.05, 0.055)
    light = 0.9 + 0.5 * (x * 62.0 + 1.0).cos()
    cover = d.necklace * w.cover(torch.minimum(string, pendant))
    w.paint((k.metal * (0.55 + 0.40 * light).unsqueeze(1)).clamp_(0.0, 1.0), cover, 15)


def draw_earrings(canvas: Canvas, m: Measures, d: Measures, k: Measures, lobes: list) -> None:
    """A drop below each visible lobe."""
    w = canvas.box(-1.1, 0.1, 1.1, 0.75)
    for x0, y0, seen in lobes:
        x, y = w.x - x0, w.y - y0 - 0.03
        shape = torch.minimum(circle(x, y, 0.048), ellipse(x, y - 0.085, 0.034, 0.052))
        cover = d.earrings * (seen > 0.35) * w.cover(shape)
        shine = blob(x, y, 0.02 * m.pose.lx, -0.015, 0.05, 0.05)
        w.paint((k.metal * 0.82 + 0.6 * shine.unsqueeze(1)).clamp_(0.0, 1.0), cover, 9)


def draw_glasses(canvas: Canvas, m: Measures, d: Measures, k: Measures) -> None:
    """Frames, bridge and temples; sunglasses have dark lenses, the others a glint."""
    w = canvas.box(-1.0, -0.45, 1.0, 0.55)
    on = (d.glasses > 0).float()
    dark = d.glasses == 3
    grow = d.glasses_size
    thick = torch.where(d.glasses == 2, 0.024, 0.018)
    frames, lenses = [], []
    for e in m.eyes:
        rx, ry = e.w * grow, e.full * grow * torch.where(d.glasses == 2, 0.78, 0.98)
        x, y = w.x - e.x - e.side * 0.015, w.y - e.y - 0.03
        corner = torch.where(d.glasses == 2, 0.06, torch.minimum(rx, ry) * 0.97)
        lens = box(x, y, rx, ry, corner)
        far = e.side * m.width + m.shear * 0.1
        arm = segment(w.x, w.y, e.x + e.side * rx, e.y - 0.02, far, e.y - 0.04) - thick
        frames.append(torch.minimum(lens.abs() - thick, arm))
        lenses.append(lens)
    left, right = m.eyes
    bridge = segment(w.x, w.y, left.x + left.w * grow, left.y, right.x - right.w * grow, right.y)
    frame = torch.minimum(torch.minimum(*frames), bridge - thick)
    glass = on * w.cover(torch.minimum(*lenses))
    tint = torch.where(dark, 0.90, 0.10)
    streak = (((w.x + w.y * 0.8) * 9.0).sin() * 2.0 - 1.2).clamp_(0.0, 1.0)
    shade = swatch(glass, 0.16, 0.12, 0.12)
    w.paint(torch.where(dark.unsqueeze(1), shade, k.frame * 0.3 + 0.6), tint * glass)
    w.paint(torch.ones_like(shade), torch.where(dark, 0.18, 0.22) * streak * glass)
    w.labels.masked_fill_((glass >= 0.5) & dark, 6)
    w.paint(k.frame, on * w.cover(frame), 6)


def draw_hat(canvas: Canvas, m: Measures, h: Measures, d: Measures, k: Measures) -> None:
    """A knitted beanie, a brimmed hat or a cap."""
    w = canvas.box(-1.35, -1.6, 1.35, 0.1)
    x, y, p = w.x - h.x, w.y, m.pose
    on = (d.hat > 0).float()
    side = m.width + h.side.clamp(min=0.0) + 0.05
    level = -0.50 + 0.40 * p.sin_pitch
    line = level + 0.10 * x.square()
    tall = 0.92 + h.top.clamp(min=0.05) + torch.where(d.hat == 2, 0.10, 0.0)
    dome = torch.maximum(ellipse(x, y + 0.17, side, tall), y - line)
    # shadow on the brow
    shade = w.cover(torch.maximum(y - line - 0.10, head_distance(m, w.x, y)), 0.14)
    w.paint(k.skin_shadow * 0.8, 0.5 * on * shade)
    nx, ny = x / side, (y + 0.17) / tall
    nz = (1.0 - nx * nx - ny * ny).clamp_(min=0.0).sqrt_()
    light = 0.30 + 0.85 * (nx * p.lx + ny * p.ly + nz * p.lz).clamp_(min=-0.2)
    rib = (x * 34.0 / (0.75 + 0.45 * nz)).sin()
    light += torch.where(d.hat == 1, 0.10, 0.0) * rib
    shadow = k.hat * swatch(light, 0.42, 0.38, 0.45)
    glow = (1.0 - k.hat) * 0.45
    colour = ramp(light, shadow, k.hat, glow)
    w.paint(colour, on * w.cover(dome), 18)
    band = torch.maximum(torch.maximum(y - line, line - 0.22 - y), x.abs() - side)
    band_colour = torch.where((d.hat == 1).unsqueeze(1), colour * 1.12 + 0.04, k.hat * 0.42)
    band_on = on * (d.hat != 3) * w.cover(dome) * w.cover(band)
    w.paint(band_colour.clamp(0.0, 1.0), band_on)
    # a brim all around, or a peak towards where the face looks
    brim = ellipse(x, y - line - 0.02 + 0.06 * x.square(), side + 0.38, 0.095)
    peak = ellipse(x - 0.60 * p.sin_yaw, y - level - 0.07, 0.62, 0.145)
    rim = torch.where(d.hat == 2, brim, torch.where(d.hat == 3, peak, 9.0))
    edge = 0.62 + 0.35 * ((line - y) / 0.10).clamp(-1.0, 1.0) + 0.2 * p.lx * x
    w.paint(ramp(edge, shadow, k.hat, glow), on * w.cover(rim), 18)
