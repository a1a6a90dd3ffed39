"""What an edit does, in a teacher and in its student, and how well W keeps attributes apart.

    moved      change of the target attribute, in standard deviations
    elsewhere  mean absolute change of all other attributes, in theirs: leakage
    detour     sum over small steps of sqrt d / sqrt d between the ends, >= 1; 1 is a straight way
    transfer   | (S' - S) - (T' - T) |, inside and outside the content
    separability   exp(sum over attributes of H(Y | X))

d: the perceptual distance. It is a sum of squares, which over smaller steps would vanish; its root
is a distance, as a length wants one. S, T and S', T': student's and teacher's images before and
after. Y: whether an attribute is there, X: what a linear classifier says of w (Karras et al. 2019,
arXiv 1812.04948, section 4.2). All values stand sample by sample, so that the caller can give an
interval with every mean. Chapter 11.
"""

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..content import ContentSource
from ..metrics import mask_images
from ..networks import (
    FeatureNetwork, PrunableGenerator, check, check_pair, check_positive, evaluating,
    perceptual_distance,
)
from .attributes import (
    AttributeScale, check_features, draw_attributes, joined, predict_attributes,
)
from .directions import Directions
from .edits import check_index, edit, edit_mask
from .latents import draw_inputs, map_latents

# penalty of the logistic regression's squared weights, times two: of 1e-4 to 0.3 it is what leaves
# least open on held-out halves of 2,000 portraits
L2 = 0.01


@dataclass(frozen=True, eq=False)
class EditEffect:
    """What one edit did to N images.

    Attributes:
        attribute: the target.
        names: of the A attributes.
        change: [N, A], in standard deviations of each, signed.
        landmarks: [N], how far the 68 landmarks moved on average, in pixels.
        cosine: [N], of the embeddings before and after, everything outside the content of both
            images set to grey; 1 where the features see nothing change, nan without any content.
        detour: [N], length of the way over the distance of its ends; nan where these look alike.
    """

    attribute: str
    names: tuple[str, ...]
    change: torch.Tensor
    landmarks: torch.Tensor
    cosine: torch.Tensor
    detour: torch.Tensor

    @property
    def num_samples(self) -> int:
        """How many images were edited."""
        return len(self.change)

    @property
    def moved(self) -> torch.Tensor:
        """Change of the target attribute, [N], in standard deviations."""
        return self.change[:, self.names.index(self.attribute)]

    @property
    def elsewhere(self) -> torch.Tensor:
        """Leakage: mean absolute change of all other attributes, [N]; nan where there are none."""
        others = [i for i, name in enumerate(self.names) if name != self.attribute]
        return self.change[:, others].abs().mean(1)

    @property
    def leakage(self) -> float:
        """Leakage per unit of change: mean of `elsewhere` over the size of `moved`'s mean."""
        moved = abs(self.moved.mean().item())
        return self.elsewhere.mean().item() / moved if moved else math.inf


@torch.no_grad()
def edit_effect(
    g: PrunableGenerator, directions: Directions, index: int, strength: float,
    features: FeatureNetwork, content: ContentSource, num_samples: int = 200, seed: int = 0,
    attribute: str | None = None, scale: AttributeScale | None = None, steps: int = 8,
    batch_size: int = 50, progress: bool = False,
) -> EditEffect:
    """Edit images of a generator and look at what changed.

    Args:
        g: the generator.
        directions: in g's W.
        index: number of the direction.
        strength: of the edit, as in `edit`.
        features: what names attributes and landmarks, on g's device.
        content: content source for the embeddings.
        num_samples: images.
        seed: decides z and the noise maps, which stay as they are under the edit.
        attribute: the target; None: the direction's name.
        scale: the attributes' units, for instance the teacher's; None: those of g's own unedited
            images.
        steps: of the way, for the detour.
        batch_size: images at once; no result depends on it beyond rounding.
        progress: show a progress bar.

    Raises:
        ValueError: an unknown attribute, features that name none, a direction that is not there, or
            a number out of range.

    Example:
        >>> from cagc_lib.editing import edit_effect, regression_directions
        >>> teacher, features = cagc.load_generator("portraits"), cagc.load_features()
        >>> found = regression_directions(teacher, features, ["yaw"], num_samples=200)
        >>> content = cagc.content_source("portraits")
        >>> bool(edit_effect(teacher, found, 0, 1.0, features, content, 20).moved.mean() > 0.3)
        True
    """
    check_features(features)
    check_index(directions, index)
    check_positive("steps", steps)
    attribute = directions.names[index] if attribute is None else attribute
    known = tuple(features.attributes) if scale is None else scale.names
    check(attribute in known, "attribute", attribute, f"one of {', '.join(known)}")
    before, after, found = [], [], []
    with evaluating(g):
        for z, noise in draw_inputs(g, num_samples, seed, batch_size, progress):
            ws = map_latents(g, z)
            way = [
                g.synthesis(edit(ws, directions, index, strength * i / steps), noise)
                for i in range(steps + 1)
            ]
            before.append(predict_attributes(features, way[0]))
            after.append(predict_attributes(features, way[-1]))
            found.append(_likeness(features, content, way))
    old, new = joined(before), joined(after)
    scale = AttributeScale.of(old) if scale is None else scale
    scale.index(attribute)
    change = scale.standardised(new) - scale.standardised(old)
    return EditEffect(attribute, scale.names, change, **joined(found))


def _likeness(
    features: FeatureNetwork, content: ContentSource, way: list[torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Landmarks, cosine and detour of `EditEffect`, of images on the way to the edited ones."""
    first, last = way[0], way[-1]
    marks = [features.predict(images)["landmarks"] for images in (first, last)]
    mask = edit_mask(first, last, content)
    seen = [features.embed(mask_images(images, mask)) for images in (first, last)]
    pairs = itertools.pairwise(way)
    length = torch.stack([perceptual_distance(features, a, b).sqrt() for a, b in pairs]).sum(0)
    straight = perceptual_distance(features, first, last).sqrt()
    found = {
        "landmarks": (marks[1] - marks[0]).norm(dim=2).mean(1),
        "cosine": F.cosine_similarity(*seen).where(mask.flatten(1).any(1), torch.nan),
        "detour": length / straight,
    }
    return {name: values.double().cpu() for name, values in found.items()}


@dataclass(frozen=True, eq=False)
class TransferError:
    """How a student's edit differs from its teacher's, [N] each, mean |.| of pixels on [-1, 1].

    Attributes:
        inside, outside: L1 between what the edit changes in the student and in the teacher, inside
            the content of the teacher's two images and outside it; nan where there is none.
        teacher_inside, teacher_outside: L1 of the teacher's change, to be compared with: a student
            that does nothing has just this error.
    """

    inside: torch.Tensor
    outside: torch.Tensor
    teacher_inside: torch.Tensor
    teacher_outside: torch.Tensor

    @property
    def num_samples(self) -> int:
        """How many images were edited."""
        return len(self.inside)


@torch.no_grad()
def transfer_error(
    teacher: PrunableGenerator, student: PrunableGenerator, teacher_directions: Directions,
    student_directions: Directions, index: int, strength: float, content: ContentSource,
    num_samples: int = 200, seed: int = 0, batch_size: int = 50, progress: bool = False,
) -> TransferError:
    """Apply one edit to teacher and student, from the same z and noise, and compare the changes.

    Args:
        teacher, student: generators of one kind, resolution and z_dim.
        teacher_directions, student_directions: each in its network's W, for instance found in one
            and carried over by `transfer_directions`; or the same twice.
        index: number of the direction in both.
        strength: of the edit, as in `edit`.
        content: content source; that of the teacher's two images counts.
        num_samples: images.
        seed: decides z and the noise maps.
        batch_size: images at once; no result depends on it beyond rounding.
        progress: show a progress bar.

    Raises:
        ValueError: two networks that do not fit, a direction that is not there, or a number out of
            range.
    """
    check_pair(student.config, teacher.config, "student", "resolution", "z_dim")
    check_index(teacher_directions, index)
    check_index(student_directions, index)
    found = []
    with evaluating(teacher), evaluating(student):
        for z, noise in draw_inputs(teacher, num_samples, seed, batch_size, progress):
            pairs = []
            for g, directions in ((teacher, teacher_directions), (student, student_directions)):
                ws = map_latents(g, z)
                edited = g.synthesis(edit(ws, directions, index, strength), noise)
                pairs.append((g.synthesis(ws, noise), edited))
            mask = edit_mask(*pairs[0], content)
            t, s = (edited - original for original, edited in pairs)
            found.append({
                "inside": _masked_l1(s - t, mask), "outside": _masked_l1(s - t, ~mask),
                "teacher_inside": _masked_l1(t, mask), "teacher_outside": _masked_l1(t, ~mask),
            })
    return TransferError(**joined(found))


def _masked_l1(difference: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean size [N] of differences [N, 3, H, W] where a mask [N, 1, H, W] is true."""
    values = difference.double().abs().mean(1, keepdim=True) * mask
    return (values.sum((1, 2, 3)) / mask.sum((1, 2, 3))).cpu()


@dataclass(frozen=True, eq=False)
class Separability:
    """How well a linear classifier tells from w whether each of A attributes is there.

    Attributes:
        names: of the attributes.
        labels: [N, A], bool: whether the features see it in the image.
        predicted: [N, A], bool: whether the classifier of w says so; on samples it has not seen.
    """

    names: tuple[str, ...]
    labels: torch.Tensor
    predicted: torch.Tensor

    @property
    def num_samples(self) -> int:
        """How many samples were held out."""
        return len(self.labels)

    @property
    def accuracy(self) -> torch.Tensor:
        """Share of samples that the classifier is right about, [A]."""
        return (self.labels == self.predicted).double().mean(0)

    @property
    def entropy(self) -> torch.Tensor:
        """H(Y), [A], in nats: what there is to be known."""
        return _entropy(torch.stack([self.labels, ~self.labels]))

    @property
    def conditional_entropy(self) -> torch.Tensor:
        """H(Y | X) = H(X, Y) - H(X), [A], in nats: what the classifier leaves open."""
        y, x = self.labels, self.predicted
        both = _entropy(torch.stack([y & x, y & ~x, ~y & x, ~y & ~x]))
        return (both - _entropy(torch.stack([x, ~x]))).clamp(min=0)

    @property
    def score(self) -> float:
        """Karras et al.'s number, exp(sum of H(Y | X)): 1 at best."""
        return self.conditional_entropy.sum().exp().item()

    @property
    def explained(self) -> float:
        """Share of the entropy that w explains, mean of 1 - H(Y | X) / H(Y), in [0, 1].

        Over the attributes that some of the samples have and some lack; nan where there are none.
        """
        varies = self.entropy > 0
        return (1 - self.conditional_entropy / self.entropy)[varies].mean().item()


def _entropy(cases: torch.Tensor) -> torch.Tensor:
    """Entropy [A], in nats, of what happens, in cases [C, N, A] of which one is true each time."""
    return torch.special.entr(cases.double().mean(1)).sum(0)


@torch.no_grad()
def separability(
    g: PrunableGenerator, features: FeatureNetwork, num_samples: int = 2000, seed: int = 0,
    scale: AttributeScale | None = None, batch_size: int = 50, progress: bool = False,
) -> Separability:
    """Measure linear separability of attributes in W; in Z for a network whose w is z.

    The features name the attributes of generated images: a bool as it is, a number above or below
    its median, a class index the commonest or another. Logistic regression from w is fitted on one
    half of the samples and asked about the other. The paper has 40 binary attributes, fits support
    vector machines to the 100,000 samples of 200,000 that its classifiers are surest of, and its
    public code asks them about these same samples: its numbers are no measure for ours.

    Args:
        g: the generator.
        features: what names attributes, on g's device.
        num_samples: images, >= 4; half of them are held out.
        seed: decides z and the noise maps.
        scale: medians and commonest classes, for instance the teacher's; None: g's own.
        batch_size: images at once; no result depends on it beyond rounding.
        progress: show a progress bar.

    Raises:
        ValueError: features that name no attributes, or a number out of range.

    Example:
        >>> from cagc_lib.editing import separability
        >>> teacher, features = cagc.load_generator("portraits"), cagc.load_features()
        >>> found = separability(teacher, features, num_samples=200)
        >>> found.num_samples, found.explained > 0.05
        (100, True)
    """
    check(type(num_samples) is int and num_samples >= 4, "num_samples", num_samples, ">= 4")
    w, predicted = draw_attributes(g, features, num_samples, seed, batch_size, progress)
    scale = AttributeScale.of(predicted) if scale is None else scale
    labels = scale.present(predicted)
    half = num_samples // 2
    mean, std = w[:half].mean(0), w[:half].std(0)
    # a coordinate that stands still says nothing
    x = (w - mean) / std.where(std > 0, 1)
    weight, bias = _logistic_regression(x[:half], labels[:half].double())
    return Separability(scale.names, labels[half:], x[half:] @ weight + bias > 0)


def _logistic_regression(
    x: torch.Tensor, y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit weights [D, A] and biases [A] to x [N, D] and y [N, A] in 0 or 1, each y on its own."""
    weight = torch.zeros(x.shape[1], y.shape[1], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(y.shape[1], dtype=x.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=500, tolerance_grad=1e-6, tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        # a sum over the attributes: none's optimum depends on the others
        value = F.binary_cross_entropy_with_logits(x @ weight + bias, y) * y.shape[1]
        value = value + L2 / 2 * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimiser.step(loss)
    return weight.detach(), bias.detach()
