"""SN-GAN down the whole road: the same functions, files and commands as StyleGAN2."""

import copy
import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from runs import assert_same, log

import cagc_lib as cagc
from cagc_lib import compression
from cagc_lib.checkpoints import load_checkpoint, save_checkpoint, save_generator
from cagc_lib.checkpoints.formats import native
from cagc_lib.cli import main
from cagc_lib.content import GeneratorFeatures, everything
from cagc_lib.distillation import DistillationConfig
from cagc_lib.metrics import count_macs, macs, parameters
from cagc_lib.networks import (
    Classifier,
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    SNGANConfig,
    SNGANDiscriminator,
    SNGANDiscriminatorConfig,
    SNGANGenerator,
)
from cagc_lib.pruning import PruningPlan, prune
from cagc_lib.training import (
    SNGAN_RECIPE,
    TrainConfig,
    TrainState,
    calibrate,
    proximal_step,
    train_student,
    train_teacher,
)
from cagc_lib.training import steps as train_steps

CONFIG = SNGANConfig(16, (6, 5, 8, 4, 6), z_dim=8)
D_CONFIG = SNGANDiscriminatorConfig(16, (4, 4))
PIXELS = DistillationConfig(perceptual=0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight small photographs in two class folders, as CIFAR-10 is laid out."""
    random = np.random.default_rng(0)
    for i in range(8):
        folder = tmp_path / "photos" / ("cat", "dog")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "photos"


def networks() -> tuple[SNGANGenerator, SNGANDiscriminator]:
    g, d = SNGANGenerator(CONFIG), SNGANDiscriminator(D_CONFIG)
    with torch.no_grad():
        for _ in range(3):
            d(g(torch.randn(8, 8)))
    return g.eval(), d.eval()


def config(photos: Path, **changes: object) -> TrainConfig:
    often = {"log_every": 1, "sample_every": 4, "checkpoint_every": 4}
    small = {"images": 24, "batch_size": 4, "d_steps": 2, "data": str(photos)}
    return TrainConfig(**(SNGAN_RECIPE | small | often | changes))


@pytest.mark.parametrize("autocast", ["off", "bfloat16"])
def test_a_resumed_teacher_is_the_same_to_the_bit(
    photos: Path, tmp_path: Path, autocast: str
) -> None:
    changes = {"autocast": autocast, "lr_decay": "none"}
    runs = [(tmp_path / "a", 24, False), (tmp_path / "b", 12, False), (tmp_path / "b", 24, True)]
    straight, _, resumed = (
        train_teacher(
            config(photos, images=images, **changes), CONFIG, out, D_CONFIG, resume=resume,
            progress=False,
        )
        for out, images, resume in runs
    )
    assert_same(straight.state_dict(), resumed.state_dict())
    saved = load_checkpoint(tmp_path / "a" / "checkpoint.safetensors")
    assert isinstance(saved.generator, SNGANGenerator)
    assert saved.discriminator.config == D_CONFIG
    z = torch.randn(2, 8)
    assert torch.equal(saved.generator(z), straight.average(z))


def test_the_recipe(photos: Path, tmp_path: Path) -> None:
    state = train_teacher(config(photos), CONFIG, tmp_path / "run", D_CONFIG, progress=False)
    # linear to zero: the last step's rate is that of one step before the end
    assert state.g_optimiser.param_groups[0]["lr"] == pytest.approx(2e-4 / 6)
    assert state.g_optimiser.param_groups[0]["betas"] == (0.0, 0.9)
    assert [bool(row["g"]) for row in log(tmp_path / "run")] == [False, True] * 3
    # statistics belong to the averaged weights: other latents give nearly the same
    again = copy.deepcopy(state.average)
    again.update_means(torch.randn(1_000, CONFIG.z_dim))
    for name in ("running_mean", "running_var"):
        one, other = (getattr(g.synthesis.bn, name) for g in (state.average, again))
        torch.testing.assert_close(one, other, rtol=0.1, atol=0.1)
        assert not torch.equal(one, getattr(torch.nn.BatchNorm2d(len(one)), name))


def test_a_student_learns_from_its_teacher(photos: Path, tmp_path: Path) -> None:
    g, d = networks()
    scores = cagc.score_channels(g, everything, num_samples=4, batch_size=2)
    student = cagc.prune(g, cagc.plan_pruning(scores, 0.5))
    fit = config(photos, images=160, g_lr=5e-3, d_steps=1)
    state = train_student(
        fit, dataclasses.replace(PIXELS, adversarial=0.0, l1=3.0), student, g, tmp_path / "run",
        d, everything, progress=False,
    )
    z = torch.randn(16, 8)
    with torch.no_grad():
        before, after = ((n.train(False)(z) - g(z)).abs().mean() for n in
                         (student, state.average))
    assert after < 0.9 * before
    assert state.average.lineage.source_channels == CONFIG.channels


def test_generator_features_follow_the_teacher(photos: Path, tmp_path: Path) -> None:
    g, d = networks()
    state = train_student(
        config(photos, images=4, d_steps=1), PIXELS, g, g, tmp_path / "run", d,
        GeneratorFeatures(g), progress=False,
    )
    assert state.step == 1


def sparse(photos: Path, out: Path, resume: bool = False, **changes: object) -> TrainState:
    """A teacher trained toward sparse gains, on 20 batches of its own lessons."""
    torch.manual_seed(0)
    g, d = networks()
    often = {"images": 80, "d_steps": 1, "gains_lr": 1.0, "sparsity": 0.1}
    return train_student(
        config(photos, **(often | changes)), PIXELS, g, g, out, d, everything, resume=resume,
        progress=False,
    )


def test_sparsity_makes_gains_zero(photos: Path, tmp_path: Path) -> None:
    few = sparse(photos, tmp_path / "few")
    gains = torch.cat(few.generator.gains(torch.zeros(1, 8)))
    assert 0.2 < (gains == 0).float().mean() < 1
    # the average, which is scored, follows; no other weight is thinned out
    assert torch.cat(few.average.gains(torch.zeros(1, 8))).abs().sum() < len(gains)
    convolution = few.generator.synthesis.blocks[0].conv1.weight
    assert not (convolution == 0).any()
    none = sparse(photos, tmp_path / "none", sparsity=0.0)
    assert not (torch.cat(none.generator.gains(torch.zeros(1, 8))) == 0).any()
    sums = [float(row["sparsity"]) for row in log(tmp_path / "few")]
    # the sum of the gains before each step: it starts from ones
    assert sums[0] == pytest.approx(len(gains)) and sums[-1] < sums[9] < sums[0]
    assert not any(row["sparsity"] for row in log(tmp_path / "none"))


def test_the_rate_of_gains_is_theirs_alone(photos: Path, tmp_path: Path) -> None:
    # without sparsity it is not looked at; with it, Adam's rate moves no gain
    two = [sparse(photos, tmp_path / f"{r}", sparsity=0.0, gains_lr=r) for r in (0.0, 3.0)]
    assert_same(two[0].generator.state_dict(), two[1].generator.state_dict())
    still = sparse(photos, tmp_path / "still", g_lr=0.1, gains_lr=0.0)
    assert all((gain == 1).all() for gain in still.generator.gains(torch.zeros(1, 8)))
    assert sum(len(group["params"]) for group in still.g_optimiser.param_groups) == len(
        list(still.generator.parameters())
    ) - len(still.sparse_gains)


def test_sparse_training_resumes_to_the_bit(photos: Path, tmp_path: Path) -> None:
    straight = sparse(photos, tmp_path / "a", lr_decay="none")
    sparse(photos, tmp_path / "b", images=32, lr_decay="none")
    resumed = sparse(photos, tmp_path / "b", resume=True, lr_decay="none")
    assert_same(straight.state_dict(), resumed.state_dict())


@settings(max_examples=50)
@given(
    weight=st.floats(-2, 2), target=st.floats(-2, 2), rate=st.floats(0.01, 1),
    sparsity=st.floats(0, 1),
)
def test_the_proximal_step_solves_its_problem(
    weight: float, target: float, rate: float, sparsity: float
) -> None:
    """Its result minimises the square around the descent's result plus the L1 norm."""
    w = torch.tensor([weight], dtype=torch.float64, requires_grad=True)
    ((w - target).square() / 2).sum().backward()
    gradient = w.grad.item()
    proximal_step([w], rate, sparsity)
    assert w.grad is None
    candidates = torch.cat([torch.linspace(-3, 3, 6_001, dtype=torch.float64), w.detach()])
    there = weight - rate * gradient
    cost = (candidates - there).square() / (2 * rate) + sparsity * candidates.abs()
    assert cost[-1] <= cost.min() + 1e-12


def test_the_proximal_step_ends_where_shrinking_is_not_worth_it() -> None:
    # the minimum of (w - t)^2 / 2 + s |w| is t drawn toward zero by s
    w = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0.5, 0.05, -0.3], dtype=torch.float64)
    for _ in range(400):
        ((w - target).square() / 2).sum().backward()
        proximal_step([w], 0.1, 0.1)
    torch.testing.assert_close(w.detach(), torch.tensor([0.4, 0, -0.2], dtype=torch.float64))
    assert w[1] == 0


# the tracer itself makes an autograd.Function object
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled_steps_are_the_same_steps(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # backward passes as the compiler makes them, without inductor's minutes
    whole = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr(train_steps.torch, "compile", whole)
    g, d = networks()
    rows = []
    for fast in (True, False):
        out = tmp_path / str(fast)
        fit = config(photos, images=8, compile=fast)
        train_student(fit, PIXELS, g, g, out, d, everything, progress=False)
        rows.append(log(out))
    assert len(rows[0]) == 2
    for compiled, plain in zip(*rows, strict=True):
        for loss in ("d", "g", "l1"):
            assert bool(compiled[loss]) == bool(plain[loss])
            if plain[loss]:
                assert float(compiled[loss]) == pytest.approx(float(plain[loss]), rel=1e-3), loss


@pytest.mark.parametrize(
    "name", ["warm_start", "anchor", "path_weight", "path_interval", "style_mixing"]
)
def test_what_belongs_to_stylegan2_is_refused(photos: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: got 1(\.0)?, expected 0 for an SN-GAN$"):
        TrainState(*networks(), config(photos, **{name: 1}))


def test_a_student_without_rgb_sums_is_not_taught_by_them(photos: Path, tmp_path: Path) -> None:
    g, d = networks()
    sums = dataclasses.replace(PIXELS, rgb=1.0)
    with pytest.raises(ValueError, match=r"^rgb: got 1\.0, expected 0 for an SN-GAN$"):
        train_student(config(photos), sums, g, g, tmp_path / "run", d, progress=False)
    assert not (tmp_path / "run").exists()


def test_networks_of_two_kinds_do_not_mix(photos: Path, tmp_path: Path) -> None:
    g, d = networks()
    other = Generator(GeneratorConfig(16, (4,) * 6, z_dim=8, w_dim=8, mapping_layers=1))
    with pytest.raises(ValueError, match=r"^teacher: got kind StyleGAN2, expected"):
        train_student(config(photos), PIXELS, g, other, tmp_path / "run", d, progress=False)
    with pytest.raises(ValueError, match=r"^discriminator: got kind SN-GAN, expected StyleGAN2$"):
        save_checkpoint(other, d, tmp_path / "x.safetensors")
    wrong = Discriminator(DiscriminatorConfig(16, (4, 4, 4)))
    with pytest.raises(ValueError, match=r"^discriminator: got kind StyleGAN2, expected SN-GAN$"):
        save_checkpoint(g, wrong, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"x.pt: generator: got SN-GAN, expected StyleGAN2, "):
        save_generator(g, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"^student: got <class '.+SNGANGenerator'>, expected a S"):
        calibrate(g, g)
    assert [file.name for file in tmp_path.iterdir()] == ["photos"]


def test_a_file_returns_the_networks_to_the_bit(tmp_path: Path) -> None:
    g, d = networks()
    keep = tuple(torch.arange(c) for c in CONFIG.channels)
    whole = prune(g, PruningPlan(keep, CONFIG.channels, 0.0), source_sha256="ab" * 32)
    save_checkpoint(whole, d, tmp_path / "x.safetensors")
    loaded = load_checkpoint(tmp_path / "x.safetensors")
    z = torch.randn(4, 8)
    with torch.no_grad():
        image = loaded.generator(z)
        assert torch.equal(image, g(z))
        assert torch.equal(loaded.discriminator(image), d(image))
    assert loaded.format == "safetensors"
    assert loaded.generator.lineage.source_sha256 == "ab" * 32
    tensors, header = native.read_file(tmp_path / "x.safetensors", "cagc-checkpoint")
    assert header["kind"] == "sngan"
    native.write_file(tmp_path / "y.safetensors", tensors, header | {"kind": "biggan"}, half=False)
    with pytest.raises(ValueError, match=r"kind: got 'biggan', expected one of stylegan2, sngan$"):
        load_checkpoint(tmp_path / "y.safetensors")


def test_measured_against_photographs_in_a_classifiers_features(photos: Path) -> None:
    g, _ = networks()
    network = Classifier(("cat", "dog"), (4, 6, 8), depth=1).eval().requires_grad_(False)
    report = cagc.evaluate(
        g, num_samples=8, batch_size=3, teacher=g, content="everything",
        reference=str(photos), features=network,
    )
    assert report.frechet > 0
    assert (report.teacher_l1, report.content_area) == (0.0, 1.0)
    assert (report.macs, report.parameters) == (macs(CONFIG), parameters(CONFIG))


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_the_command_line_from_training_to_a_sheet(photos: Path, tmp_path: Path, capsys) -> None:
    teacher, student = tmp_path / "teacher.safetensors", tmp_path / "student.safetensors"
    quick = ("--batch-size", "4", "--data", photos, "--set", "log_every=1", "--autocast", "off")
    shapes = ("--network", "sngan", "--resolution", "16", "--channels", "8x5", "--z-dim", "8")
    assert run("train", "teacher", *shapes, *quick, "--images", "20", "--out",
               tmp_path / "run") == 0
    (tmp_path / "run" / "checkpoint.safetensors").rename(teacher)
    capsys.readouterr()
    assert run(
        "compress", teacher, "--ratio", "0.7", "--content", "everything", "--num-samples", "4",
        "--score-batch", "2", "--perceptual", "0", "--distil-images", "20", *quick,
        "--out", student,
    ) == 0
    g = cagc.load_generator(student)
    assert g.config.channels == (3,) * 5
    assert g.lineage.source_channels == (8,) * 5
    assert macs(g) == count_macs(g)
    assert parameters(g) == sum(p.numel() for p in g.parameters())
    printed = capsys.readouterr().out
    for word in ("8x5", "3x5", f"{macs(g):,}", f"{parameters(g):,}", "latency"):
        assert word in printed
    assert run("compress", teacher, "--content", "attention", "--num-samples", "4",
               "--method", "slimming", "--out", tmp_path / "g.safetensors") == 0
    assert run("evaluate", teacher, "--content", "attention") == 2
    assert run("generate", student, "--seeds", "0-3", "--out", tmp_path / "sheet.png") == 0


def test_the_shipped_network_is_compressed_like_any_other(tmp_path: Path) -> None:
    teacher, student = cagc.load_checkpoint("cifar10-sngan"), tmp_path / "student.safetensors"
    z = torch.randn(4, 128)
    with torch.no_grad():
        images = teacher.generator(z)
        every = tuple(torch.arange(width) for width in teacher.generator.config.channels)
        plan = PruningPlan(every, teacher.generator.config.channels, 0.0, "random", 0)
        assert torch.equal(prune(teacher.generator, plan)(z), images)
    # neither flat nor saturated, and another image for another z
    assert 0.2 < images.std() < 0.7 and images.std(0).mean() > 0.1
    assert run("compress", "cifar10-sngan", "--content", "class-activation", "--num-samples", "4",
               "--score-batch", "2", "--out", student) == 0
    g = cagc.load_generator(student)
    assert g.config.channels == (77,) * 7
    assert macs(g) == count_macs(g) == 147_713_104
    assert parameters(g) == sum(p.numel() for p in g.parameters()) == 500_734
    assert g.lineage.source_sha256 == teacher.sha256


@pytest.mark.parametrize("ratio", [50, 70])
@pytest.mark.parametrize("method", ["random", "l1-out", "slimming", "content-aware"])
def test_the_shipped_students_are_of_the_shipped_teacher(method: str, ratio: int) -> None:
    teacher = cagc.load_checkpoint("cifar10-sngan")
    student = cagc.load_generator(f"cifar10-{method}-{ratio}")
    assert student.lineage.source_sha256 == teacher.sha256
    assert student.config.channels == ({50: 128, 70: 77}[ratio],) * 7
    z = torch.randn(8, 128)
    with torch.no_grad():
        images, target = student(z), teacher.generator(z)
        # trained: nearer to the teacher's image of the same z than to those of others
        own, other = (images - target).abs().mean(), (images - target.roll(1, 0)).abs().mean()
    assert own < 0.8 * other


def test_slimming_from_the_command_line_trains_gains_first(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    g, d = networks()
    source, out = tmp_path / "t.safetensors", tmp_path / "s.safetensors"
    save_checkpoint(g, d, source)
    compress = (
        "compress", source, "--ratio", "0.5", "--content", "everything", "--num-samples", "2",
        "--score-batch", "2", "--perceptual", "0", "--data", photos, "--batch-size", "4",
        "--autocast", "off", "--sparse-images", "80", "--sparsity", "0.1", "--set", "d_steps=1",
        "--set", "gains_lr=1", "--set", "average_rampup=0", "--out", out,
    )
    assert run(*compress) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "cagc_lib: sparse-images: got method content-aware, expected slimming"
    assert run(*compress, "--method", "slimming") == 0
    line = capsys.readouterr().out.splitlines()[0]
    sparse = cagc.load_generator(tmp_path / "s.run" / "sparse" / "checkpoint.safetensors")
    latents = torch.randn(4, 8)
    before, after = (torch.cat(n.gains(latents)).abs() for n in (g, sparse))
    assert after.sum() < 0.95 * before.sum()
    # without an average the file holds the last weights
    assert line == f"gains: {(after == 0).sum()} of {len(after)} are zero"
    assert (after == 0).any()
    student = cagc.load_generator(out)
    assert student.lineage.source_sha256 == load_checkpoint(source).sha256
    for kept, gains in zip(student.lineage.keep, sparse.gains(latents), strict=True):
        # the kept channels are those with the largest gains, and they are the sparse network's
        assert gains.abs()[kept].sort().values.equal(gains.abs().topk(len(kept)).values.flip(0))
    assert torch.equal(
        student.synthesis.bn.weight, sparse.synthesis.bn.weight[student.lineage.keep[-1]]
    )
    capsys.readouterr()
    assert run(*compress, "--method", "slimming") == 2
    assert "holds a run already" in capsys.readouterr().err


def test_the_command_line_inspects_and_converts(tmp_path: Path, capsys) -> None:
    g, d = networks()
    source, half = tmp_path / "t.safetensors", tmp_path / "half.safetensors"
    save_checkpoint(g, d, source)
    assert run("inspect", source) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    facts = dict(line for line in lines if line[0] != "missing")
    assert facts == {
        "file": str(source),
        "format": "safetensors of this project",
        "SHA-256": load_checkpoint(source).sha256,
        "network": "SN-GAN",
        "resolution": "16 px",
        "widths": "6,5,8,4,6",
        "latents": "z 8, used as it is",
        "parameters": f"{sum(p.numel() for p in g.parameters()):,}",
        "MACs": f"{macs(g):,}",
        "discriminator": f"widths 4x2, {sum(p.numel() for p in d.parameters()):,} parameters",
    }
    assert run("convert", source, half, "--half") == 0
    printed = capsys.readouterr().out
    assert "8 images before and after: largest difference" in printed
    assert "the discriminator's outputs on them" in printed
    assert isinstance(load_checkpoint(half).discriminator, SNGANDiscriminator)
    assert run("convert", source, tmp_path / "g.safetensors", "--generator-only") == 0
    assert "largest difference 0, of values up to" in capsys.readouterr().out
    before = sorted(tmp_path.iterdir())
    assert run("convert", source, tmp_path / "x.pt") == 2
    # a format that cannot hold the result is refused before it is made
    assert run("compress", source, "--content", "everything", "--out", tmp_path / "x.pt") == 2
    refused = (
        f"cagc_lib: {tmp_path / 'x.pt'}: generator: got SN-GAN, expected StyleGAN2, whose layout "
        "a .pt file has; .safetensors holds any"
    )
    assert capsys.readouterr().err.splitlines() == [refused] * 2
    assert sorted(tmp_path.iterdir()) == before


def test_the_command_line_refuses_in_one_line(tmp_path: Path, capsys) -> None:
    g, d = networks()
    save_checkpoint(g, d, tmp_path / "t.safetensors")
    compress = (
        "compress", tmp_path / "t.safetensors", "--content", "everything", "--num-samples", "2",
        "--perceptual", "0", "--distil-images", "20", "--batch-size", "4", "--out",
        tmp_path / "s.safetensors", "--data",
    )
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    cases = [
        ((*compress, tmp_path / "bad"), "x.png is not a readable image"),
        (("train", "teacher", "--network", "sngan", "--w-dim", "8", "--out", tmp_path / "r"),
         "unknown w_dim"),
        (("train", "teacher", "--network", "sngan", "--warm-start", "8", "--out", tmp_path / "r"),
         "warm_start: got 8, expected 0 for an SN-GAN"),
        (("train", "teacher", "--network", "sngan", "--images", "256", "--out", tmp_path / "r"),
         "images: got 256, expected at least 257: the generator first learns in adversarial"),
    ]
    for arguments, words in cases:
        assert run(*arguments) == 2, arguments
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith("cagc_lib: ")
        assert words in lines[-1]
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--distil-images", "16"), "images: got 16, expected at least 17: the generator first"),
        (("--distil-images", "20", "--method", "slimming", "--sparse-images", "16"),
         "images: got 16, expected at least 17: the generator first"),
        (("--distil-images", "20", "--rgb", "1"), "rgb: got 1.0, expected 0 for an SN-GAN"),
        (("--distil-images", "20", "--relation", "1"), "relation: got 1.0, expected 0 for an SN-"),
        (("--distil-images", "20", "--set", "style_mixing=0.5"), "style_mixing: got 0.5, expected"),
    ],
)
def test_compress_looks_at_the_training_before_it_scores(
    options: tuple[str, ...], words: str, photos: Path, tmp_path: Path, capsys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    g, d = networks()
    save_checkpoint(g, d, tmp_path / "t.safetensors")
    monkeypatch.setattr(compression, "score_channels", lambda *_, **__: pytest.fail("scored"))
    before = sorted(tmp_path.rglob("*"))
    assert run("compress", tmp_path / "t.safetensors", "--content", "everything", "--data", photos,
               "--perceptual", "0", "--batch-size", "4", *options, "--out",
               tmp_path / "s.safetensors") == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert sorted(tmp_path.rglob("*")) == before


def test_the_classifiers_command(photos: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "c.safetensors"
    status = run("train", "classifier", "--data", photos, "--test", photos, "--resolution", "8",
                 "--steps", "2", "--batch-size", "4", "--out", out)
    assert status == 0
    printed = capsys.readouterr().out
    assert "accuracy 0." in printed
    assert "on 8 images" in printed
