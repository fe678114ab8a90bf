"""Anything at all as a configuration: settings come of it, or lines that name the key."""

import json
import re
import shutil
from copy import deepcopy
from datetime import date
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modeledit.data.record_files import count_records
from modeledit.data.wikipedia import HELD_OUT, excerpt_path, read_articles, split_articles
from modeledit.study.config import ConfigError, check_files, load_settings, read_yaml
from modeledit.study.models import Model
from modeledit.study.published_files import PublishedFiles
from modeledit.study.settings import EXCERPT_ARTICLES, Configuration
from modeledit.study.validation import Invalid, validate

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "config"
MODEL = "smollm2-135m"
WHOLE = {"source": "counterfact", "files": "whole"}


def read(name):
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


CONFIG = read("config.yaml") | {
    "offline": "config",
    "switches": {"accuracy": "token", "round_per_trial": 2},
}
CONFIG["datasets"]["mine"] = {"source": "zsre", "path": "README.md", "skip_bad": True}
CONFIG["eligible"] |= {"authors": {MODEL: 739}, "compare": {MODEL: "README.md"}, "size": 5}
CONFIG["runs"][0] |= {"trials": 1, "iterations": 2}


def problems_of(config):
    with pytest.raises(ConfigError) as error:
        load_settings(config, ROOT, count_records)
    return str(error.value).splitlines()


def changed(path, value):
    """The configuration with another value at a path of keys."""
    config = deepcopy(CONFIG)
    at = config
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return config


# --- anything ----------------------------------------------------------------------------------

texts = st.text(max_size=4) | st.sampled_from(
    ["..", "a\nb", "\0", "", "\ud800", "/", "~", "a" * 300, "no", "1e3", "{x}", MODEL]
    + ["geography", "mine", "authors", "MEMIT", "NA8_MEMIT", "http://a:b@c/"]
)
numbers = st.integers() | st.sampled_from([0, 1, 2**31, 2**63, 10**30, 10**500]) | st.floats()
scalars = st.none() | st.booleans() | numbers | texts | st.dates() | st.binary(max_size=3)
keys = texts | st.integers() | st.none() | st.booleans() | st.floats() | st.dates()
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(keys, inner, max_size=3)
        | st.sets(st.integers(), max_size=2)
    ),
    max_leaves=5,
)


@st.composite
def damaged(draw, whole):
    """What `whole` is, with a few keys or values, at any depth, that are anything at all."""
    result = deepcopy(whole)
    for _ in range(draw(st.integers(1, 2))):
        at = result
        while True:
            key = draw(st.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))
            deeper = isinstance(at[key], dict | list) and at[key]
            if not deeper or draw(st.integers(0, 2)) == 0:
                break
            at = at[key]
        what = draw(st.sampled_from(["value", "value", "new key", "no key"]))
        if what == "new key" and isinstance(at, dict):
            at[draw(keys)] = draw(values)
        elif what == "no key" and len(at) > 1:
            del at[key]
        else:
            at[key] = draw(values)
    return result


def check_lines(error, begin):
    for line in str(error).split("\n"):
        assert line.startswith(begin), line
        assert line.isprintable() and len(line) < 2000
    str(error).encode()


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(damaged(CONFIG))
def test_any_configuration_is_settings_or_refused(config):
    try:
        load_settings(config, ROOT, lambda _: 50)
    except ConfigError as error:
        check_lines(error, "config: ")


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        (Model, f"models/{MODEL}.yaml"),
        (Model, "models/gpt2-xl.yaml"),
        (PublishedFiles, "sources.yaml"),
    ],
)
def test_any_description_is_right_or_refused(kind, file):
    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
    @given(damaged(read(file)))
    def check(described):
        try:
            validate(kind, described, file)
        except Invalid as error:
            check_lines(error, f"{file}: ")

    check()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A folder of configuration that may be changed."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(FOLDER, folder / "config")
    return folder


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(model=damaged(read(f"models/{MODEL}.yaml")), sources=damaged(read("sources.yaml")))
def test_any_files_beside_the_configuration_are_right_or_refused(elsewhere, model, sources):
    for file, value in ((f"models/{MODEL}.yaml", model), ("sources.yaml", sources)):
        (elsewhere / "config" / file).write_text(yaml.safe_dump(value), encoding="utf-8")
    config = read("config.yaml") | {"datasets": {"counterfact": WHOLE}}
    config["runs"][0] |= {"dataset": "counterfact"}
    try:
        found = load_settings(config, elsewhere, count_records)
    except ConfigError as error:
        check_lines(error, "config")
    else:
        assert found.sources.files and found.layers(MODEL)


@given(
    text=st.text(max_size=30)
    | st.text(st.sampled_from("[]{}:,-!&*?|>'\"%@#\n\t 019a\0\ud7ff"), max_size=20)
)
def test_any_text_is_yaml_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        read_yaml(path, "any.yaml")
    except ConfigError as error:
        assert str(error).startswith("any.yaml") and "\n" not in str(error)


# --- the smallest examples of what was found ---------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        (("x",), date(2001, 1, 1), "config: (top level): unknown key x;"),
        ((date(2001, 1, 1),), 1, "config: (top level): unknown key 2001-01-01;"),
        ((1,), 2, "config: (top level): unknown key 1;"),
        ((False,), 2, "config: (top level): the key False (YAML reads no, yes, on, off"),
        (("datasets", False), {}, "config: datasets: the key False (YAML reads no"),
        (("datasets", None), {}, "config: datasets: the key None (YAML reads no"),
        (("datasets", 1.5), {}, "config: datasets: the key 1.5 is a float; quote it"),
        (("eligible", "compare", b"x"), "y", "config: eligible.compare: the key b'x' is a bytes"),
        pytest.param(("seed",), 16**5000, "config: seed: a number of more than 400", id="endless"),
        pytest.param((16**5000,), 1, "config: (top level): a key that is a number of", id="key"),
        (("name",), "\ud800", "config: name: half a character"),
        (("switches", "\ud800"), 1, "config: switches: half a character (a surrogate) in the key"),
        (("name",), {1, 2}, "config: name: {1, 2} is a set, which no setting is"),
        (("name",), "a\nb", r"config: name = 'a\nb': must be matching"),
        (("a\nb",), 1, r"config: (top level): unknown key 'a\nb';"),
        (("datasets", "a\nb"), 1, r"config: datasets.'a\nb' = 1: must be of type mapping"),
        (("name",), False, "config: name = False: must be of type string; quote it (YAML reads no"),
        (("name",), 7, "config: name = 7: must be of type string; quote it"),
        (("stop", "epsilon"), "1e3", "take quotes away, and write 1.0e+3 for 1e3"),
        (("trials", "size"), "3", "config: trials.size = '3': must be of type integer; YAML takes"),
        pytest.param(("name",), "x" * 101, "config: name = 'xxx", id="long"),
        (("offline",), "a" * 300, "no such folder"),
        (("eligible", "compare", MODEL), "a" * 300, "no such file"),
        (("text", "covariance_articles"), 69, "must be at most 68"),
        (("text", "perplexity_texts"), 10**18, "must be at most 1000"),
        (("trials", "count"), 10**18, "geography has 2434; allowed: count * size at most 2434"),
        (("stop", "extended"), 10**18, "config: stop.extended = 1000000000000000000: must be"),
        (("compute", "threads"), 10**18, "must be at most 4096"),
    ],
)  # fmt: skip
def test_one_line_names_the_key(path, value, line):
    config = changed(path, value)
    if path != ("eligible", "compare", MODEL):
        config["eligible"].pop("authors")
    said = problems_of(config)
    assert any(line in problem for problem in said), said
    check_lines("\n".join(said), "config: ")


def test_a_number_as_a_key_beside_its_text_is_refused():
    config = changed(("datasets",), {1: {"source": "geography"}, "1": {"source": "geography"}})
    (problem,) = problems_of(config)
    assert problem.startswith("config: datasets: the key 1 is there as a text and as a number")


def test_a_name_may_look_like_a_date():
    config = changed(("name",), date(2026, 11, 26))
    config["eligible"] = {"editing_neighbors": 1, "choice": "first"}
    assert load_settings(config, ROOT, count_records).config.name == "2026-11-26"


def test_lists_without_an_end_and_aliases_of_aliases_are_refused_at_once():
    endless: list = []
    endless.append(endless)
    laughs: list = ["ha"] * 9
    for _ in range(9):
        laughs = [laughs] * 9
    for value, words in ((endless, "inside each other more than"), (laughs, "more than 100000")):
        with pytest.raises(Invalid, match=words):
            validate(Configuration, {"name": value}, "config")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not YAML: "),
        ("a: 2001-99-99", "not YAML: month must be in 1..12"),
        pytest.param("a: " + "9" * 5000, "not YAML: Exceeds the limit", id="digits"),
        pytest.param("[" * 3000, "too deeply nested", id="nested"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is in line 1 already; keep one of the two"),
        ("a:\n- {b: 1, b: 2}", "line 2: the key 'b' is in line 2 already"),
        ("a: \udcff", "not YAML: "),
        ("? [1]\n: 2", "not YAML: .*unhashable key"),
    ],
)
def test_files_that_are_no_yaml_are_named_in_one_line(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    for ask in (lambda: read_yaml(path, str(path)), lambda: check_files([str(path)])):
        with pytest.raises(ConfigError, match=message) as error:
            ask()
        assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_key_twice_is_told_from_an_alias_and_a_merge(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: [*a, *a]\nd: *a\n", encoding="utf-8")
    assert read_yaml(path, "mine")["b"] == {"x": 3, "y": 2}
    path.write_text("", encoding="utf-8")
    assert read_yaml(path, "mine") is None
    with pytest.raises(ConfigError, match="absent.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "absent.yaml", "absent.yaml")
    check_files([tmp_path / "data.json"])  # of other formats nothing is said here
    path.write_text('{\t"a": 1}', encoding="utf-8")  # tabs are JSON, but no YAML
    check_files([path])


def test_the_files_of_the_project_have_no_key_twice():
    check_files(sorted(FOLDER.rglob("*.yaml")))


# --- settings under which nothing would happen, or a job could only refuse ----------------------


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("steps", 1, "at least 2"),  # the last step only measures
        ("steps", 10**9, "at most 10000"),
        ("lr", 1e-30, "at least 1e-05"),
        ("clamp", 1e-9, "at least 0.001"),
        ("weight_decay", 1e9, "at most 100"),
        ("kl_factor", 1e300, "at most 100"),
        ("nll_factor", 1e-9, "at least 0.001"),
    ],
)
def test_hyperparameters_that_would_move_nothing_are_refused(key, value, limit):
    described = read(f"models/{MODEL}.yaml")
    described["algorithms"]["MEMIT"][key] = value
    with pytest.raises(Invalid, match=rf"algorithms.MEMIT.{key} = .*: must be {limit}"):
        validate(Model, described, "model")


def plain(**parts):
    config = read("config.yaml")
    for name, values in parts.items():
        config[name] |= values
    return config


def test_a_covariance_of_too_few_tokens_is_refused_before_anything_runs():
    (problem,) = problems_of(plain(text={"covariance_articles": 2, "covariance_length": 500}))
    assert problem == (
        "config: text.covariance_articles = 2 and text.covariance_length = 500: 1000 tokens at "
        f"most, the covariance of {MODEL} needs 1383 to be inverted; raise one of the two"
    )
    few = {"source": "recompute", "articles": 10, "length": 100}
    (problem,) = problems_of(plain(covariance=few))
    assert problem.startswith("config: covariance.articles = 10 and covariance.length = 100")
    for enough in ({"source": "recompute", "articles": 10}, {"source": "fast", "length": 2}):
        load_settings(plain(covariance=enough), ROOT, count_records)


def test_the_excerpt_has_as_many_articles_as_may_be_asked_for():
    articles = read_articles(excerpt_path())
    for seed in (0, 42, 2**63 - 1):
        train, _ = split_articles(articles, HELD_OUT, seed)
        assert len(train) == EXCERPT_ARTICLES


def test_a_model_whose_name_would_break_paths_is_refused(tmp_path):
    for name in ("a b", "{model}", "a\nb", "..", "-x", "ä"):
        (tmp_path / "config" / "models").mkdir(parents=True, exist_ok=True)
        for file in ("presets.yaml", "sources.yaml"):
            (tmp_path / "config" / file).write_text((FOLDER / file).read_text(encoding="utf-8"))
        described = (FOLDER / "models" / f"{MODEL}.yaml").read_text(encoding="utf-8")
        (tmp_path / "config" / "models" / f"{name}.yaml").write_text(described)
        config = read("config.yaml")
        config["runs"][0]["models"] = [name]
        with pytest.raises(ConfigError, match=re.escape(f"{name!r}: the name becomes a part of")):
            load_settings(config, tmp_path, count_records)


def test_what_is_written_down_as_json_is_the_same_configuration():
    config = plain()
    assert load_settings(json.loads(json.dumps(config)), ROOT, count_records) == load_settings(
        config, ROOT, count_records
    )
