"""Bad input from Python: one line that names what was wrong, what came and what was expected."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from cagc_lib.content import complement, everything
from cagc_lib.importance import ChannelScores, gradient_scores, salt_and_pepper, score_channels
from cagc_lib.networks import Generator, GeneratorConfig
from cagc_lib.pruning import PruningPlan, plan_pruning, prune

CONFIG = GeneratorConfig(8, (4, 5, 6, 7), z_dim=8, w_dim=8, mapping_layers=2)
SCORES = [torch.arange(float(c)) for c in CONFIG.channels]


def network() -> Generator:
    return Generator(CONFIG)


def fails(call: Callable, *words: str) -> None:
    """The call raises one line that holds the words."""
    with pytest.raises(ValueError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("ratio", [1.0, 1.5, -0.1, float("nan"), float("inf"), 1])
def test_a_ratio_outside_the_range(ratio: float) -> None:
    fails(lambda: plan_pruning(SCORES, ratio), "ratio", str(ratio), "[0, 1)")
    fails(lambda: plan_pruning(SCORES, [0.5, 0.5, 0.5, ratio]), "ratio", str(ratio), "[0, 1)")


@pytest.mark.parametrize("ratio", ["0.7", None, True, torch.tensor(0.7), {0.7}])
def test_a_ratio_that_is_no_number(ratio: object) -> None:
    fails(lambda: plan_pruning(SCORES, ratio), "ratio", "[0, 1)")


def test_a_wrong_number_of_ratios() -> None:
    fails(lambda: plan_pruning(SCORES, [0.5, 0.5]), "ratio", "got 2", "(4)")


@pytest.mark.parametrize("round_to", [0, -8, 2.0, True, "8"])
def test_a_wrong_round_to(round_to: object) -> None:
    fails(lambda: plan_pruning(SCORES, 0.5, round_to=round_to), "round_to", repr(round_to))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("method", "content", "content-aware"), ("method", None, "content-aware"),
        ("num_samples", 0, ">= 1"), ("num_samples", 2.5, ">= 1"), ("num_samples", True, ">= 1"),
        ("batch_size", 0, ">= 1"), ("batch_size", "10", ">= 1"), ("noise_prob", 0, "(0, 1]"),
        ("noise_prob", 1.5, "(0, 1]"), ("noise_prob", float("nan"), "(0, 1]"),
        ("noise_prob", "0.05", "(0, 1]"), ("seed", True, "integer"), ("seed", 1.0, "integer"),
        ("seed", "1", "integer"), ("seed", None, "integer"), ("noise", "none", "random or const"),
        ("per_sample", 1, "True or False"),
    ],
)
def test_a_wrong_scoring_argument(name: str, value: object, expected: str) -> None:
    fails(
        lambda: score_channels(network(), everything, **{name: value}), name, repr(value), expected
    )


@pytest.mark.parametrize(
    "method", ["ablation", "diversity", "l1-out", "l1-in", "activation", "random"]
)
def test_per_sample_is_for_methods_with_gradients(method: str) -> None:
    fails(
        lambda: score_channels(network(), everything, method, num_samples=2, per_sample=True),
        "per_sample", method, "content-aware",
    )


@pytest.mark.parametrize(
    ("mask", "word"),
    [
        (lambda x: None, "NoneType"), (lambda x: everything(x).numpy(), "ndarray"),
        (lambda x: everything(x).float(), "float32"), (lambda x: everything(x)[:, 0], "[2, 8, 8]"),
        (lambda x: everything(x).expand(-1, 3, -1, -1), "[2, 3, 8, 8]"),
        (lambda x: everything(x)[:1], "[1, 1, 8, 8]"),
        (lambda x: everything(x)[..., :4], "[2, 1, 8, 4]"),
    ],
)
def test_a_mask_of_another_shape_or_type(mask: Callable, word: str) -> None:
    fails(lambda: score_channels(network(), mask, num_samples=2), "mask", word)
    images = torch.zeros(2, 3, 8, 8)
    fails(lambda: salt_and_pepper(images, mask(images), 0.05), "mask", word)


@pytest.mark.parametrize(
    ("content", "word"), [("everything", "str"), (torch.ones(2, 1, 8, 8) > 0, "Tensor")]
)
def test_content_that_is_no_source(content: object, word: str) -> None:
    fails(lambda: score_channels(network(), content), "content: got", word, "content_source")
    # nothing else asks for it
    score_channels(network(), content, "l1-out", num_samples=2)


def test_content_without_a_pixel() -> None:
    nothing = complement(everything)
    fails(lambda: score_channels(network(), nothing, num_samples=4), "content", "no pixel")


def test_noisy_images_that_do_not_fit() -> None:
    g, w = network(), torch.zeros(2, 8)
    fails(lambda: gradient_scores(g, w, torch.zeros(1, 3, 8, 8)), "noisy", "[1, 3, 8, 8]")
    fails(lambda: gradient_scores(g, w, None), "noisy", "NoneType")
    noisy = torch.zeros(2, 3, 8, 8)
    fails(lambda: gradient_scores(g, w, noisy, noise="random"), "noise", "random")
    fails(lambda: gradient_scores(g, torch.zeros(2, 9), noisy), "w:", "[2, 9]")


@pytest.mark.parametrize(
    "vector", [torch.zeros(2, 2), torch.zeros(0), torch.tensor(1.0), [1.0, 2.0], None]
)
def test_scores_of_another_shape(vector: object) -> None:
    fails(lambda: plan_pruning([torch.ones(3), vector], 0.5), "scores[1]", "[C]")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite(value: float) -> None:
    fails(lambda: plan_pruning([torch.tensor([1.0, value])], 0.5), "scores[0]", "finite")


def test_a_network_of_nan_is_not_scored() -> None:
    g = network()
    with torch.no_grad():
        g.synthesis.const.fill_(float("nan"))
    fails(lambda: score_channels(g, everything, num_samples=2), "scores[", "finite")


def test_scores_and_plans_of_another_network() -> None:
    plan = plan_pruning([torch.ones(c) for c in (4, 5, 6, 8)], 0.5)
    fails(lambda: prune(network(), plan), "plan", "[4, 5, 6, 8]", "[4, 5, 6, 7]")
    short = plan_pruning([torch.ones(c) for c in (4, 5)], 0.5)
    fails(lambda: prune(network(), short), "plan", "[4, 5]")


@pytest.mark.parametrize("gain", ["keep", "", None, 1.0])
def test_an_unknown_rgb_gain(gain: object) -> None:
    plan = plan_pruning(SCORES, 0.5)
    fails(lambda: prune(network(), plan, rgb_gain=gain), "rgb_gain", repr(gain), "preserved")


@pytest.mark.parametrize("keep", [[], [3, 1], [1, 1], [0, 4], [-1, 2], [[0], [1]]], ids=str)
def test_a_plan_with_wrong_channels(keep: list) -> None:
    fails(lambda: PruningPlan((torch.tensor(keep, dtype=torch.int64),), (4,), 0.5), "keep[0]")
    fails(lambda: PruningPlan((torch.tensor([0.0, 1.0]),), (4,), 0.5), "keep[0]", "float32")


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "7", "null", "{}", '"plan"', "[" * 100_000,
        '{"keep": [[0]], "source_channels": [4]}',
        '{"keep": [[0]], "source_channels": [4], "ratio": 0.5, "surprise": 1}',
        '{"keep": [[0.5]], "source_channels": [4], "ratio": 0.5}',
        '{"keep": [[true]], "source_channels": [4], "ratio": 0.5}',
        '{"keep": [["0"]], "source_channels": [4], "ratio": 0.5}',
        '{"keep": [[99999999999999999999]], "source_channels": [4], "ratio": 0.5}',
        '{"keep": [[0]], "source_channels": ["4"], "ratio": 0.5}',
        '{"keep": [[0]], "source_channels": 4, "ratio": 0.5}',
        '{"keep": [[0]], "source_channels": [4], "ratio": NaN}',
        '{"keep": [[0]], "source_channels": [4], "ratio": "0.5"}',
        '{"keep": [[0], [1]], "source_channels": [4], "ratio": 0.5}',
        '{"keep": 3, "source_channels": [4], "ratio": 0.5}',
    ],
    ids=lambda text: text[:60],
)
def test_a_file_that_is_no_plan(text: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text, encoding="utf-8")
    fails(lambda: PruningPlan.load(path), "plan.json", "not a pruning plan")


def test_bytes_that_are_no_plan(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(b"\xff\xfe\x00plan")
    fails(lambda: PruningPlan.load(tmp_path / "plan.json"), "not a pruning plan")
    with pytest.raises(FileNotFoundError):
        PruningPlan.load(tmp_path / "missing.json")


def test_a_file_that_is_no_scores(tmp_path: Path) -> None:
    path = tmp_path / "scores.safetensors"
    good = score_channels(network(), everything, "random", num_samples=2)
    good.save(path)
    whole = path.read_bytes()
    settings = {k: str(v) for k, v in vars(good).items() if k != "scores"}
    vector = {"scores.0": torch.ones(3)}
    for content in (
        b"", b"scores", whole[: len(whole) // 2], whole[:-1], json.dumps({"a": 1}).encode(),
        safetensors.torch.save(vector),
        safetensors.torch.save(vector, settings | {"surprise": "1"}),
        safetensors.torch.save(vector, settings | {"num_samples": "many"}),
        safetensors.torch.save(vector, settings | {"method": "magic"}),
        safetensors.torch.save({"other": torch.ones(3)}, settings),
        safetensors.torch.save({"scores.0": torch.ones(3, 3)}, settings),
        safetensors.torch.save({"scores.0": torch.tensor([float("nan")])}, settings),
    ):
        path.write_bytes(content)
        fails(lambda: ChannelScores.load(path), "scores.safetensors", "not channel scores")
    with pytest.raises(FileNotFoundError):
        ChannelScores.load(tmp_path / "missing.safetensors")


def test_a_save_into_a_missing_folder_leaves_nothing(tmp_path: Path) -> None:
    plan = plan_pruning(SCORES, 0.5)
    with pytest.raises(FileNotFoundError, match="expected an existing one"):
        plan.save(tmp_path / "nowhere" / "plan.json")
    assert list(tmp_path.iterdir()) == []
