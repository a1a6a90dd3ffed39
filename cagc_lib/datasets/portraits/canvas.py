"""A small painter: signed distances in, anti-aliased colour and exact labels out.

A shape is a signed distance d (negative inside) sampled at pixel centres; its coverage of a
pixel is clamp(1/2 - d * pixels_per_unit, 0, 1), and painting is `rgb <- lerp(rgb, colour,
coverage)`. A label is written where the coverage is at least one half, so the parsing map is the
painter's order and nothing else. Only operations whose result does not depend on where an
element lies in memory are used (no pow, sigmoid or atan2), so an image does not depend on its
batch. Chapter 5 shows the maps.
"""

import copy
import itertools
import math
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# The head's pose is bounded, so the part of the frame a head-frame box can reach is known ahead.
MAX_SCALE, MIN_SCALE, MAX_ROLL = 0.388, 0.345, 0.19
MAX_SHIFT, CENTRE_X, CENTRE_Y = 0.035, 0.5, 0.475
Number = Tensor | float


class Measures(SimpleNamespace):
    """Tensors by name, a row a portrait: measures, choices or colours."""


class View:
    """A window of the canvas, given in image coordinates, ready to be painted on.

    Attributes:
        u, v: image coordinates of pixel centres in [0, 1], [1, 1, w] and [1, h, 1].
        x, y: head coordinates [n, h, w]: origin between the eyes' height and the skull's middle,
            unit half the head's height, y down, turned with the head's roll.
        body: the same without the roll, [n, 1, w] and [n, h, 1].
        rgb, labels: the window of the canvas, [n, 3, h, w] in [0, 1] and [n, h, w].
        k: pixels per unit: the head's, [n, 1, 1], or the image's where there is no pose.
    """

    def __init__(self, canvas: "Canvas", left: float, top: float, right: float, bottom: float):
        size = canvas.resolution
        x0, y0 = (max(math.floor(a * size), 0) for a in (left, top))
        x1, y1 = (min(math.ceil(a * size), size) for a in (right, bottom))
        self.u = canvas.centres[x0:x1].view(1, 1, -1)
        self.v = canvas.centres[y0:y1].view(1, -1, 1)
        self.k: Number = size
        self.rgb = canvas.rgb[:, :, y0:y1, x0:x1]
        self.labels = canvas.labels[:, y0:y1, x0:x1]
        if canvas.pose is not None:
            cx, cy, scale, cos, sin = canvas.pose
            self.k = scale * size
            self.body = dx, dy = (self.u - cx) / scale, (self.v - cy) / scale
            self.x, self.y = dx * cos + dy * sin, dy * cos - dx * sin

    def cover(self, distance: Tensor, blur: Number = 0.0) -> Tensor:
        """Coverage of a shape from its signed distance, softened by `blur`, both in units."""
        return (0.5 - distance / (1.0 / self.k + blur)).clamp_(0.0, 1.0)

    def strip(self, above: Tensor, below: Tensor) -> Tensor:
        """Coverage between two curves; vanishes, as an area does, where they meet."""
        return (self.cover(above) + self.cover(below) - 1.0).clamp_(min=0.0)

    def paint(self, colour: Tensor, cover: Tensor, label: int | None = None) -> None:
        """Lay colour [n, 3, 1 or h, 1 or w] over the window, and the label where it covers."""
        self.rgb.lerp_(colour, cover.unsqueeze(1).expand_as(self.rgb))
        if label is not None:
            self.labels.masked_fill_(cover >= 0.5, label)


class Canvas:
    """Images and labels of one chunk, [n, 3, R, R] in [0, 1] and [n, R, R] uint8."""

    def __init__(self, count: int, resolution: int, device: torch.device | str):
        self.resolution = resolution
        self.rgb = torch.zeros(count, 3, resolution, resolution, device=device)
        self.labels = torch.zeros(count, resolution, resolution, device=device, dtype=torch.uint8)
        self.centres = (torch.arange(resolution, device=device) + 0.5) / resolution
        self.pose: tuple[Tensor, ...] | None = None

    def rows(self, index: Tensor) -> "Canvas":
        """A copy of some rows; `put` brings it back."""
        part = copy.copy(self)
        part.rgb, part.labels, part.pose = take((self.rgb, self.labels, self.pose), index)
        return part

    def put(self, index: Tensor, part: "Canvas") -> None:
        """Write rows taken by `rows` back."""
        self.rgb[index], self.labels[index] = part.rgb, part.labels

    def box(self, left: float, top: float, right: float, bottom: float) -> View:
        """A window that holds the given head-frame box whatever the pose."""
        us, vs = [], []
        for x, y, scale, roll in itertools.product(
            (left, right), (top, bottom), (MIN_SCALE, MAX_SCALE), (-MAX_ROLL, 0.0, MAX_ROLL)
        ):
            us.append(scale * (x * math.cos(roll) - y * math.sin(roll)))
            vs.append(scale * (y * math.cos(roll) + x * math.sin(roll)))
        return View(
            self, CENTRE_X - MAX_SHIFT + min(us), CENTRE_Y - MAX_SHIFT + min(vs),
            CENTRE_X + MAX_SHIFT + max(us), CENTRE_Y + MAX_SHIFT + max(vs),
        )


def take(value: Any, index: Tensor) -> Any:
    """The given rows of every tensor in a structure of namespaces, lists and tuples."""
    if isinstance(value, Tensor):
        return value[index]
    if isinstance(value, Measures):
        return type(value)(**{name: take(part, index) for name, part in vars(value).items()})
    if isinstance(value, (list, tuple)):
        return type(value)(take(part, index) for part in value)
    return value


def swatch(like: Tensor, *rgb: float) -> Tensor:
    """A colour [1, 3, 1, 1] in [0, 1], on the device of `like`."""
    return like.new_tensor(rgb).view(1, 3, 1, 1)


def ellipse(x: Tensor, y: Tensor, rx: Number, ry: Number) -> Tensor:
    """First-order signed distance to an axis-aligned ellipse: F / |grad F|."""
    p, q = x / rx, y / ry
    value = p * p + q * q
    p, q = p / rx, q / ry
    return (value - 1.0) / (2.0 * (p * p + q * q).sqrt_() + 1e-3)


def circle(x: Tensor, y: Tensor, radius: Number) -> Tensor:
    """Signed distance to a circle."""
    return (x * x + y * y).sqrt_() - radius


def box(x: Tensor, y: Tensor, rx: Number, ry: Number, corner: Number = 0.0) -> Tensor:
    """Signed distance to a rectangle with rounded corners (corner <= rx, ry)."""
    p, q = x.abs() - (rx - corner), y.abs() - (ry - corner)
    outside = (p.clamp(min=0.0).square() + q.clamp(min=0.0).square()).sqrt_()
    return outside + torch.maximum(p, q).clamp_(max=0.0) - corner


def segment(x: Tensor, y: Tensor, x0: Number, y0: Number, x1: Number, y1: Number) -> Tensor:
    """Distance to the segment from (x0, y0) to (x1, y1)."""
    dx, dy = x1 - x0, y1 - y0
    along = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy + 1e-6)).clamp_(0.0, 1.0)
    return ((x - x0 - along * dx).square() + (y - y0 - along * dy).square()).sqrt_()


def blob(x: Tensor, y: Tensor, x0: Number, y0: Number, rx: Number, ry: Number) -> Tensor:
    """A soft spot in [0, 1] with compact support: (1 - r^2)_+^2."""
    return (1.0 - ((x - x0) / rx).square() - ((y - y0) / ry).square()).clamp_(min=0.0).square_()


def ramp(light: Tensor, shadow: Tensor, base: Tensor, glow: Tensor) -> Tensor:
    """Colour [n, 3, h, w] under light [n, h, w]: 0 is the shadow's, 1 the base, more adds glow."""
    low = light.clamp(0.0, 1.0).unsqueeze(1)
    high = (light - 1.0).clamp_(min=0.0).unsqueeze(1)
    return torch.addcmul(torch.addcmul(shadow, low, base - shadow), high, glow)


def defocus(rgb: Tensor, sigma: Tensor, largest: float) -> Tensor:
    """Blur each image with its own Gaussian; edges are replicated.

    Args:
        rgb: [n, 3, h, w].
        sigma: [n, 1, 1], standard deviations in pixels, above 0.
        largest: bound of sigma; the same for every batch, so that a picture does not depend on
            its neighbours.
    """
    radius = math.ceil(2.5 * largest)
    offsets = torch.arange(-radius, radius + 1, device=rgb.device)
    kernel = (-0.5 * (offsets / sigma).square()).exp()
    kernel = (kernel / kernel.sum(-1, keepdim=True)).unsqueeze(1)
    # shifted sums rather than a convolution, whose order of additions may depend on the batch
    for axis in (2, 3):
        padding = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
        padded, rgb = F.pad(rgb, padding, mode="replicate"), torch.zeros_like(rgb)
        for i in range(2 * radius + 1):
            rgb.addcmul_(padded.narrow(axis, i, rgb.shape[axis]), kernel[..., i : i + 1])
    return rgb
