"""What moves in a face: mouth, eyes and brows.

Each is a few curves over a coordinate t in [-1, 1] across the feature; what lies between two
curves is painted, and the landmarks are points of the same curves, so both are exact.
"""

import torch
from torch import Tensor

from .anatomy import Columns
from .canvas import Canvas, Measures, View, blob, circle, ellipse, segment, swatch

# t and the curve of landmarks 48-67: around the lips, then around the opening
MOUTH_POINTS = (
    (-1.0, 1), (-0.62, 0), (-0.26, 0), (0.0, 0), (0.26, 0), (0.62, 0), (1.0, 1), (0.62, 3),
    (0.30, 3), (0.0, 3), (-0.30, 3), (-0.62, 3), (-0.9, 1), (-0.45, 1), (0.0, 1), (0.45, 1),
    (0.9, 1), (0.45, 2), (0.0, 2), (-0.45, 2),
)


def draw_mouth(canvas: Canvas, m: Measures, k: Measures) -> list[tuple]:
    """Lips, mouth, teeth and tongue; landmarks 48-67."""
    w = canvas.box(-0.75, 0.30, 0.75, 1.05)
    mx, my, mw = m.mouth[0], m.mouth[1], m.mouth_w
    gape = 0.17 * m.open
    lift = 0.075 * m.smile

    def curves(t):
        q = (1.0 - t * t).clamp(min=-0.3)
        line = my + lift * (0.35 - t * t)
        bow = 0.80 + 0.55 * t * t - 0.25 * (1.0 - 5.0 * t * t).clamp(min=0.0)
        top = line - m.lips * q * bow
        under = line + gape * q
        low = under + m.lips * 1.18 * q * (1.0 + 0.25 * q)
        return top, line, under, low

    t = (w.x - mx) / mw
    top, line, under, low = curves(t)
    y = w.y
    ends = w.cover((t.abs() - 1.0) * mw)
    inside = w.strip(line - y, y - under) * ends
    upper = w.strip(top - y, y - line) * ends
    lower = w.strip(under - y, y - low) * ends
    dark = swatch(y, 0.24, 0.07, 0.08)
    w.paint(dark, inside, 11)
    tongue = ellipse(w.x - mx, y - my - gape - 0.03, mw * 0.6, gape * 0.55 + 1e-3)
    w.paint(swatch(y, 0.72, 0.33, 0.33), inside * w.cover(tongue, 0.02))
    teeth = w.cover(y - line - 0.062 * (1.0 - t * t).clamp(min=0.0).sqrt(), 0.01)
    shade = (1.0 - 0.25 * t.square().clamp(max=1.0)).unsqueeze(1)
    w.paint(swatch(y, 0.96, 0.93, 0.88) * shade, inside * teeth)
    glow = blob(w.x, y, mx + 0.06 * m.pose.lx, my + gape + m.lips * 0.62, mw * 0.55, m.lips * 0.6)
    w.paint(k.lip * 0.84, upper, 12)
    w.paint(k.lip * 0.95 + 0.30 * glow.unsqueeze(1), lower, 13)
    seam = torch.maximum((y - line).abs() - 0.008, (t.abs() - 1.04) * mw)
    w.paint(dark * 0.6 + 0.25 * k.lip, 0.8 * w.cover(seam, 0.008) * (1.0 - inside))

    places = [(torch.full_like(mx, place), curve) for place, curve in MOUTH_POINTS]
    return [(mx + at * mw, curves(at)[curve]) for at, curve in places]


def draw_eye(canvas: Canvas, c: Columns, m: Measures, k: Measures, e: Measures) -> list[tuple]:
    """One eye: white, iris, catch-light, lids; six landmarks, clockwise from the left."""
    w = canvas.box(*((-0.85, -0.42, 0.45, 0.42) if e.side < 0 else (-0.45, -0.42, 0.85, 0.42)))
    x, y = w.x - e.x, w.y - e.y

    def lids(t):
        q = (1.0 - t * t) * (1.0 + 0.4 * t * t)
        base = -m.eye_tilt * e.side * e.w * t
        return base - e.up * q, base + e.low * q

    t = x / e.w
    top, low = lids(t.clamp(-1.25, 1.25))
    eye = w.cover(torch.maximum(top - y, y - low) * 0.85)
    white = swatch(eye, 0.97, 0.95, 0.92)
    shade = (1.0 - 0.26 * t.square().clamp(max=1.0)
             - 0.30 * (1.0 - (y - top) / (0.62 * e.full)).clamp(0.0, 1.0))
    w.paint(white * shade.unsqueeze(1), eye, 4 if e.side < 0 else 5)
    gx = 0.34 * e.w * (2.0 * c("gaze_x") - 1.0) + 0.10 * e.w * m.pose.sin_yaw
    gy = -0.06 * e.full + 0.20 * e.full * (c("gaze_y") - 0.5)
    r = e.full * 0.50
    squeeze = (e.w / e.full).clamp(max=1.0) * 0.6 + 0.4
    ix, iy = (x - gx) / squeeze, y - gy
    d = (ix * ix + iy * iy).sqrt_()
    iris = eye * w.cover(d - r)
    depth = (0.45 + 0.75 * (1.0 - (d / r - 0.62).abs() * 1.7).clamp(0.0, 1.0)
             + 0.5 * (iy / r).clamp(-1.0, 1.0))
    w.paint((k.eye * depth.unsqueeze(1)).clamp_(0.0, 1.0), iris)
    w.paint(white * 0.05, iris * w.cover(d - r * 0.46))
    lid_shadow = (1.0 - (y - top) / (0.28 * e.full)).clamp(0.0, 1.0)
    w.paint(k.skin_shadow * 0.4, 0.45 * eye * lid_shadow)
    spark = circle(x - gx - 0.40 * r * m.pose.lx - 0.1 * r, iy + 0.36 * r, 0.26 * r)
    w.paint(torch.ones_like(white), eye * w.cover(spark))
    w.paint(white, 0.45 * eye * w.cover(circle(x - gx + 0.35 * r, iy - 0.45 * r, 0.15 * r)))
    draw_lids(w, m, k, e, top, low)
    around = ((-1.0, 0), (-0.4, 0), (0.4, 0), (1.0, 0), (0.4, 1), (-0.4, 1))
    places = [(torch.full_like(e.x, place), lid) for place, lid in around]
    return [(e.x + at * e.w, e.y + lids(at)[lid]) for at, lid in places]


def draw_lids(w: View, m: Measures, k: Measures, e: Measures, top: Tensor, low: Tensor) -> None:
    """Lash line, crease and lower lid; the lids' curves count from the eye's centre."""
    t, y = (w.x - e.x) / e.w, w.y - e.y
    lash = k.hair_shadow * 0.35
    outward = (t * e.side).clamp(-1.0, 1.2)
    thick = (0.014 + 0.016 * m.fem) * (0.75 + 0.45 * outward)
    ends = (t.abs() - 1.06) * e.w
    line = torch.maximum((y - top).abs() - thick, ends)
    cover = w.cover(line, 0.006)
    w.paint(lash, 0.92 * cover)
    w.labels.masked_fill_(cover >= 0.5, 4 if e.side < 0 else 5)
    # lashes sweep out past the corner
    flick = segment(w.x, w.y, e.x + e.side * e.w * 0.92, e.y - m.eye_tilt * e.w,
                    e.x + e.side * e.w * 1.20, e.y - (m.eye_tilt + 0.22) * e.w)
    w.paint(lash, (1.3 * (m.fem - 0.45).clamp(min=0.0)) * w.cover(flick - 0.010, 0.012))
    crease = torch.maximum((y - top + 0.052 + 0.014 * m.age).abs() - 0.006, ends)
    w.paint(k.skin_shadow * 0.85, 0.5 * w.cover(crease, 0.022))
    lower = torch.maximum((y - low).abs() - 0.004, ends + 0.02)
    w.paint(k.skin_shadow * 0.7, 0.5 * w.cover(lower, 0.016))


def draw_brow(canvas: Canvas, k: Measures, b: Measures) -> list[tuple]:
    """One eyebrow; five landmarks from the inner to the outer end."""
    w = canvas.box(*((-0.9, -0.6, 0.5, 0.15) if b.side < 0 else (-0.5, -0.6, 0.9, 0.15)))
    length = b.xo - b.xi

    def arc(s):
        return b.yi + (b.yo - b.yi) * s - b.arch * (4.0 * s * (1.0 - s)) * (0.8 + 0.3 * s)

    s = (w.x - b.xi) / length
    inside = s.clamp(-0.1, 1.1)
    thick = b.thick * (1.0 - 0.62 * inside) * (0.8 + 1.2 * inside.clamp(max=0.17))
    d = torch.maximum((w.y - arc(inside)).abs() - thick,
                      ((s - 0.5).abs() - 0.5) * length.abs())
    cover = w.cover(d, 0.012)
    w.paint(torch.lerp(k.hair_shadow, k.hair, 0.22), 0.88 * cover)
    w.labels.masked_fill_(cover >= 0.5, 2 if b.side < 0 else 3)
    places = [torch.full_like(b.xi, part) for part in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return [(b.xi + s * length, arc(s)) for s in places]
