import copy
import dataclasses
import json
import math
import sys

import pytest
import torch

from cagc_lib.checkpoints import load_features
from cagc_lib.content import GeneratorFeatures, complement, everything, union
from cagc_lib.datasets import render_portraits
from cagc_lib.metrics import Report, evaluate, feature_statistics, frechet_distance, sample_inputs
from cagc_lib.metrics.evaluate import teacher_distances
from cagc_lib.networks import Generator, GeneratorConfig
from cagc_lib.training import HELD_OUT_SEED, gaussian_blur


def left_half(images):
    mask = torch.zeros_like(images[:, :1], dtype=torch.bool)
    mask[..., :16] = True
    return mask


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    config = GeneratorConfig(32, (12, 12, 12, 12, 8, 8, 8, 8), z_dim=8, w_dim=8, mapping_layers=2)
    g = Generator(config)
    with torch.no_grad():
        for conv in g.synthesis.convs:
            conv.noise_strength.fill_(0.1)
        for torgb in g.synthesis.torgbs:
            torgb.weight.mul_(0.3)
    return g.eval()


@pytest.fixture(scope="module")
def statistics():
    """Embeddings and their Gaussian of two disjoint sets of portraits."""
    network = load_features()
    first = render_portraits(range(HELD_OUT_SEED, HELD_OUT_SEED + 200), 64)
    second = render_portraits(range(HELD_OUT_SEED + 200, HELD_OUT_SEED + 400), 64)
    return network, first, feature_statistics(network.embed(second.images))


def distance_of(statistics, images):
    network, _, reference = statistics
    return frechet_distance(*feature_statistics(network.embed(images)), *reference)


def test_real_portraits_are_near_and_noise_and_lost_diversity_far(statistics):
    images = statistics[1].images
    near = distance_of(statistics, images)
    noise = torch.rand(200, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert distance_of(statistics, noise) > 10 * near
    assert distance_of(statistics, images[:20].repeat(10, 1, 1, 1)) > 3 * near


def test_the_distance_grows_with_blur_and_noise(statistics):
    images = statistics[1].images
    grain = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    blurred = [gaussian_blur(images, torch.full([200], s)) for s in (0.0, 0.6, 1.5)]
    noisy = [(images + s * grain).clamp(-1, 1) for s in (0, 0.05, 0.3)]
    for series in (blurred, noisy):
        distances = [distance_of(statistics, worse) for worse in series]
        assert distances == sorted(distances)


def test_the_overall_distance_feels_the_background_and_the_content_does_not(statistics):
    network, first, _ = statistics
    background = (first.parsing == 0)[:, None]
    flat = torch.where(background, 0.3 * torch.ones(3, 1, 1), first.images)
    assert distance_of(statistics, flat) > 3 * distance_of(statistics, first.images)
    # One and the same content with other backgrounds: equal once masked.
    masked, masked_flat = first.images * ~background, flat * ~background
    assert torch.equal(network.embed(masked), network.embed(masked_flat))


def test_samples_do_not_depend_on_the_batch(generator):
    whole = next(iter(sample_inputs(generator, 6, 5, 6)))
    parts = list(sample_inputs(generator, 6, 5, 4))
    assert [len(z) for z, _ in parts] == [4, 2]
    assert torch.equal(whole[0], torch.cat([z for z, _ in parts]))
    for k, maps in enumerate(whole[1]):
        assert torch.equal(maps, torch.cat([noise[k] for _, noise in parts]))
    images = generator(whole[0], noise=whole[1])
    assert images.shape == (6, 3, 32, 32)
    assert not torch.equal(whole[0], next(iter(sample_inputs(generator, 6, 6, 6)))[0])


def test_evaluate_reports_everything_asked_for(generator):
    student = copy.deepcopy(generator)
    with torch.no_grad():
        student.synthesis.torgbs[-1].bias.add_(0.1)
    report = evaluate(
        student, num_samples=12, content=left_half, teacher=generator, batch_size=5, seed=3
    )
    assert report.resolution == 32
    assert report.num_samples == 12
    assert report.content_area == 0.5
    assert report.teacher_l1 == pytest.approx(0.1, rel=1e-3)
    assert report.teacher_content_l1 == pytest.approx(0.1, rel=1e-3)
    more = report.teacher_content_psnr_frame - report.teacher_content_psnr
    assert more == pytest.approx(10 * math.log10(2), rel=1e-6)
    assert report.teacher_psnr == pytest.approx(10 * math.log10(4 / 0.01), rel=1e-3)
    assert report.parameters == sum(p.numel() for p in generator.parameters())
    values = report.to_dict()
    assert all(values[field.name] is not None for field in dataclasses.fields(Report))
    assert Report.from_json(report.to_json()) == report


def test_evaluate_is_the_same_whatever_the_batch_and_the_global_seed(generator):
    first = evaluate(generator, num_samples=10, content=everything, batch_size=10, seed=1)
    torch.manual_seed(99)
    second = evaluate(generator, num_samples=10, content=everything, batch_size=3, seed=1)
    assert first.frechet == pytest.approx(second.frechet, rel=1e-4)
    assert first.content_area == 1.0
    assert first.content_frechet == pytest.approx(first.frechet, rel=1e-4)
    assert first.precision == second.precision
    other = evaluate(generator, num_samples=10, batch_size=10, seed=2)
    assert other.frechet != first.frechet
    assert other.content_frechet is None
    assert other.teacher_l1 is None


def test_content_distances_ignore_what_is_outside():
    network, a = load_features(), torch.zeros(2, 3, 32, 32)
    b = a.clone()
    b[..., 16:] = 1
    found = teacher_distances(network, left_half, b, a)
    assert found["teacher_l1"].tolist() == pytest.approx([0.5, 0.5])
    assert not found["teacher_content_l1"].any()
    assert not found["teacher_content_perceptual"].any()
    b[..., :16] = 0.5
    found = teacher_distances(network, left_half, b, a)
    assert found["teacher_content_l1"].tolist() == pytest.approx([0.5, 0.5])


def test_content_cut_out_by_the_teachers_mask(generator):
    def bright(images):
        return images.mean(1, keepdim=True) > 0

    louder = copy.deepcopy(generator)
    with torch.no_grad():
        louder.synthesis.torgbs[-1].bias.add_(0.3)
    fixed = evaluate(louder, num_samples=8, content=left_half, teacher=generator)
    assert fixed.teacher_content_frechet == pytest.approx(fixed.content_frechet, rel=1e-6)
    # the brighter student has content where its teacher has none, which only its own mask shows
    spilt = evaluate(louder, num_samples=8, content=bright, teacher=generator)
    assert spilt.content_area > evaluate(generator, num_samples=8, content=bright).content_area
    assert spilt.teacher_content_frechet != pytest.approx(spilt.content_frechet, rel=1e-3)
    itself = evaluate(generator, num_samples=8, content=bright, teacher=generator)
    assert itself.teacher_content_frechet == pytest.approx(itself.content_frechet, rel=1e-6)


def test_a_generator_equals_itself_and_has_no_content_distances_without_content(generator):
    report = evaluate(
        generator, num_samples=5, teacher=generator, content=lambda images: ~everything(images)
    )
    assert report.content_area == 0
    assert report.teacher_content_l1 is None
    assert report.teacher_content_psnr is None
    assert report.teacher_l1 == report.teacher_perceptual == 0
    assert report.teacher_psnr == math.inf
    values = json.loads(report.to_json())
    assert values["teacher_psnr"] == "inf"
    assert Report.from_dict(values) == report
    del values["macs"]
    with pytest.raises(ValueError, match="report: missing macs"):
        Report.from_dict(values)


def test_the_network_that_measures_has_a_name(monkeypatch):
    measures = sys.modules["cagc_lib.metrics.evaluate"]
    for name in ("load_features", "load_standard_features", "load_classifier"):
        monkeypatch.setattr(measures, name, lambda *given, name=name: (name, *given))
    names = (None, "portraits", "standard", "mine.safetensors")
    assert [measures._network(name, "cpu") for name in names] == [
        ("load_features", "cpu"), ("load_features", "cpu"), ("load_standard_features", "cpu"),
        ("load_classifier", "mine.safetensors", "cpu"),
    ]


def test_evaluate_leaves_the_generator_as_it_was(generator):
    generator.train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    evaluate(generator, num_samples=5)
    assert generator.training
    assert all(torch.equal(v, before[k]) for k, v in generator.state_dict().items())
    generator.eval()


def test_bad_input_is_named(generator):
    watching = GeneratorFeatures(copy.deepcopy(generator), keep=[0], num_samples=4)
    other = Generator(GeneratorConfig(16, (4,) * 6, z_dim=8, w_dim=8, mapping_layers=1))
    one_generators = "^content: got a source that knows one generator's"
    for name, value, message in (
        ("num_samples", 4, "num_samples: got 4"), ("batch_size", 0, "batch_size: got 0"),
        ("content", "faces", "content: got 'faces', expected portraits"),
        ("content", torch.ones(5, 1, 32, 32).bool(), "^content: got <class 'torch.Tensor'>, exp"),
        ("content", lambda images: torch.ones(5, 1, 32, 32), r"torch\.bool"),
        ("content", "attention", one_generators), ("content", "attention=0,3", one_generators),
        ("content", watching, one_generators),
        ("content", union(everything, complement(watching)), one_generators),
        ("teacher", other, "teacher: got resolution 16"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(generator, **{"num_samples": 5, name: value})
