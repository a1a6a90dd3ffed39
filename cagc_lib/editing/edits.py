"""Edits: a step along a direction, kept inside the content, carried from teacher to student.

    ws'    = ws + strength * spread * v          in the direction's layers
    image' = where(m(image) or m(edited), edited, image)

m: the content mask. Both masks are needed: where content was, the edit may uncover background, and
where it comes to be, the original has none.

A student inherits its teacher's mapping network, so a direction means the same in both at first;
training then moves the student's. `transfer_directions` follows the move: the affine map from one
network's w to the other's of the same z, by least squares. Chapter 11.
"""

import torch

from ..content import ContentSource, check_mask, check_source, watches_a_generator
from ..networks import Generator, check, check_images, check_pair, first_parameter
from .directions import Directions
from .latents import check_mapped, draw_w


def edit(
    ws: torch.Tensor, directions: Directions, index: int, strength: float | torch.Tensor
) -> torch.Tensor:
    """Take a step along a direction.

    Args:
        ws: [N, num_ws, w_dim], a w for every layer; not changed.
        directions: where to.
        index: number of the direction; `directions.index(name)` finds it.
        strength: how many standard deviations of w, negative for the other way; a number, or [N].

    Raises:
        ValueError: ws of another shape, a direction that is not there, layers that ws lacks, or a
            strength that is not finite.

    Example:
        >>> from cagc_lib.editing import edit, map_latents, pca_directions
        >>> g = cagc.load_generator("portraits")
        >>> ws = map_latents(g, torch.zeros(1, 128))
        >>> g.synthesis(edit(ws, pca_directions(g), 0, strength=2)).shape
        torch.Size([1, 3, 64, 64])
    """
    w_dim = directions.vectors.shape[1]
    least = max(directions.layers) + 1
    fits = ws.ndim == 3 and ws.shape[1] >= least and ws.shape[2] == w_dim
    check(fits, "ws", list(ws.shape), f"[N, {least} or more, {w_dim}]")
    check_index(directions, index)
    strength = torch.as_tensor(strength).to(ws)
    fits = strength.shape in ((), (len(ws),)) and bool(strength.isfinite().all())
    check(fits, "strength", strength.tolist(), f"a finite number, or [{len(ws)}] of them")
    step = (directions.spread[index] * directions.vectors[index]).to(ws)
    edited = ws.clone()
    edited[:, list(directions.layers)] += strength.reshape(-1, 1, 1) * step
    return edited


def edit_mask(
    original: torch.Tensor, edited: torch.Tensor, content: ContentSource
) -> torch.Tensor:
    """Where content is in either of two images: [N, 3, H, W] twice to bool [N, 1, H, W].

    Raises:
        ValueError: images of two shapes, content that is no source, gives no mask, or knows one
            generator's last images only.
    """
    check_images(original)
    check_images(edited)
    shape = list(original.shape)
    check(original.shape == edited.shape, "edited", list(edited.shape), f"{shape}, as original")
    check_source(content)
    watches = watches_a_generator(content)
    check(not watches, "content", "a source that watches a generator", "one for any images")
    masks = [check_mask(content(images), images) for images in (original, edited)]
    return masks[0] | masks[1]


def confine_edit(
    original: torch.Tensor, edited: torch.Tensor, content: ContentSource
) -> torch.Tensor:
    """Take the edited images inside the content of both, and the originals outside.

    Args:
        original, edited: [N, 3, H, W] in [-1, 1].
        content: what an edit may change.

    Returns:
        [N, 3, H, W]; outside `edit_mask` its pixels are the original's.

    Raises:
        ValueError: as `edit_mask`.

    Example:
        >>> from cagc_lib.editing import confine_edit
        >>> a, b = cagc.render_portraits([1, 2], 64).images.split(1)
        >>> confined = confine_edit(a, b, cagc.content_source("portraits"))
        >>> bool((confined[..., 0, 0] == a[..., 0, 0]).all())
        True
    """
    return torch.where(edit_mask(original, edited, content), edited, original)


@torch.no_grad()
def transfer_directions(
    directions: Directions, source: Generator, target: Generator, num_samples: int = 10_000,
    seed: int = 0,
) -> Directions:
    """Carry directions from one network's W to another's.

    The linear part of the least-squares affine map from the source's w to the target's of the same
    latents is applied to each vector; what this does to its length goes into its spread, so that
    one strength is the same edit in both. Between networks of one mapping nothing changes.

    Args:
        directions: found in the source's W.
        source, target: teacher and student, or the other way round; of one z_dim, w_dim, num_ws.
        num_samples: latents to map, more than w_dim.
        seed: decides them.

    Raises:
        ValueError: networks without mapped w's or of other sizes, too few latents, or directions
            of another w_dim.
    """
    check_mapped(source)
    check_mapped(target)
    check_pair(target.config, source.config, "target", "z_dim", "w_dim", "num_ws")
    w_dim = source.config.w_dim
    shape = list(directions.vectors.shape)
    check(shape[1] == w_dim, "directions", shape, f"[K, {w_dim}]")
    fits = type(num_samples) is int and num_samples > w_dim
    check(fits, "num_samples", num_samples, f"an integer > w_dim, {w_dim}")
    w = draw_w(source, num_samples, seed)
    moved = draw_w(target, num_samples, seed) - w
    # only the difference is fitted: along what the w's never do, a direction stays as it is
    fit = torch.linalg.lstsq(w - w.mean(0), moved - moved.mean(0), driver="gelsd").solution
    vectors = directions.vectors.double().cpu()
    carried = vectors + vectors @ fit
    length = carried.norm(dim=1)
    vectors = carried / length[:, None]
    spread = directions.spread.double().cpu() * length
    place = first_parameter(target)
    return Directions(
        directions.kind, directions.names, vectors.to(place), spread.to(place), directions.layers,
        directions.score.to(place),
    )


def check_index(directions: Directions, index: int) -> None:
    """Refuse, in one line, a direction that is not there."""
    last = len(directions.names) - 1
    fits = type(index) is int and 0 <= index <= last
    check(fits, "index", index, f"an integer, 0 to {last}")
