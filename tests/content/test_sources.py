import pytest
import torch

from cagc_lib.content import ParserSource, check_mask, content_source, everything
from cagc_lib.content.parsers import portrait_input
from cagc_lib.datasets import CLASS_NAMES, render_portraits
from cagc_lib.metrics import mean_iou
from cagc_lib.networks import Parser
from cagc_lib.training import HELD_OUT_SEED, augment


@pytest.fixture(scope="module")
def held_out():
    return render_portraits(range(HELD_OUT_SEED, HELD_OUT_SEED + 96), 64)


@pytest.fixture(scope="module")
def source():
    return content_source("portraits")


def test_the_shipped_parser_reads_held_out_portraits(held_out, source):
    larger = render_portraits(range(HELD_OUT_SEED, HELD_OUT_SEED + 32), 128)
    for portraits in (held_out, larger):
        mean, per_class = mean_iou(source.parse(portraits.images), portraits.parsing)
        assert mean >= 0.85, dict(zip(CLASS_NAMES, per_class.tolist(), strict=True))


def test_the_content_mask_covers_the_true_content(held_out, source):
    degraded = augment(held_out.images, torch.Generator().manual_seed(0)).images
    truth = ((held_out.parsing > 0) & (held_out.parsing != 16))[:, None]
    for images, least in ((held_out.images, 0.97), (degraded, 0.95)):
        mask = source(images)
        assert (mask & truth).sum() / (mask | truth).sum() > least


def test_the_default_rule_is_the_papers_and_others_go_by_name(held_out, source):
    ids = source.parse(held_out.images)
    assert torch.equal(source(held_out.images), ((ids > 0) & (ids != 16))[:, None])
    assert len(source.classes) == 17
    hair = content_source("portraits", classes=["hair"])
    assert torch.equal(hair(held_out.images), (ids == 17)[:, None])
    face = content_source("portraits", classes=["skin", "nose"])
    assert torch.equal(face(held_out.images), ((ids == 1) | (ids == 10))[:, None])


def test_a_batch_of_one_is_a_row_of_a_larger_batch(held_out, source):
    # The public code squeezes a batch of one and broadcasts the mask's first row.
    batch = source(held_out.images[:4])
    for i in range(4):
        single = source(held_out.images[i : i + 1])
        assert single.shape == (1, 1, 64, 64)
        assert (single[0] != batch[i]).float().mean() < 1e-3


@pytest.mark.parametrize("resolution", [16, 32, 100, 256])
def test_any_resolution_gives_a_mask_of_the_images_size(held_out, source, resolution):
    images = torch.nn.functional.interpolate(held_out.images[:2], (resolution, resolution))
    assert source(images).shape == (2, 1, resolution, resolution)
    assert source.parse(images).shape == (2, resolution, resolution)
    assert portrait_input(images).shape[2:] in ((64, 64), (128, 128))


def test_masks_do_not_depend_on_precision_mode_or_autocast(held_out, source):
    images = held_out.images[:8]
    expected = source(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(source(images), expected)
    assert (source(images.half()) != expected).float().mean() < 1e-3
    requiring = images.clone().requires_grad_()
    assert not source(requiring).requires_grad
    assert torch.equal(source(requiring), expected)


def test_parsing_touches_no_global_random_state(held_out, source):
    before = torch.get_rng_state()
    source(held_out.images[:2])
    content_source("portraits")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("faces",), "portraits, everything"),
        ((["hair"],), "^content source: got <class 'list'>, expected one of portraits"),
        (("portraits", ["nose", "whiskers"]), "^unknown class 'whiskers'; known: .*skin"),
        (("portraits", []), r"^classes must be a non-empty list of names, got \[\]$"),
        (("portraits", "hair"), "list"), (("portraits", 3), "non-empty list of names, got 3"),
        (("everything", ["hair"]), '"everything" takes no classes'),
        (("attention",), '"attention" needs generator'), (("painted",), '"painted" needs mask'),
    ],
)
def test_unknown_names_are_one_line_errors(arguments, message):
    with pytest.raises(ValueError, match=message) as info:
        content_source(*arguments)
    assert "\n" not in str(info.value)
    with pytest.raises(ValueError, match=r'^content source "portraits" takes no margin$'):
        content_source("portraits", margin=0.2)


def test_everything_is_a_good_mask_of_ones():
    images = torch.zeros(3, 3, 8, 16)
    mask = content_source("everything")(images)
    assert check_mask(mask, images) is mask and mask.all()
    with pytest.raises(ValueError, match=r"^content mask is on meta, the images on cpu$"):
        check_mask(mask.to("meta"), images)


@pytest.mark.parametrize(
    "images", [torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8).byte(), None]
)
def test_sources_reject_what_are_not_images(images):
    for source in (everything, ParserSource(Parser())):
        with pytest.raises(ValueError, match="images"):
            source(images)


def test_mean_iou_by_hand():
    predicted, truth = torch.tensor([[0, 0, 1, 1, 2], [0, 0, 0, 1, 1]])
    mean, values = mean_iou(predicted, truth, classes=3)
    assert values[:2].tolist() == pytest.approx([2 / 3, 1 / 3])
    # Class 2 is predicted but not present: it counts against class 1 and not by itself.
    assert values[2].isnan()
    assert mean == pytest.approx(0.5)
