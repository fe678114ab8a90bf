"""The estimated error of a covariance is the true one, and gathering ends where it is small."""

import logging
import re

import numpy as np
import pytest
import torch

from modeledit.editing import covariance_error
from modeledit.editing.covariance import KeySums
from modeledit.editing.covariance_error import ErrorEstimate
from modeledit.editing.covariance_files import Partial, Reading, covariance_of, gather
from modeledit.io.files import StateError, write_texts
from modeledit.lm.model import EditableModel
from tests.reference.models import tiny_contexts, tiny_gpt2, tiny_tokenizer

WIDTH = 24
LAYERS = [1, 3]
RECIPE = {"source": "embedded", "articles": "90", "max_length": "8", "seed": "3", "base": "abc"}


class Language:
    """Texts of unequal lengths whose keys have a direction of their text in common."""

    def __init__(self, seed, heavy):
        self.draws, self.heavy = np.random.default_rng(seed), heavy
        self.mix = self.draws.normal(size=(WIDTH, WIDTH)) * 0.8 ** np.arange(WIDTH)

    def text(self):
        tokens = int(self.draws.integers(3, 60))
        scale = self.draws.lognormal(sigma=0.5) if self.heavy else 1.0
        common = self.draws.normal(size=WIDTH)
        keys = scale * (0.6 * common + self.draws.normal(size=(tokens, WIDTH))) @ self.mix
        return torch.from_numpy(keys).float()

    def covariance(self):
        """E(G) / E(n), exactly."""
        scale = np.exp(2 * 0.5**2) if self.heavy else 1.0  # mean of the lognormal's square
        return scale * (1 + 0.6**2) * self.mix.T @ self.mix


@pytest.mark.parametrize("heavy", [False, True])
def test_the_estimate_is_the_true_error_of_texts_not_of_tokens(heavy):
    language, estimated, true = Language(1, heavy), [], []
    exact = language.covariance()
    for _ in range(150):
        estimate, total, tokens = ErrorEstimate(), np.zeros((WIDTH, WIDTH)), 0
        texts = [language.text() for _ in range(100)]
        for keys in texts:
            estimate.add(5, keys)
            total, tokens = total + (keys.T @ keys).double().numpy(), tokens + len(keys)
        true.append(np.linalg.norm(total / tokens - exact) / np.linalg.norm(exact))
        estimated.append(estimate.relative())
    right = np.sqrt(np.mean(np.square(true)))
    assert np.sqrt(np.mean(np.square(estimated))) == pytest.approx(right, rel=0.12)
    of_tokens = ErrorEstimate()
    for key in torch.cat(texts):
        of_tokens.add(5, key[None])
    assert of_tokens.relative() < 0.6 * right
    # A single estimate is near, too; the factor is that of a heavy tail.
    assert np.std(estimated) < (0.35 if heavy else 0.12) * right


def test_the_random_signs_cost_little():
    language = Language(2, heavy=False)
    texts = [language.text() for _ in range(60)]
    estimate = ErrorEstimate()
    for keys in texts:
        estimate.add(1, keys)
    grams, counts = [(k.T @ k).double() for k in texts], [len(k) for k in texts]
    mean = sum(grams) / sum(counts)
    apart = sum(float((g - n * mean).square().sum()) for g, n in zip(grams, counts, strict=True))
    exact = (apart * 60 / 59) ** 0.5 / sum(counts) / float(mean.norm())
    assert estimate.relative() == pytest.approx(exact, rel=0.15)


def test_the_worst_layer_counts_and_one_text_says_nothing():
    language, estimate = Language(3, heavy=False), ErrorEstimate()
    assert estimate.relative() == np.inf
    estimate.add(1, language.text())
    assert estimate.relative() == np.inf
    for _ in range(20):
        estimate.add(1, language.text())
    before = estimate.relative()
    for _ in range(3):
        estimate.add(2, language.text())
    assert estimate.relative() > before > 0
    same = ErrorEstimate()
    for _ in range(3):  # nothing differs
        same.add(1, torch.ones(4, WIDTH))
    assert same.relative() == pytest.approx(0, abs=1e-6)


# Gathering until it is small


@pytest.fixture(scope="module")
def model():
    return EditableModel(tiny_gpt2())


@pytest.fixture(scope="module")
def texts():
    words = " ".join(tiny_contexts()).replace("{}", "Lyon").split()
    draws = np.random.default_rng(0)
    return [" ".join(draws.choice(words, size=5 + i % 7)) for i in range(90)]


def gathered(model, texts, place, tolerance, recipe=RECIPE):
    return gather(
        model,
        tiny_tokenizer(),
        lambda n: texts[n:],
        Reading(LAYERS, 8, expected=len(texts), tolerance=tolerance),
        recipe,
        Partial(place / "partial.safetensors", 7),
    )


def error_after(model, texts, count):
    sums = KeySums(LAYERS, ErrorEstimate())
    for _ in sums.add_texts(model, tiny_tokenizer(), texts[:count], 8):
        pass
    return sums.error.relative()


@pytest.fixture(scope="module")
def tolerance(model, texts):
    """What 60 texts keep, 40 do not, and 10 seem to."""
    return error_after(model, texts, 60) * 1.0001


def test_it_ends_at_the_first_check_that_keeps_the_tolerance(model, texts, tmp_path, tolerance):
    sums = gathered(model, texts, tmp_path, tolerance)
    checks = range(covariance_error.LEAST_TEXTS, 91, covariance_error.CHECK_EVERY)
    errors = {n: error_after(model, texts, n) for n in checks}
    assert sums.texts == next(n for n, error in errors.items() if error <= tolerance)
    assert sums.error.relative() == errors[sums.texts]
    plain = KeySums(LAYERS)
    for _ in plain.add_texts(model, tiny_tokenizer(), texts[: sums.texts], 8):
        pass
    for layer, moments in sums.moments().items():
        assert torch.equal(moments, plain.moments()[layer])


def test_few_texts_never_do(model, texts, tmp_path):
    assert gathered(model, texts, tmp_path, 10.0).texts == covariance_error.LEAST_TEXTS


class Killed(Exception):
    pass


@pytest.mark.parametrize("killed_after", [5, 33, 49, 56])
def test_a_killed_run_ends_with_the_same_bytes(model, texts, tmp_path, tolerance, killed_after):
    def until_killed(n):
        for i, text in enumerate(texts[n:], start=n):
            if i == killed_after:
                raise Killed
            yield text

    partial = Partial(tmp_path / "partial.safetensors", 7)
    reading = Reading(LAYERS, 8, expected=len(texts), tolerance=tolerance)
    whole = gathered(model, texts, tmp_path / "other", tolerance)
    if killed_after < whole.texts:
        with pytest.raises(Killed):
            gather(model, tiny_tokenizer(), until_killed, reading, RECIPE, partial)
        assert partial.path.exists() == (killed_after >= 7)
    resumed = gathered(model, texts, tmp_path, tolerance)
    assert (resumed.texts, resumed.tokens) == (whole.texts, whole.tokens)
    assert resumed.error.relative() == whole.error.relative()
    for layer, moments in resumed.moments().items():
        assert moments.numpy().tobytes() == whole.moments()[layer].numpy().tobytes()


def made(model, texts, tmp_path, tolerance):
    path = tmp_path / "covariance.jsonl"
    write_texts(path, texts)
    recipe = RECIPE | {"tolerance": str(tolerance)}
    partial = Partial(tmp_path / "partial.safetensors", 7)
    return covariance_of(model, tiny_tokenizer(), [path], LAYERS, recipe, partial)[1]


def test_the_file_says_what_was_asked_and_what_came_of_it(
    model, texts, tmp_path, tolerance, capsys, caplog
):
    said = made(model, texts, tmp_path, tolerance)
    assert said["tolerance"] == str(tolerance) and int(said["texts"]) < 90
    assert float(said["error"]) == pytest.approx(
        error_after(model, texts, int(said["texts"])), 1e-3
    )
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert re.search(r"error \d+\.\d%", capsys.readouterr().err)


def test_texts_that_do_not_suffice_are_told(model, texts, tmp_path, caplog):
    said = made(model, texts, tmp_path, 1e-6)
    assert said["texts"] == "90" and float(said["error"]) > 1e-6
    assert "all 90 texts leave an error of" in caplog.text


def test_sums_of_another_tolerance_are_refused(model, texts, tmp_path):
    gathered(model, texts, tmp_path, 1e-6, RECIPE | {"tolerance": "1e-06"})
    with pytest.raises(StateError, match="tolerance is '1e-06', this run needs '0.5'"):
        gathered(model, texts, tmp_path, 0.5, RECIPE | {"tolerance": "0.5"})
