"""Portraits: rendered faces before cluttered backgrounds out of focus, with their exact truth.

One row of P parameters in (0, 1) describes one portrait completely, and every pixel is a function
of that row alone: images [N, 3, R, R] in [-1, 1], the parsing map [N, R, R], the 68 iBUG landmarks
[N, 68, 2] and named attributes. The classes are CelebAMask-HQ's, with the ids of the paper's
parser, which are not that data set's own. The parameters of seed s are
u[s, j] = (hash(s, j) + 1/2) / 2^23, a counter-based hash in integer arithmetic, so the same seed
gives the same bytes in any batch. Left and right are the viewer's. Chapters 1 and 5.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from ...networks import check
from . import dress, expression, face, hair, scene
from .anatomy import COLUMNS, Columns, colours_of, hair_shade_of, pose_of
from .canvas import Canvas, swatch, take

NUM_PARAMETERS = len(COLUMNS)
MIN_RESOLUTION, MAX_RESOLUTION = 16, 1024
CLASS_NAMES = (
    "background", "skin", "left_brow", "right_brow", "left_eye", "right_eye", "eyeglasses",
    "left_ear", "right_ear", "earring", "nose", "mouth", "upper_lip", "lower_lip", "neck",
    "necklace", "cloth", "hair", "hat",
)
# pixels drawn at a time: a chunk's planes stay in the cache
_CHUNK_PIXELS = 131072
_MASK32 = 0xFFFFFFFF


@dataclass(frozen=True)
class Portraits:
    """A batch of portraits and the truth about them.

    Attributes:
        images: [N, 3, R, R] float32 in [-1, 1].
        parsing: [N, R, R] int64, an index of CLASS_NAMES for every pixel.
        landmarks: [N, 68, 2] float32, (x, y) in pixels, iBUG order; the centre of the pixel in
            column i and row j is (i + 1/2, j + 1/2).
        attributes: name -> [N]; ATTRIBUTES says what each means.

    Example:
        >>> portraits = cagc.render_portraits([1, 2], 64)
        >>> portraits.parsing.shape, portraits.landmarks.shape
        (torch.Size([2, 64, 64]), torch.Size([2, 68, 2]))
        >>> len(portraits.attributes["smile"])
        2
    """

    images: Tensor
    parsing: Tensor
    landmarks: Tensor
    attributes: dict[str, Tensor]


ATTRIBUTES: dict[str, str] = {
    "age": "0 (young) to 1 (old), float",
    "presentation": "0 (masculine) to 1 (feminine) features, float",
    "smile": "-0.4 (sad) to 1.1 (broad), float",
    "mouth_open": "0 (closed) to 1 (wide), float",
    "eye_openness": "0.55 (narrow) to 1.25 (wide), float",
    "gaze_x": "-1 (left) to 1 (right), float",
    "gaze_y": "-1 (up) to 1 (down), float",
    "brow_raise": "0 (low) to 1 (raised), float",
    "yaw": "radians, -0.48 (left) to 0.48 (right), float",
    "pitch": "radians, -0.24 (up) to 0.24 (down), float",
    "roll": "radians, -0.19 to 0.19, clockwise is positive, float",
    "scale": "half the head's height over the frame's, 0.325 to 0.372, float",
    "skin_tone": "0 (light) to 1 (dark), float",
    "hair_colour": "0 (black) to 1 (blond) before greying, float",
    "hair_length": "half heads below eye level, -1 where short, to 2.2, float",
    "hair_style": "index of portraits.hair.STYLES, int64",
    "bald": "no hair on the head, bool",
    "beard": "0 none, 1 stubble, 2 moustache, 3 goatee, 4 full, int64",
    "glasses": "eyeglasses of any kind, bool",
    "sunglasses": "dark lenses, bool",
    "hat": "0 none, 1 beanie, 2 brimmed, 3 cap, int64",
    "earrings": "bool",
    "necklace": "bool",
    "face_width": "half width over half height of the head, 0.70 to 0.80, float",
    "garment": "index of portraits.dress.GARMENTS, int64",
    "light_direction": "radians, -1.1 (from the left) to 1.1 (from the right), float",
    "light_warmth": "0 (cool) to 1 (warm), float",
    "scene": "index of portraits.scene.SCENES, int64",
}


def _mix32(x: Tensor) -> Tensor:
    """A bijective avalanche on 32-bit values held in int64 (multiplications stay below 2^63)."""
    for multiplier in (0x7FEB352D, 0x46CA6B35):
        x = x ^ (x >> 16)
        x = (x * multiplier) & _MASK32
        x = x ^ (x >> 15)
    return x


def _seed_tensor(seeds: int | Iterable[int] | Tensor) -> Tensor:
    """Seeds as int64 [N]; refuses anything that is not an integer."""
    if isinstance(seeds, Tensor):
        seeds = seeds.flatten().tolist()
    values = [seeds] if isinstance(seeds, (int, float, str)) else list(seeds)
    for value in values:
        kind = getattr(value, "dtype", type(value))
        fits = hasattr(value, "__index__") and kind not in (torch.bool, bool)
        fits = fits and -(2**63) <= int(value) < 2**63
        check(fits, "seeds", value, "64-bit integers")
    return torch.tensor([int(value) for value in values], dtype=torch.int64)


def portrait_parameters(seeds: int | Iterable[int] | Tensor) -> Tensor:
    """Draw the parameters of portraits from their seeds.

    Args:
        seeds: an integer, or N integers (a range, a list, an integer tensor), 64-bit.

    Returns:
        [N, NUM_PARAMETERS] float32 in (0, 1), uniform, on the CPU.

    Raises:
        ValueError: a seed is not an integer.
    """
    values = _seed_tensor(seeds)
    low, high = values & _MASK32, (values >> 32) & _MASK32
    key = _mix32(low ^ _mix32(high ^ 0x9E3779B9))[:, None]
    # counted from one: a zero stays zero through the hash
    index = torch.arange(1, NUM_PARAMETERS + 1, dtype=torch.int64)
    column = _mix32(index * 0x9E3779B1 & _MASK32)[None]
    bits = _mix32(_mix32((key + column) & _MASK32) ^ column)
    # 23 bits, so that adding one half is exact in float32
    return (bits >> 9).to(torch.float32).add_(0.5).mul_(2.0**-23)


def parameters_from_latents(z: Tensor) -> Tensor:
    """Map latents to parameters by the normal distribution function: u = Phi(z).

    Args:
        z: [N, >= NUM_PARAMETERS] floating point; only the first columns are read.

    Returns:
        [N, NUM_PARAMETERS] float32, clamped inside (0, 1).

    Raises:
        ValueError: z has the wrong shape or type.
    """
    check(z.is_floating_point(), "z", z.dtype, "floating point")
    fits = z.ndim == 2 and z.shape[1] >= NUM_PARAMETERS
    check(fits, "z", list(z.shape), f"[N, >= {NUM_PARAMETERS}]")
    u = torch.special.ndtr(z[:, :NUM_PARAMETERS].double())
    return u.float().clamp(2.0**-24, 1.0 - 2.0**-24)


def _to_pixels(points: list, pose, resolution: int) -> Tensor:
    """Landmarks in head units to pixels, [n, 68, 2]."""
    x, y = (torch.cat([p[axis].flatten(1) for p in points], dim=1) for axis in (0, 1))
    cos, sin, scale = pose.cos_roll[:, 0], pose.sin_roll[:, 0], pose.scale[:, 0]
    u = pose.cx[:, 0] + scale * (x * cos - y * sin)
    v = pose.cy[:, 0] + scale * (y * cos + x * sin)
    return torch.stack([u, v], dim=2) * resolution


def _grade(rgb: Tensor, c: Columns, centres: Tensor) -> Tensor:
    """Light's warmth and a vignette; from [0, 1] to [-1, 1]."""
    warmth = c("light_warmth", -0.5, 0.5).unsqueeze(1)
    gain = 1.0 + warmth * swatch(rgb, 0.10, 0.01, -0.14)
    edge = (centres - 0.5).square()
    vignette = 1.0 - 0.30 * (edge[None, :] + edge[:, None] - 0.12).clamp(min=0.0)
    return (rgb * (2.0 * gain)).mul_(vignette).sub_(1.0).clamp_(-1.0, 1.0)


@torch.no_grad()
def _render_chunk(params: Tensor, resolution: int) -> tuple[Tensor, Tensor, Tensor, dict]:
    """Draw one chunk, back to front."""
    c = Columns(params)
    canvas = Canvas(len(params), resolution, params.device)
    pose = pose_of(c)
    m, k = face.measure(c, pose), colours_of(c)
    h, beard, worn = hair.measure_hair(c, m), hair.measure_beard(c, m), dress.measure_dress(c, m)
    bare = 1.0 - (worn.hat > 0).float()
    h.bun = h.bun * bare
    h.top, h.side = torch.minimum(h.top, 0.12 + bare), torch.minimum(h.side, 0.12 + bare)
    canvas.pose = (pose.cx, pose.cy, pose.scale, pose.cos_roll, pose.sin_roll)

    def some(shown: Tensor, draw: Callable[..., None], *measures) -> None:
        """Draw only the rows that have the thing."""
        rows = shown.flatten().nonzero().flatten()
        if rows.numel():
            part = canvas.rows(rows)
            draw(part, *take(measures, rows))
            canvas.put(rows, part)

    scenes = scene.draw_scene(canvas, params, c)
    hair.draw_hair_back(canvas, m, h, k)
    face.draw_neck(canvas, m, k)
    dress.draw_clothes(canvas, c, m, worn, k)
    some(worn.necklace > 0, dress.draw_necklace, m, worn, k)
    lobes = face.draw_ears(canvas, m, k)
    some(h.length > 0, hair.draw_locks, m, h, k)
    face.draw_head(canvas, c, m, k)
    nose = face.draw_nose(canvas, m, k)
    some(beard.kind > 0, hair.draw_beard, m, beard, k)
    mouth = expression.draw_mouth(canvas, m, k)
    eyes = [expression.draw_eye(canvas, c, m, k, e) for e in m.eyes]
    hair.draw_hair_front(canvas, m, h, k)
    brows = [expression.draw_brow(canvas, k, b) for b in m.brows]
    some(worn.earrings > 0, dress.draw_earrings, m, worn, k, lobes)
    some(worn.glasses > 0, dress.draw_glasses, m, worn, k)
    some(worn.hat > 0, dress.draw_hat, m, h, worn, k)

    points = face.jaw_landmarks(m) + brows[0][::-1] + brows[1] + nose + eyes[0] + eyes[1] + mouth
    return (_grade(canvas.rgb, c, canvas.centres), canvas.labels.long(),
            _to_pixels(points, pose, resolution), _attributes(c, m, h, beard, worn, scenes))


def _attributes(c: Columns, m, h, beard, worn, scenes) -> dict[str, Tensor]:
    """The named attributes of a chunk, each [n]."""
    p = m.pose
    values = {
        "age": m.age, "presentation": m.fem, "smile": m.smile, "mouth_open": m.open,
        "eye_openness": c("eye_openness", 0.55, 1.25), "gaze_x": c("gaze_x", -1.0, 1.0),
        "gaze_y": c("gaze_y", -1.0, 1.0), "brow_raise": c("brow_raise"), "yaw": p.yaw,
        "pitch": p.pitch, "roll": p.roll, "scale": p.scale, "skin_tone": c("skin_tone"),
        "hair_colour": hair_shade_of(c), "hair_length": h.length, "hair_style": h.style,
        "bald": h.style == 0, "beard": beard.kind, "glasses": worn.glasses > 0,
        "sunglasses": worn.glasses == 3, "hat": worn.hat, "earrings": worn.earrings > 0,
        "necklace": worn.necklace > 0, "face_width": m.width, "garment": worn.garment,
        "light_direction": p.light_angle, "light_warmth": c("light_warmth"), "scene": scenes,
    }
    return {name: value.flatten().clone() for name, value in values.items()}


def _render_chunks(chunks: Sequence[Tensor], resolution: int, workers: int) -> list[tuple]:
    """Draw chunks, side by side on the CPU's threads.

    A chunk is some thousand small operations. Splitting each over the threads would make them
    wait for each other a thousand times (on a busy machine that costs thirty times the work);
    whole chunks never wait. So each operation runs on one thread, and the setting is put back.
    """
    if chunks[0].device.type != "cpu":
        return [_render_chunk(chunk, resolution) for chunk in chunks]
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(_render_chunk, chunks, [resolution] * len(chunks)))
    finally:
        torch.set_num_threads(workers)


def render_parameters(
    params: Tensor, resolution: int, device: torch.device | str = "cpu"
) -> Portraits:
    """Render portraits from their parameters.

    Args:
        params: [N, NUM_PARAMETERS] floating point in (0, 1).
        resolution: height and width in pixels, 16 to 1024.
        device: where to draw and where the results live.

    Raises:
        ValueError: wrong shape, type or range.
    """
    fits = type(resolution) is int and MIN_RESOLUTION <= resolution <= MAX_RESOLUTION
    check(fits, "resolution", resolution, f"an int from {MIN_RESOLUTION} to {MAX_RESOLUTION}")
    check(params.is_floating_point(), "params", params.dtype, "floating point")
    fits = params.shape[1:] == (NUM_PARAMETERS,) and len(params) > 0
    check(fits, "params", list(params.shape), f"[N >= 1, {NUM_PARAMETERS}]")
    params = params.detach().to(device, torch.float32)
    if not bool(((params > 0) & (params < 1)).all()):
        raise ValueError("params: expected values inside (0, 1)")
    workers = torch.get_num_threads() if params.device.type == "cpu" else 1
    step = max(1, min(_CHUNK_PIXELS // resolution**2, -(-params.shape[0] // workers)))
    parts = _render_chunks(params.split(step), resolution, workers)
    images, parsing, landmarks, attributes = zip(*parts, strict=True)
    return Portraits(
        images=torch.cat(images), parsing=torch.cat(parsing), landmarks=torch.cat(landmarks),
        attributes={name: torch.cat([a[name] for a in attributes]) for name in ATTRIBUTES},
    )


def render_portraits(
    seeds: int | Iterable[int] | Tensor, resolution: int, device: torch.device | str = "cpu"
) -> Portraits:
    """Render the portraits of the given seeds; the same seed gives the same bytes in any batch.

    Args:
        seeds: an integer, or N integers.
        resolution: height and width in pixels, 16 to 1024.
        device: where to draw and where the results live.

    Raises:
        ValueError: a seed is not an integer, or the resolution is out of range.

    Example:
        >>> portraits = cagc.render_portraits([1, 2], 64)
        >>> torch.equal(portraits.images[1:], cagc.render_portraits(2, 64).images)
        True
    """
    return render_parameters(portrait_parameters(seeds), resolution, device)
