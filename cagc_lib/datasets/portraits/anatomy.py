"""From a row of parameters to the measures of a face: pose, proportions, colours, positions.

Proportions follow the artist's canon: eyes halfway down the head, five eye widths across it, the
brow-to-nose and nose-to-chin distances equal. Features rest on an ellipsoid and are turned with
it: x' = x cos(yaw) + z sin(yaw), y' = y cos(pitch) + z sin(pitch), with z the ellipsoid's depth.
Everything is [n, 1, 1] in head units (half the head's height) unless said otherwise.
"""

import torch
from torch import Tensor

from .canvas import CENTRE_X, CENTRE_Y, MAX_ROLL, MAX_SCALE, MIN_SCALE, Measures, Number, swatch

ITEMS = 7
COLUMNS = (
    "yaw", "pitch", "roll", "scale", "shift_x", "shift_y", "skin_tone", "skin_warmth",
    "presentation", "age", "hair_style", "hair_colour", "hair_shade", "hair_length",
    "hair_volume", "hair_part", "hair_wave", "hairline", "face_width", "jaw", "chin", "smile",
    "mouth_open", "brow_raise", "brow_tilt", "eye_openness", "gaze_x", "gaze_y", "eye_colour",
    "eye_size", "eye_spacing", "eye_tilt", "brow_thickness", "brow_arch", "nose_length",
    "nose_width", "mouth_width", "lip_fullness", "lip_colour", "blush", "beard", "beard_length",
    "ear_size", "glasses", "glasses_size", "glasses_colour", "hat", "hat_hue", "hat_shade",
    "earrings", "jewel", "necklace", "cloth", "cloth_hue", "cloth_shade", "cloth_accent",
    "cloth_pattern", "neckline", "light_direction", "light_height", "light_warmth",
    "scene", "hue_a", "hue_b", "hue_c", "shade", "contrast", "zoom", "phase", "shift", "angle",
    "softness",
    *(f"item{i}_{name}" for i in range(ITEMS)
      for name in ("kind", "x", "y", "size", "aspect", "hue")),
)
SKIN = ((1.0, 0.86, 0.76), (0.98, 0.80, 0.67), (0.93, 0.72, 0.56), (0.85, 0.62, 0.45),
        (0.72, 0.49, 0.34), (0.57, 0.37, 0.25), (0.42, 0.27, 0.19))
HAIR = ((0.11, 0.09, 0.10), (0.16, 0.11, 0.10), (0.27, 0.17, 0.12), (0.38, 0.24, 0.15),
        (0.44, 0.25, 0.15), (0.62, 0.31, 0.16), (0.64, 0.46, 0.27), (0.84, 0.68, 0.42),
        (0.92, 0.80, 0.56))
EYES = ((0.20, 0.11, 0.07), (0.36, 0.20, 0.10), (0.45, 0.33, 0.15), (0.33, 0.42, 0.22),
        (0.25, 0.45, 0.48), (0.30, 0.48, 0.66), (0.50, 0.56, 0.60))
CLOTH = ((0.16, 0.22, 0.36), (0.13, 0.42, 0.46), (0.28, 0.45, 0.32), (0.88, 0.66, 0.24),
         (0.82, 0.40, 0.25), (0.62, 0.18, 0.20), (0.85, 0.55, 0.53), (0.93, 0.87, 0.75),
         (0.46, 0.34, 0.48), (0.24, 0.23, 0.25))
METAL = ((0.95, 0.78, 0.36), (0.90, 0.90, 0.92), (0.90, 0.60, 0.50), (0.93, 0.90, 0.84))
FRAMES = ((0.10, 0.09, 0.10), (0.35, 0.19, 0.12), (0.60, 0.20, 0.18), (0.52, 0.38, 0.16),
          (0.20, 0.28, 0.42))


def palette(u: Tensor, colours: tuple) -> Tensor:
    """Walk a row of colours: u [n, 1, 1] in (0, 1) -> [n, 3, 1, 1], piecewise linear."""
    table = torch.tensor(colours, dtype=torch.float32, device=u.device)
    place = u.flatten() * (len(colours) - 1)
    index = place.floor().clamp_(0, len(colours) - 2).long()
    part = (place - index).unsqueeze(1)
    return torch.lerp(table[index], table[index + 1], part)[:, :, None, None]


def swing(u: Tensor) -> Tensor:
    """u in (0, 1) to (-1, 1), denser near zero, as poses are."""
    s = 2.0 * u - 1.0
    return s * (0.4 + 0.6 * s * s)


def choose(u: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Index of the bin of u: one column makes one discrete choice. [n, 1, 1] int64."""
    edges = torch.tensor(weights, device=u.device).cumsum(0)[:-1]
    return (u.unsqueeze(-1) > edges / sum(weights)).sum(-1)


class Columns:
    """Parameters by name: columns("yaw") is [n, 1, 1], columns("yaw", a, b) spans (a, b)."""

    def __init__(self, params: Tensor):
        self.values = dict(zip(COLUMNS, params.T.contiguous()[..., None, None], strict=True))

    def __call__(self, name: str, low: float = 0.0, high: float = 1.0) -> Tensor:
        """The column `name`, scaled from (0, 1) to (low, high)."""
        return low + (high - low) * self.values[name]


class Pose(Measures):
    """Turns points of the resting ellipsoid: see `project`."""

    def project(self, x: Number, y: Number, lift: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
        """Where the point (x, y) of the frontal face goes, and its horizontal foreshortening."""
        x, y = x + torch.zeros_like(self.yaw), y + torch.zeros_like(self.yaw)
        z = 0.80 * (1.0 - (x / 0.80).square() - (0.75 * y).square()).clamp(min=0.04).sqrt()
        shrink = self.cos_yaw - self.sin_yaw * x / z
        z_up = z + lift
        px = x * self.cos_yaw + z_up * self.sin_yaw
        py = y * self.cos_pitch + (z_up * self.cos_yaw - x * self.sin_yaw - 0.55) * self.sin_pitch
        return px, py, shrink.clamp(0.45, 1.1)


def pose_of(c: Columns) -> Pose:
    """Head pose and light from the columns; angles in radians."""
    yaw = 0.48 * swing(c("yaw"))
    pitch = 0.24 * swing(c("pitch"))
    roll = MAX_ROLL * swing(c("roll"))
    scale = c("scale", MIN_SCALE, MAX_SCALE)
    p = Pose(yaw=yaw, pitch=pitch, roll=roll, scale=scale)
    p.cos_yaw, p.sin_yaw = yaw.cos(), yaw.sin()
    p.cos_pitch, p.sin_pitch = pitch.cos(), pitch.sin()
    p.cos_roll, p.sin_roll = roll.cos(), roll.sin()
    p.cx = CENTRE_X + 0.03 * swing(c("shift_x")) - 0.02 * p.sin_yaw
    p.cy = CENTRE_Y + 0.025 * swing(c("shift_y")) + 0.05 * (MAX_SCALE - scale) - 0.005
    p.light_angle = 1.1 * (2.0 * c("light_direction") - 1.0)
    p.lx = p.light_angle.sin() * 0.9
    p.ly = -c("light_height", 0.25, 0.75)
    p.lz = (1.25 - p.lx * p.lx - p.ly * p.ly).clamp(min=0.2).sqrt()
    return p


def hair_shade_of(c: Columns) -> Tensor:
    """Hair before greying, 0 (black) to 1 (blond): dark is commoner, more so on dark skin."""
    u = c("hair_colour")
    return u * (0.45 + 0.55 * u) * (1.0 - 1.3 * (c("skin_tone") - 0.5).clamp(min=0.0))


def colours_of(c: Columns) -> Measures:
    """Base, shadow and glow colours [n, 3, 1, 1] of skin, hair, cloth, eyes, metal."""
    def row(*rgb: float) -> Tensor:
        return swatch(c("age"), *rgb)

    k = Measures()
    warm = c("skin_warmth").unsqueeze(1) - 0.5
    k.skin = (palette(c("skin_tone"), SKIN) * (1.0 + warm * row(0.05, 0.0, -0.10))).clamp(0, 1)
    k.skin_shadow = k.skin * row(0.66, 0.50, 0.47) + row(0.02, 0.0, 0.02)
    k.skin_glow = (1.0 - k.skin) * row(0.9, 0.85, 0.7) + row(0.10, 0.09, 0.07)
    # grey comes with age, and never all at once
    grey = ((c("age") - 0.68) * 3.4).clamp(0, 1).unsqueeze(1) * 0.85
    shade = c("hair_shade").unsqueeze(1)
    tone, silver = palette(hair_shade_of(c), HAIR), row(0.74, 0.72, 0.70)
    k.hair = torch.lerp(tone * (0.8 + 0.35 * shade), silver * (0.75 + 0.4 * shade), grey)
    k.hair = k.hair.clamp(0, 1)
    k.hair_shadow = k.hair * row(0.36, 0.33, 0.38)
    k.hair_glow = (1.0 - k.hair) * row(0.50, 0.40, 0.28) + 0.06
    k.eye = palette(c("eye_colour"), EYES)
    k.cloth = palette(c("cloth_hue"), CLOTH) * c("cloth_shade", 0.75, 1.15).unsqueeze(1)
    k.cloth = k.cloth.clamp(0, 1)
    k.cloth_shadow = k.cloth * row(0.50, 0.46, 0.55)
    k.cloth_glow = (1.0 - k.cloth) * 0.5
    k.accent = palette(c("cloth_accent"), CLOTH)
    k.hat = (palette(c("hat_hue"), CLOTH) * c("hat_shade", 0.7, 1.15).unsqueeze(1)).clamp(0, 1)
    k.metal = palette(c("jewel"), METAL)
    k.frame = palette(c("glasses_colour"), FRAMES)
    painted = (c("lip_colour") * (0.25 + 0.6 * c("presentation"))).unsqueeze(1)
    red = row(0.76, 0.16, 0.20) * (0.55 + 0.45 * k.skin[:, :1])
    k.lip = torch.lerp(k.skin * row(0.86, 0.55, 0.52), red, painted)
    return k
