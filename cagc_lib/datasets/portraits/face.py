"""The still part of a face: neck, ears, the head with its shading, the nose.

Each function takes the canvas, the measures `m` (see `measure`) and the colours, paints one
feature and returns its landmarks in head units where it has any. Skin is shaded through one scalar
light field: a Lambert term on the ellipsoid plus soft spots for sockets, cheeks, lips and folds.
"""

import torch
from torch import Tensor

from .anatomy import Columns, Pose
from .canvas import Canvas, Measures, View, blob, circle, ellipse, ramp, segment, swatch

JAW_HEIGHTS = (0.0, 0.2, 0.38, 0.55, 0.70, 0.82, 0.91, 0.975, 1.0)


def measure(c: Columns, pose: Pose) -> Measures:
    """The measures of one face, all [n, 1, 1] in head units."""
    fem = c("presentation")
    m = Measures(pose=pose, fem=fem, age=c("age"))
    m.width = c("face_width", 0.72, 0.82)
    m.square = c("jaw", 0.02, 0.62) * (1.0 - 0.5 * fem)
    m.taper = c("chin", 0.10, 0.30) + 0.05 * fem
    m.smile = 1.5 * c("smile") - 0.4
    m.open = ((c("mouth_open") - 0.42) / 0.58).clamp(min=0.0)
    m.shear = 0.15 * pose.sin_yaw
    # eyes: five widths across the head, halfway down, a little larger than life
    spacing = m.width * c("eye_spacing", 0.40, 0.455)
    half = m.width * c("eye_size", 0.212, 0.265) * (1.0 + 0.06 * fem)
    wide = c("eye_openness", 0.55, 1.25) * (1.0 - 0.12 * m.smile.clamp(min=0))
    m.eye_tilt = c("eye_tilt", -0.10, 0.16)
    m.eyes, m.brows = [], []
    for side in (-1.0, 1.0):
        ex, ey, shrink = pose.project(side * spacing, 0.02, 0.02)
        m.eyes.append(Measures(
            side=side, x=ex, y=ey, w=half * shrink, up=half * 0.59 * wide,
            low=half * (0.36 - 0.07 * m.smile.clamp(min=0)) * (0.6 + 0.4 * wide), full=half))
        lift = -0.235 - 0.075 * (c("brow_raise") - 0.4) - 0.03 * wide
        inner, outer = spacing - 0.72 * half / 0.85, spacing + 1.28 * half / 0.9
        tilt = 0.085 * (c("brow_tilt") - 0.5)
        xi, yi, _ = pose.project(side * inner, lift + 0.022 + tilt, 0.05)
        xo, yo, _ = pose.project(side * outer, lift + 0.05 - tilt, 0.0)
        m.brows.append(Measures(
            side=side, xi=xi, yi=yi, xo=xo, yo=yo, arch=c("brow_arch", 0.05, 0.115),
            thick=c("brow_thickness", 0.026, 0.058) * (1.0 - 0.38 * fem)))
    m.nose_y = c("nose_length", 0.38, 0.49)
    m.nose_w = c("nose_width", 0.125, 0.195) * (1.0 - 0.12 * fem)
    m.bridge = pose.project(0.0, -0.04, 0.05)
    m.tip = pose.project(0.0, m.nose_y - 0.05, 0.20)
    m.base = pose.project(0.0, m.nose_y, 0.11)
    m.mouth_y = m.nose_y + 0.20 + 0.01 * m.open
    m.mouth = pose.project(0.0, m.mouth_y, 0.04)
    m.mouth_w = c("mouth_width", 0.215, 0.30) * (1.0 + 0.20 * m.smile.clamp(min=0)) * m.mouth[2]
    m.lips = c("lip_fullness", 0.035, 0.078) * (0.85 + 0.3 * fem)
    m.ear = c("ear_size", 0.17, 0.24)
    return m


def half_width(m: Measures, y: Tensor) -> tuple[Tensor, Tensor]:
    """Half the head's reference width at height y, and its derivative: an egg below the eyes."""
    low = y.clamp(min=0.0)
    return m.width * (1.0 - m.taper * low * low), -2.0 * m.width * m.taper * low


def head_distance(m: Measures, x: Tensor, y: Tensor, grow: float | Tensor = 0.0) -> Tensor:
    """First-order signed distance to the head's outline."""
    reach, slope = half_width(m, y)
    p = (x - m.shear * y) / reach
    low = y.clamp(min=0.0)
    y2, l2 = y * y, low * low
    value = p * p + y2 - m.square * l2 * (1.0 - l2) - 1.0
    gx = 2.0 * p / reach
    gy = 2.0 * y - m.square * (2.0 * low - 4.0 * l2 * low) - gx * (p * slope + m.shear)
    return value / ((gx * gx + gy * gy).sqrt_() + 1e-3) - grow


def jaw_landmarks(m: Measures) -> list[tuple[Tensor, Tensor]]:
    """Landmarks 0-16 on the drawn outline, from the left ear over the chin to the right."""
    y = m.width.new_tensor(JAW_HEIGHTS).view(1, -1, 1).expand(len(m.width), -1, 1)
    rest = 1.0 - y * y + m.square * y * y * (1.0 - y * y)
    reach = half_width(m, y)[0] * rest.clamp(min=0.0).sqrt()
    left, right = m.shear * y - reach, m.shear * y + reach
    return [(left, y), (right[:, :-1].flip(1), y[:, :-1].flip(1))]


def lambert(m: Measures, x: Tensor, y: Tensor, rx: Tensor | float, ry: float) -> Tensor:
    """Light in about [0.2, 1.2] on an ellipsoid with half axes rx, ry."""
    nx, ny = x / rx, y / ry
    nz = (1.0 - nx * nx - ny * ny).clamp_(min=0.0).sqrt_()
    p = m.pose
    return 0.34 + 0.74 * (nx * p.lx + ny * p.ly + nz * p.lz).clamp_(min=-0.2)


def draw_neck(canvas: Canvas, m: Measures, k: Measures) -> None:
    """Neck and the top of the chest, with the head's shadow on it."""
    w = canvas.box(-1.0, 0.55, 1.0, 2.2)
    half = 0.37 + 0.09 * (1.0 - m.fem) + 0.9 * (w.y - 1.18).clamp(min=0.0).square()
    x = w.x - (m.shear * 0.7 - m.pose.sin_roll * (w.y - 1.0))
    light = lambert(m, x, x * 0.0, half + 0.06, 1.0)
    light -= 0.55 * blob(w.x, w.y, m.shear - 0.1 * m.pose.lx, 0.98, 0.75, 0.42)
    light -= 0.10 * blob(x.abs(), w.y, 0.12, 1.45, 0.05, 0.30)
    w.paint(ramp(light, k.skin_shadow, k.skin, k.skin_glow), w.cover(x.abs() - half), 14)


def draw_ears(canvas: Canvas, m: Measures, k: Measures) -> list[tuple]:
    """Both ears; returns the lobes (x, y) and how visible each is, for earrings."""
    lobes = []
    w = canvas.box(-1.0, -0.35, 1.0, 0.62)
    for side, label in ((-1.0, 7), (1.0, 8)):
        hide = (side * m.pose.sin_yaw).clamp(min=0.0)
        show = (-side * m.pose.sin_yaw).clamp(min=0.0)
        x0 = side * (m.width * 0.985 + 0.035 - 0.32 * hide + 0.02 * show)
        y0 = 0.13 - 0.27 * m.pose.sin_pitch
        x, y = w.x - x0 - side * 0.16 * (y0 - w.y), w.y - y0
        rx = 0.095 + 0.05 * show
        d = ellipse(x, y, rx, m.ear + 0.02)
        light = 0.62 + 0.35 * side * m.pose.lx - 0.35 * blob(x, y, -side * 0.02, 0.0, 0.07, 0.15)
        w.paint(ramp(light, k.skin_shadow, k.skin, k.skin_glow), w.cover(d), label)
        rim = ellipse(x, y, rx * 0.55, m.ear * 0.62).abs() - 0.008
        w.paint(k.skin_shadow, 0.55 * w.cover(rim, 0.02))
        lobes.append((x0 - side * 0.02, y0 + m.ear + 0.02, 1.0 - 3.0 * hide))
    return lobes


def skin_light(w: View, m: Measures) -> Tensor:
    """The light field of the face, [n, h, w]."""
    p, x, y = m.pose, w.x, w.y
    light = lambert(m, x - m.shear * y, y, m.width * 1.05, 1.08)
    for e in m.eyes:
        light -= 0.20 * blob(x, y, e.x - e.side * 0.03, e.y - 0.07, 0.27, 0.19)
        light -= (0.10 + 0.16 * m.age) * blob(x, y, e.x, e.y + 0.115, 0.20, 0.075)
        cheek_x, cheek_y, _ = p.project(e.side * 0.40, 0.32)
        lit = 0.10 + 0.14 * (e.side * p.lx).clamp(min=-0.5) + 0.06 * m.smile
        light += lit * blob(x, y, cheek_x, cheek_y - 0.03, 0.24, 0.17)
        # the fold from nose to mouth deepens with smile and age
        fold = segment(x, y, m.base[0] + e.side * (m.nose_w + 0.03), m.base[1] - 0.02,
                       m.mouth[0] + e.side * (m.mouth_w + 0.075), m.mouth[1] - 0.03)
        depth = 0.05 + 0.12 * m.smile.clamp(min=0.0) + 0.22 * (m.age - 0.35).clamp(min=0.0)
        light -= depth * (1.0 - fold / 0.055).clamp_(min=0.0)
    forehead = p.project(0.0, -0.5)
    light += 0.10 * blob(x, y, forehead[0] + 0.15 * p.lx, forehead[1], 0.45, 0.30)
    lines = ((y - 0.05 * x * x) * 46.0).sin().clamp_(min=0.0)
    lined = lines * blob(x, y, forehead[0], forehead[1] + 0.1, 0.5, 0.22)
    light -= 0.26 * (m.age - 0.45).clamp(min=0.0) * lined
    # below the lower lip, on the chin, under the jaw
    my = m.mouth[1] + m.lips * 1.5 + 0.10 * m.open
    light -= 0.17 * blob(x, y, m.mouth[0], my + 0.055, 0.22, 0.07)
    light += 0.10 * blob(x, y, m.mouth[0] + 0.05 * p.lx, my + 0.17, 0.17, 0.12)
    return light


def draw_head(canvas: Canvas, c: Columns, m: Measures, k: Measures) -> None:
    """The head and everything that is only shading on it."""
    w = canvas.box(-1.0, -1.05, 1.0, 1.08)
    x, y = w.x, w.y
    light = skin_light(w, m)
    light += nose_light(w, m)
    colour = ramp(light, k.skin_shadow, k.skin, k.skin_glow)
    rosy = torch.zeros_like(light)
    for e in m.eyes:
        cheek_x, cheek_y, _ = m.pose.project(e.side * 0.42, 0.34)
        rosy += blob(x, y, cheek_x, cheek_y, 0.27, 0.20)
    rosy += 0.6 * blob(x, y, m.tip[0], m.tip[1], 0.17, 0.14)
    rosy *= c("blush", 0.10, 0.62)
    tint = k.skin * swatch(light, 1.02, 0.66, 0.62)
    colour = torch.lerp(colour, tint, rosy.unsqueeze(1).expand_as(colour))
    w.paint(colour, w.cover(head_distance(m, x, y)), 1)


def nose_light(w: View, m: Measures) -> Tensor:
    """Bridge, tip and side planes of the nose as light to add."""
    p, x, y = m.pose, w.x, w.y
    along = ((y - m.bridge[1]) / (m.tip[1] - m.bridge[1])).clamp(0.0, 1.15)
    ridge = m.bridge[0] + (m.tip[0] - m.bridge[0]) * along
    width = 0.075 + (m.nose_w - 0.055) * along * along
    t = (x - ridge) / width
    fade = blob(y, y, (m.bridge[1] + m.tip[1]) * 0.5 + 0.06, 0.0, 0.42, 1e6)
    # the side turned from the light falls into shade, the ridge catches it
    side = (1.0 - ((t.abs() - 0.95) / 0.75).square()).clamp_(min=0.0)
    away = -t.clamp(-1.0, 1.0) * (p.lx - 0.7 * p.sin_yaw)
    field = fade * (-0.12 * side - 0.34 * side * away.clamp(min=-0.25))
    field += 0.21 * fade * (1.0 - t.square() * 3.0).clamp_(min=0.0)
    field += 0.24 * blob(x, y, m.tip[0] + 0.03 * p.lx, m.tip[1] - 0.02, 0.085, 0.08)
    # ball shadow under the tip
    field -= 0.24 * blob(x, y, m.base[0] - 0.07 * p.lx, m.base[1] + 0.05, m.nose_w * 1.25, 0.09)
    return field


def draw_nose(canvas: Canvas, m: Measures, k: Measures) -> list[tuple]:
    """Wings and nostrils over the shading; labels the nose; landmarks 27-35."""
    w = canvas.box(-0.75, -0.35, 0.75, 0.75)
    x, y = w.x, w.y
    (x0, y0, _), (x1, y1, _), (bx, by, _) = m.bridge, m.tip, m.base
    along = ((y - y0) / (by - y0)).clamp(0.0, 1.0)
    ridge = x0 + (x1 - x0) * along
    width = 0.065 + (m.nose_w - 0.065) * along * along
    bridge = torch.maximum((x - ridge).abs() - width, (y - by).maximum(y0 - y))
    ball = ellipse(x - bx * 0.6 - x1 * 0.4, y - by + 0.055, m.nose_w, 0.085)
    nose = w.cover(torch.minimum(bridge, ball))
    w.paint(k.skin * 0.97, 0.10 * nose)
    w.labels.masked_fill_(nose >= 0.5, 10)
    for side in (-1.0, 1.0):
        wing_x = bx + side * m.nose_w * 0.93
        edge = circle(x - wing_x + side * 0.065, y - by + 0.06, 0.07).abs() - 0.008
        edge = torch.maximum(edge, side * (wing_x - side * 0.06 - x))
        w.paint(k.skin_shadow, 0.6 * w.cover(edge, 0.018))
        nostril = ellipse(x - bx - side * m.nose_w * 0.45, y - by + 0.005, 0.042, 0.019)
        w.paint(k.skin_shadow * 0.72, 0.85 * w.cover(nostril, 0.01))
    points = [(x0 + (x1 - x0) * part, y0 + (y1 - y0) * part) for part in (0.0, 0.33, 0.66, 1.0)]
    wings = (-1.0, -0.5, 0.0, 0.5, 1.0)
    return points + [(bx + t * m.nose_w * 0.8, by + 0.012 * (1 - t * t)) for t in wings]
