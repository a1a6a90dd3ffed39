"""Backgrounds: one of ten scenes and seven pieces of clutter, out of focus behind the person.

A scene paints its stage from image coordinates and its columns; only the rows that show it are
computed. Colours mix three tones of the image's own, so that a background holds together. Patterns
are sines and distances, smooth in the parameters, never noise per pixel. A portrait lens then blurs
the whole scene: what is left can be learned, and looks as photographs do.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .anatomy import ITEMS, Columns, choose, palette
from .canvas import Canvas, View, blob, box, circle, defocus, ellipse, swatch

ROOM = ((0.86, 0.80, 0.70), (0.55, 0.64, 0.58), (0.33, 0.45, 0.52), (0.24, 0.27, 0.38),
        (0.52, 0.36, 0.44), (0.78, 0.48, 0.38), (0.90, 0.72, 0.48), (0.70, 0.74, 0.76))
PROPS = ((0.20, 0.24, 0.34), (0.72, 0.34, 0.24), (0.93, 0.83, 0.62), (0.25, 0.44, 0.36),
         (0.88, 0.62, 0.26), (0.42, 0.56, 0.66), (0.50, 0.28, 0.34), (0.96, 0.93, 0.86))
LEAVES = ((0.12, 0.26, 0.18), (0.25, 0.42, 0.22), (0.50, 0.58, 0.26), (0.80, 0.68, 0.30))
# Blur of the lens, a standard deviation in image units, from a small to a wide aperture. Nothing
# finer than FOCUS survives it, so larger images scale their background up from there.
SHARP, SOFT = 0.012, 0.035
FOCUS = 128


def wave(t: Tensor) -> Tensor:
    """A sine in [0, 1]."""
    return t.sin().mul_(0.5).add_(0.5)


def cells(t: Tensor, middle: float = 0.5) -> tuple[Tensor, Tensor]:
    """Number of the unit cell that t lies in, and t counted from the cell's middle."""
    cell = t.floor()
    return cell, t - cell - middle


class Stage(View):
    """A whole canvas with what a scene reads: its columns and three tones."""

    def __init__(self, canvas: Canvas, c: Columns):
        super().__init__(canvas, 0.0, 0.0, 1.0, 1.0)
        self.c = c
        self.phase = 6.2832 * c("phase")
        self.zoom = c("zoom")
        dim = c("shade", 0.55, 1.12).unsqueeze(1)
        self.a = (palette(c("hue_a"), ROOM) * dim).clamp(0, 1)
        self.b = (palette(c("hue_b"), PROPS) * (0.45 + 0.55 * dim)).clamp(0, 1)
        self.d = palette(c("hue_c"), ROOM)

    def wash(self, top: Tensor, bottom: Tensor) -> None:
        """Fill the stage with a gradient down the frame, tilted by the angle column."""
        t = self.v + (self.c("angle") - 0.5) * 0.8 * (self.u - 0.5)
        self.rgb[:] = torch.lerp(top, bottom, t.clamp(0, 1).unsqueeze(1))


def panelled(s: Stage) -> None:
    """A wall with broad stripes, a dado rail and a skirting."""
    s.wash(s.a, s.a * 0.8)
    stripes = s.cover(((s.u * (24.0 + 40.0 * s.zoom) + s.phase).sin() - 0.2) * 0.02)
    s.paint(s.d, 0.55 * stripes)
    rail = s.c("shift", 0.45, 0.75)
    low = s.cover(rail - s.v)
    s.paint(s.b * 0.85, low)
    panels = s.cover(((s.u * 30.0 + s.phase).sin().abs() - 0.25) * 0.03) * low
    s.paint(s.b * 0.6, 0.5 * panels)
    s.paint(s.d, s.cover((s.v - rail).abs() - 0.012))


def bricks(s: Stage) -> None:
    """Running-bond brickwork."""
    row, y = cells(s.v * (9.0 + 9.0 * s.zoom) + s.c("shift"))
    column, x = cells(s.u * (4.0 + 4.0 * s.zoom) + 0.5 * row + s.c("phase"))
    tone = wave(column * 2.4 + row * 4.1 + s.phase)
    base = torch.lerp(swatch(s.a, 0.66, 0.36, 0.27), s.a, s.c("contrast").unsqueeze(1))
    s.rgb[:] = base * (0.78 + 0.34 * tone.unsqueeze(1))
    joint = torch.maximum(x.abs() - 0.455, (y.abs() - 0.41) * 0.5)
    cover = (0.5 + joint * (s.k / 6.0)).clamp_(0.0, 1.0)
    s.paint(s.d * 0.5 + 0.4, 0.8 * cover)


def shelves(s: Stage) -> None:
    """A bookcase."""
    count = 3.0 + 2.5 * s.zoom
    row, y = cells(s.v * count + s.c("shift"), 0.0)
    book, x = cells(s.u * (11.0 + 7.0 * s.zoom) + row * 0.37 + s.c("phase"))
    pick = book * 2.4 + row * 1.3 + s.phase
    height = 0.22 + 0.22 * wave(pick * 1.7)
    tone = s.a + wave(pick).unsqueeze(1) * (s.b - s.a)
    tone = tone + wave(pick * 2.3 + 1.0).unsqueeze(1) * (s.d - s.a)
    s.rgb[:] = tone * (1.06 - 0.9 * x.square()).unsqueeze(1)
    band = s.cover(((y - 0.62).abs() - 0.05) / count) * (pick.cos() > 0.1)
    s.paint(s.d * 0.6 + 0.35, 0.8 * band)
    s.paint(s.a * 0.25, s.cover((0.47 - x.abs()) / 14.0))
    s.paint(s.a * 0.22, s.cover((y - height) / count))
    wood = swatch(s.a, 0.45, 0.29, 0.18) * (0.6 + 0.6 * s.c("shade").unsqueeze(1))
    s.paint(wood, s.cover((y - 0.09) / count))


def bokeh(s: Stage) -> None:
    """Lights out of focus in the dusk."""
    s.wash(s.a * 0.30, s.b * 0.45)
    for i in range(11):
        x = wave(s.phase * (1.0 + 0.13 * i) + 2.4 * i) * 1.1 - 0.05
        y = wave(s.c("shift") * 4.0 + 1.7 * i) * 0.95
        radius = 0.035 + 0.075 * wave(s.zoom * 5.0 + 2.1 * i)
        tone = wave(s.phase + 1.1 * i)
        glow = torch.lerp(s.d, swatch(s.a, 1.0, 0.78, 0.45), tone.unsqueeze(1))
        d = circle(s.u - x, s.v - y, radius)
        s.paint(glow, s.cover(d, 0.012) * (0.42 + 2.7 * (d + radius)).clamp(max=0.75))


def foliage(s: Stage) -> None:
    """Leaves over leaves."""
    deep, light = palette(s.c("hue_a") * 0.4, LEAVES), palette(0.45 + 0.55 * s.c("hue_b"), LEAVES)
    s.wash(torch.lerp(deep, light, 0.4), deep * 0.5)
    for i in range(15):
        x = wave(s.phase * (1.0 + 0.1 * i) + 2.4 * i) * 1.1 - 0.05
        y = wave(s.c("shift") * 5.0 + 3.1 * i) * 1.05 - 0.03
        turn = s.c("angle") * 3.0 + 1.9 * i
        cos, sin = turn.cos(), turn.sin()
        dx, dy = s.u - x, s.v - y
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        size = 0.10 + 0.07 * s.zoom + 0.03 * wave(s.phase + i)
        d = ellipse(along, across, size, size * 0.42)
        leaf = torch.lerp(deep, light, wave(s.phase + 2.2 * i).unsqueeze(1))
        cover = s.cover(d)
        s.paint(leaf, cover)
        s.paint(leaf * 1.35, 0.55 * cover * s.cover(across.abs() - 0.004, 0.004))
        s.paint(leaf * 0.55, 0.5 * cover * s.cover(-across - 0.02, 0.05))


def window(s: Stage) -> None:
    """A window onto sky and hills, with curtains."""
    s.wash(s.a, s.a * 0.78)
    middle = s.c("shift", 0.05, 0.95)
    x, y = s.u - middle, s.v - s.c("angle", 0.25, 0.40)
    rx, ry = s.c("zoom", 0.22, 0.42), 0.34
    pane = s.cover(box(x, y, rx, ry))
    low = ((s.v + 0.2) * s.c("contrast", 0.5, 1.5)).clamp(0, 1).unsqueeze(1)
    sky = torch.lerp(swatch(s.a, 0.62, 0.80, 0.90), swatch(s.a, 1.0, 0.88, 0.70), low)
    s.paint(sky, pane)
    hill = s.cover(0.42 + 0.07 * (s.u * 7.0 + s.phase).sin() - s.v)
    s.paint(palette(s.c("hue_c"), LEAVES), pane * hill)
    bars = torch.minimum(box(x, y, rx, ry).abs() - 0.018,
                         torch.minimum(x.abs(), (y + 0.04).abs()) - 0.009)
    s.paint(s.a * 0.15 + 0.80, s.cover(torch.maximum(bars, box(x, y, rx, ry) - 0.018)))
    fold = wave(s.u * 85.0 + s.phase)
    side = torch.maximum((x.abs() - rx - 0.05).abs() - 0.065, y.abs() - ry - 0.08)
    s.paint(s.b * (0.7 + 0.4 * fold.unsqueeze(1)), s.cover(side))


def city(s: Stage) -> None:
    """Buildings with lit windows against the evening."""
    s.wash(s.d * 0.75, swatch(s.a, 0.98, 0.72, 0.50))
    for depth, scale in ((0.0, 9.0), (1.0, 5.5)):
        block, x = cells(s.u * (scale + 2.0 * s.zoom) + s.c("phase") * 3.0 + depth * 0.4, 0.0)
        top = 0.10 + 0.22 * depth + 0.38 * wave(block * 2.4 + s.phase + depth)
        house = s.cover(torch.maximum(top - s.v, ((x - 0.5).abs() - 0.46) / scale))
        tone = torch.lerp(s.a, s.b, 0.35 + 0.3 * depth) * (0.62 - 0.20 * depth)
        s.paint(tone, house)
        wx, wy = (x * 18.85).sin(), ((s.v - top) * (62.0 - 14.0 * depth)).sin()
        lit = (torch.minimum(wx, wy) * 2.5 - 0.6).clamp(0.0, 1.0)
        lit = lit * (0.35 + 0.65 * wave(block * 3.0 + (s.v * 9.0 + s.phase).floor() * 2.1))
        s.paint(swatch(s.a, 1.0, 0.83, 0.50), 0.85 * lit * house)


def hills(s: Stage) -> None:
    """Hills before a low sun."""
    warm = swatch(s.a, 1.0, 0.80, 0.56)
    s.wash(torch.lerp(s.d, warm, 0.2), warm)
    sun = circle(s.u - s.c("angle"), s.v - s.c("contrast", 0.1, 0.4), 0.05 + 0.06 * s.zoom)
    s.paint(warm * 0.3 + 0.7, s.cover(sun, 0.01))
    for i in range(4):
        swell = (s.u * (6.0 + 2.3 * i) + s.phase * (1 + i)).sin()
        crest = 0.30 + 0.15 * i + (0.10 - 0.012 * i) * swell
        crest = crest + 0.02 * (s.u * (26.0 + 7 * i) + s.phase).sin()
        tone = torch.lerp(s.d, s.b, 0.25 + 0.25 * i) * (0.95 - 0.13 * i)
        s.paint(tone, s.cover(crest - s.v))
    trees = (s.u * 60.0 + s.phase).sin() * 0.05 + (s.u * 23.0).sin() * 0.04
    s.paint(s.b * 0.35, s.cover(0.80 + trees - s.v))


def tiles(s: Stage) -> None:
    """Patterned wallpaper: discs and diamonds on a turned lattice."""
    turn = s.c("angle") * 1.57
    cos, sin = turn.cos(), turn.sin()
    scale = 5.0 + 5.0 * s.zoom
    i, x = cells((s.u * cos + s.v * sin) * scale + s.c("phase"))
    j, y = cells((s.v * cos - s.u * sin) * scale + s.c("shift"))
    s.wash(s.a, s.a * 0.82)
    s.paint(s.d, 0.7 * (i + j).remainder(2.0))
    star = torch.lerp(circle(x, y, 0.30), x.abs() + y.abs() - 0.42, s.c("contrast"))
    s.paint(s.b, s.cover(star / scale))
    s.paint(s.d * 0.7 + 0.2, s.cover(circle(x, y, 0.13) / scale))


def lettering(s: Stage) -> None:
    """A board or poster wall with rows of text-like marks."""
    s.wash(s.a * 0.55, s.a * 0.40)
    row, y = cells(s.v * (10.0 + 6.0 * s.zoom) + s.c("shift"))
    letters = s.u * 52.0 + row * 5.3
    words = (s.u * (9.0 + 4.0 * s.c("contrast")) + row * 2.7 + s.phase).sin()
    tall = 0.15 + 0.10 * wave(letters * 0.9 + row)
    marks = torch.maximum(y.abs() - tall, (0.5 - (letters * 1.7).sin().abs()) * 0.12)
    ink = (0.5 - marks * (s.k / 14.0)).clamp(0.0, 1.0) * (words * 6.0 + 1.0).clamp(0.0, 1.0)
    s.paint(s.d * 0.4 + 0.50, 0.7 * ink)
    head = (wave(row * 2.0 + s.phase) * 3.0 - 2.0).clamp(0.0, 1.0)
    head = head * (0.5 - (y.abs() - 0.38) * 12.0).clamp(0.0, 1.0)
    s.paint(s.b, 0.7 * head * (words > -0.9))


SCENES: tuple[Callable[[Stage], None], ...] = (
    panelled, bricks, shelves, bokeh, foliage, window, city, hills, tiles, lettering)


def draw_items(canvas: Canvas, c: Columns) -> None:
    """Seven things in the room: pictures, notices, balls, lamps and plants."""
    sides = View(canvas, 0.0, 0.0, 0.53, 1.0), View(canvas, 0.47, 0.0, 1.0, 1.0)
    for i in range(ITEMS):
        g = lambda name, low=0.0, high=1.0, i=i: c(f"item{i}_{name}", low, high)  # noqa: E731
        w = sides[i % 2]
        kind = choose(g("kind"), (1.6, 0.6, 0.7, 0.9, 1.2, 1.0))
        x0 = g("x", -0.02, 0.34) if i % 2 == 0 else g("x", 0.66, 1.02)
        x, y = w.u - x0, w.v - g("y", 0.03, 0.85)
        size = g("size", 0.05, 0.13)
        rx, ry = size * g("aspect", 0.7, 1.3), size
        flat = box(x, y, rx, ry, 0.008)
        up = y + 0.25 * ry
        lean, low = (up - ry) * 0.55, up + 0.1 * ry
        leaf = torch.minimum(ellipse(x + lean, low, rx * 0.26, ry),
                             torch.minimum(ellipse(x - lean, low, rx * 0.26, ry),
                                           ellipse(x, up + 0.35 * ry, rx * 0.27, ry)))
        lamp = torch.maximum(x.abs() - rx * (0.7 + 0.5 * y / ry), y.abs() - ry * 0.8)
        d = torch.where(kind <= 1, flat, torch.where(kind == 2, circle(x, y, ry * 0.8),
                        torch.where(kind == 3, lamp, torch.where(kind == 4, leaf, flat + 9.0))))
        colour = palette(g("hue"), PROPS)
        colour = torch.where((kind == 4).unsqueeze(1), palette(g("hue"), LEAVES), colour)
        # a soft shadow on the wall lifts the thing off it
        w.paint(colour * 0.15, 0.35 * w.cover(d + 0.01, 0.05))
        cover = w.cover(d)
        w.paint(colour, cover)
        ball = blob(x, y, -0.3 * ry, -0.3 * ry, ry, ry) * (kind >= 2)
        w.paint(colour * 0.3 + 0.7, 0.7 * ball * cover)
        inset = w.cover(d + 0.22 * size) * (kind <= 1)
        w.paint(colour * 0.25 + 0.68, inset)
        marks = ((y * (460.0 - 900.0 * size)).sin() - 0.1) * ((x * 95.0 + size * 90.0).sin() + 0.8)
        hill = (y + 0.3 * ry * (x / rx * 2.6 + size * 60.0).sin()) * 60.0
        inner = torch.where(kind == 0, hill, marks * 2.0).clamp(0.0, 1.0)
        w.paint(colour * 0.55, 0.85 * inset * inner)
        pot = torch.maximum(x.abs() - rx * (0.87 - 0.25 * y / ry), (y - ry).abs() - 0.4 * ry)
        clay = swatch(x, 0.74, 0.42, 0.28) * (1.0 - 3.0 * x).unsqueeze(1)
        w.paint(clay, w.cover(pot) * (kind == 4))


def draw_scene(canvas: Canvas, params: Tensor, c: Columns) -> Tensor:
    """Fill the canvas with each row's scene and its clutter, out of focus; returns which scene."""
    size = min(canvas.resolution, FOCUS)
    background = Canvas(len(params), size, params.device)
    kinds = choose(c("scene"), (1.0,) * len(SCENES)).flatten()
    for kind in kinds.unique().tolist():
        rows = (kinds == kind).nonzero().flatten()
        part = background.rows(rows)
        SCENES[kind](Stage(part, Columns(params[rows])))
        background.put(rows, part)
    draw_items(background, c)
    rgb = defocus(background.rgb, c("softness", SHARP, SOFT) * size, SOFT * size)
    if size < canvas.resolution:
        rgb = F.interpolate(rgb, (canvas.resolution,) * 2, mode="bilinear")
    canvas.rgb.copy_(rgb)
    return kinds
