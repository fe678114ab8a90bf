"""The configuration is checked whole, and says everything that is wrong with it at once."""

import json
import math
import shutil
import subprocess
import sys
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import yaml

from modeledit.data.record_files import count_records
from modeledit.presentation.wording import describe_dataset, small_model_note
from modeledit.study.checks import GEOGRAPHY_REQUESTS, dataset_name
from modeledit.study.config import ConfigError, load_settings
from modeledit.study.layout import Run
from modeledit.study.models import FolderSource, HubSource
from modeledit.study.settings import Configuration, RunBlock
from modeledit.study.switches import Switches
from modeledit.study.validation import validate

ROOT = Path(__file__).parents[2]
CONFIG = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
PRESETS = yaml.safe_load((ROOT / "config" / "presets.yaml").read_text(encoding="utf-8"))
MODELS = sorted((ROOT / "config" / "models").glob("*.yaml"), key=lambda path: path.stem)
MODEL = "smollm2-135m"


def changed(**parts):
    """The repository's configuration with some parts replaced; a dict is merged one level deep."""
    config = deepcopy(CONFIG)
    for name, value in parts.items():
        merge = isinstance(value, dict) and isinstance(config.get(name), dict)
        config[name] = config[name] | value if merge else value
    return config


def merged(below, above):
    """A configuration laid over another, as Snakemake does it."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {name: merged(below.get(name), value) for name, value in above.items()}


def without(*names):
    return {name: value for name, value in CONFIG.items() if name not in names}


def block(**parts):
    """One entry of `runs` that is right but for `parts`."""
    right = {"dataset": "geography", "requests": "all", "models": [MODEL], "methods": ["MEMIT"]}
    return right | parts


def problems_of(config, root=ROOT):
    with pytest.raises(ConfigError) as error:
        load_settings(config, root, count_records)
    return str(error.value).splitlines()


@pytest.fixture
def root(tmp_path):
    """A copy of what is checked, to put other models and data into."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    return tmp_path


def edit_model(root, change):
    path = root / "config" / "models" / f"{MODEL}.yaml"
    description = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(description)
    path.write_text(yaml.safe_dump(description), encoding="utf-8")


def test_the_default_configuration():
    before = deepcopy(CONFIG)
    settings = load_settings(CONFIG, ROOT, count_records)
    assert CONFIG == before
    # What is written beside the results says the same, and what was left out.
    written = json.loads(json.dumps(asdict(settings.config)))
    assert merged(written, without("runs")) == written
    assert load_settings(written, ROOT, count_records) == settings
    assert settings.models.keys() == {m for entry in CONFIG["runs"] for m in entry["models"]}
    assert vars(settings.switches) == PRESETS[CONFIG["preset"]] | CONFIG["switches"]


def test_every_combination_is_a_run():
    blocks = [block(methods=["PMET"]), block(requests="eligible", methods=["MEMIT", "NA_MEMIT"])]
    settings = load_settings(
        changed(runs=blocks, trials={"count": 2, "size": 3}), ROOT, count_records
    )
    assert settings.runs == (
        Run("geography", MODEL, "PMET", 1),
        Run("geography", MODEL, "PMET", 2),
        Run("geography-eligible", MODEL, "MEMIT", 1),
        Run("geography-eligible", MODEL, "MEMIT", 2),
        Run("geography-eligible", MODEL, "NA_MEMIT", 1),
        Run("geography-eligible", MODEL, "NA_MEMIT", 2),
    )


def test_one_stage_may_be_repeated_alone_with_the_algorithms_hyperparameters():
    alone = ["SPREAD_MEMIT", "OPTIMIZATION_MEMIT", "SPREAD_PMET", "OPTIMIZATION_PMET"]
    settings = load_settings(changed(runs=[block(methods=alone)]), ROOT, count_records)
    plain = load_settings(changed(runs=[block(methods=["MEMIT", "PMET"])]), ROOT, count_records)
    assert {run.method for run in settings.runs} == set(alone)
    assert settings.layers(MODEL) == plain.layers(MODEL)
    assert all(settings.needs_covariance(name) for name in alone)
    with pytest.raises(
        ConfigError, match="'SPREAD_ROME': allowed: .*; to test an explanation SPREAD_MEMIT"
    ):
        load_settings(changed(runs=[block(methods=["SPREAD_ROME"])]), ROOT, count_records)


def test_layers_are_those_of_all_methods(root):
    def other_layers(description):
        description["algorithms"]["MEMIT"]["layers"] = [7, 3]
        description["algorithms"]["PMET"]["layers"] = [3, 5]

    edit_model(root, other_layers)
    for methods, layers in ((["NAP_MEMIT"], [3, 7]), (["MEMIT", "NA_PMET"], [3, 5, 7])):
        config = changed(runs=[block(requests="eligible", methods=methods)])
        assert load_settings(config, root, count_records).layers(MODEL) == layers


@pytest.mark.parametrize("preset", ["published", "corrected"])
def test_a_switch_overrides_its_preset_alone(preset):
    assert (
        vars(load_settings(changed(preset=preset), ROOT, count_records).switches) == PRESETS[preset]
    )
    config = changed(preset=preset, switches={"accuracy": "token", "round_per_trial": 3})
    expected = PRESETS[preset] | {"accuracy": "token", "round_per_trial": 3}
    assert vars(load_settings(config, ROOT, count_records).switches) == expected
    left_out = load_settings(without("switches"), ROOT, count_records).switches
    assert vars(left_out) == PRESETS["corrected"]


def test_presets_settle_every_switch():
    presets = get_args(get_type_hints(Configuration)["preset"])
    assert sorted(PRESETS) == sorted(presets)
    for preset in presets:
        assert vars(validate(Switches, PRESETS[preset], preset)) == PRESETS[preset]


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (changed(sede=1), "config: (top level): unknown key sede; allowed: compute, covar"),
        (without("seed"), "config: (top level): missing seed"),
        (without("seed", "stop"), "config: (top level): missing seed, stop"),
        (
            changed(trials={"count": 3.0, "size": 2}),
            "config: trials.count = 3.0: must be of type integer",
        ),
        (
            changed(datasets={"geography": {"source": "geography", "path": "x.json"}}),
            "config: datasets.geography: source geography takes no further key; keep source alone",
        ),
        (
            changed(preset="corect"),
            "config: preset = 'corect': allowed: corrected, published",
        ),
        (
            changed(switches={"accuracy": "Exact"}),
            "config: switches.accuracy = 'Exact': allowed: exact, token",
        ),
        (changed(switches={"acuracy": 1}), "config: switches: unknown key acuracy; allowed: acc"),
        (changed(seed=-1), "config: seed = -1: must be at least 0"),
        (
            changed(compute={"deterministic": "yes"}),
            "config: compute.deterministic = 'yes': must be of type boolean",
        ),
        (changed(seed="42"), "config: seed = '42': must be of type integer"),
        (changed(stop={"epsilon": 0}), "config: stop.epsilon = 0: must be greater than 0"),
        (changed(name="a/b"), "config: name = 'a/b': must be matching "),
        (
            changed(runs=[block(), block(requests="some")]),
            "config: runs.1.requests = 'some': allowed: all, eligible",
        ),
        (changed(runs=[]), "config: runs = []: must have at least 1 entry"),
        (changed(datasets=[]), "config: datasets = []: must be of type mapping"),
        (changed(stop={"epsilon": math.nan}), "config: stop.epsilon = nan: must be a finite num"),
        (changed(stop={"epsilon": math.inf}), "config: stop.epsilon = inf: must be a finite num"),
        (changed(seed=2**63), "config: seed = 9223372036854775808: must be at most "),
        (changed(name="a\nb"), "config: name = 'a\\nb': must be matching "),
        (changed(name="a\n"), "config: name = 'a\\n': must be matching "),
        (changed(stop={"extended": 10**9}), "config: stop.extended = 1000000000: must be at most "),
        (changed(trials={"count": True}), "config: trials.count = True: must be of type integer"),
        (changed(trials={1: 2}), "config: trials: unknown key 1; allowed: count, size"),
        (changed(stop={"mode": None}), "config: stop.mode = None: allowed: early, full"),
        (
            changed(runs=[block(methods=["MEMIT", "MEMIT"])]),
            "config: runs.0.methods = ['MEMIT', 'MEMIT']: names something twice; keep one of them",
        ),
        (
            changed(datasets={"Own": {"source": "geography"}}),
            "config: datasets.Own = 'Own': must be matching ",
        ),
        (changed(datasets={"other": {"source": "counterfact"}}), "config: datasets.other: miss"),
        (
            changed(datasets={"geography": {"source": "geography", "path": "x.json"}}),
            "config: datasets.geography",
        ),
    ],
)
def test_a_value_out_of_its_schema_is_named(config, line):
    (problem,) = problems_of(config)
    assert problem.startswith(line)


def test_schema_problems_are_reported_together():
    config = changed(seed=-1, preset="none", compute={"threads": 0, "device": "tpu"})
    keys = [problem.split(" = ")[0] for problem in problems_of(config)]
    assert keys == [
        "config: compute.device",
        "config: compute.threads",
        "config: preset",
        "config: seed",
    ]


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            changed(runs=[block(dataset="geografy")]),
            "config: runs.0.dataset = 'geografy': allowed: geography",
        ),
        (
            changed(runs=[block(models=["gpt5"])]),
            f"config: runs.0.models: 'gpt5': allowed: {', '.join(p.stem for p in MODELS)} "
            "(config/models/*.yaml)",
        ),
        (
            changed(runs=[block(methods=["FT"])]),
            "config: runs.0.methods: 'FT': allowed: ROME, MEMIT, PMET, AlphaEdit, MEMIT_seq; each "
            "with neighbors as ",
        ),
        (
            changed(runs=[block(methods=["NA_PMET"])]),
            "config: runs.0.requests = 'all': NA_PMET needs a surviving neighbor per request; "
            "allowed: eligible",
        ),
        (
            changed(runs=[block(), block(methods=["PMET", "MEMIT"])]),
            f"config: runs.1: geography / {MODEL} / MEMIT is asked for twice; keep one of the two",
        ),
        (
            changed(trials={"count": 4, "size": 1000}),
            "config: trials: 4 trials of 1000 ask for 4000 requests, geography has "
            f"{GEOGRAPHY_REQUESTS}; "
            f"allowed: size at most {GEOGRAPHY_REQUESTS // 4}",
        ),
        (
            changed(runs=[block(requests="eligible", methods=["NA2_PMET"])]),
            "config: runs.0.methods: 'NA2_PMET' needs 2 neighbors per request, "
            "eligible.editing_neighbors = 1 keeps fewer; raise it",
        ),
        (
            changed(stop={"iterations": 6, "extended": 5}),
            "config: stop.extended = 5: must be at least stop.iterations = 6",
        ),
    ],
)
def test_what_does_not_fit_together_is_named(config, line):
    (problem,) = problems_of(config)
    assert problem.startswith(line)


def test_the_same_method_on_other_requests_is_another_run():
    config = changed(runs=[block(), block(requests="eligible")], trials={"count": 1})
    datasets = [run.dataset for run in load_settings(config, ROOT, count_records).runs]
    assert datasets == ["geography", "geography-eligible"]


def test_all_problems_come_one_a_line():
    runs = [block(dataset="nowhere", models=["none"], methods=["NA_MEMIT", "FT"]), block()]
    problems = problems_of(changed(runs=runs, trials={"size": 10**6}, stop={"extended": 1}))
    starts = [
        "config: runs.0.dataset = ",
        "config: runs.0.models: ",
        "config: runs.0.requests = ",
        "config: runs.0.methods: ",
        "config: trials: ",
        "config: stop.extended = ",
    ]
    assert len(problems) == len(starts)
    assert all(p.startswith(s) for p, s in zip(problems, starts, strict=True)), problems


def test_a_model_that_does_not_fit_is_named(root):
    def break_model(description):
        description["algorithms"]["MEMIT"]["layers"] = [3, 30]
        del description["algorithms"]["PMET"]

    edit_model(root, break_model)
    problems = problems_of(changed(runs=[block(methods=["MEMIT", "PMET"])]), root)
    assert problems == [
        f"config/models/{MODEL}.yaml: algorithms.MEMIT.layers = [3, 30]: layer 30 does not exist; "
        "allowed: 0..29",
        f"config: runs.0.methods: 'PMET': no hyperparameters in config/models/{MODEL}.yaml; "
        "allowed: MEMIT, ROME, AlphaEdit",
    ]


def test_a_model_out_of_its_schema_is_named(root):
    edit_model(root, lambda d: d["algorithms"]["MEMIT"].update(lr=0, stepps=3))
    assert problems_of(CONFIG, root) == [
        f"config/models/{MODEL}.yaml: algorithms.MEMIT: unknown key stepps; allowed: clamp, "
        "covariance_weight, kl_factor, layers, lr, nll_factor, steps, weight_decay",
        f"config/models/{MODEL}.yaml: algorithms.MEMIT.lr = 0: must be at least 1e-05",
    ]


HUB = {"kind": "hub", "repo": "some/model", "revision": "0" * 40}


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (HUB | {"revision": "main"}, "source.revision = 'main': must be matching ^[0-9a-f]{40}$"),
        (HUB | {"repo": "model"}, "source.repo = 'model': must be matching "),
        (HUB | {"weights": "bin"}, "source.weights = 'bin': allowed: safetensors, torch"),
        (HUB | {"path": "x"}, "source: unknown key path; allowed: gated, kind, repo, revision, "),
        ({"kind": "hub"}, "source: missing repo, revision"),
        ({"kind": "folder"}, "source: missing path"),
        ({"kind": "web"}, "source.kind = 'web': allowed: wheel, folder, hub"),
        ("x", "source = 'x': must be of type mapping"),
        ({"path": "x"}, "source: missing kind"),
    ],
)
def test_a_source_out_of_its_schema_is_named(root, source, line):
    edit_model(root, lambda d: d.update(source=source))
    (problem,) = problems_of(CONFIG, root)
    assert problem.startswith(f"config/models/{MODEL}.yaml: {line}")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (HUB, HubSource(**HUB)),
        (HUB | {"gated": True}, HubSource(**HUB, gated=True)),
        ({"kind": "folder", "path": "x"}, FolderSource(kind="folder", path="x")),
        (
            {"kind": "folder", "path": "x", "weights": "torch"},
            FolderSource(kind="folder", path="x", weights="torch"),
        ),
    ],
)
def test_a_source_may_be_the_hub_or_a_folder(root, source, expected):
    (root / "x").mkdir()
    edit_model(root, lambda d: d.update(source=source))
    assert load_settings(CONFIG, root, count_records).models[MODEL].source == expected


def test_the_folder_of_a_model_must_be_there(root):
    edit_model(root, lambda d: d.update(source={"kind": "folder", "path": "gone"}))
    assert problems_of(CONFIG, root) == [
        f"config/models/{MODEL}.yaml: source.path = 'gone': no such folder; give a path relative "
        "to the project or an absolute one"
    ]
    # Results that are there are shown without it.
    assert load_settings(changed(partial=True), root, count_records).config.partial


def test_zsre_with_neighbors_is_refused_with_the_reason(root):
    path = root / "data" / "zsre.json"
    path.parent.mkdir()
    path.write_text(json.dumps([{}] * 500), encoding="utf-8")
    config = changed(
        datasets={"zsre": {"source": "zsre", "path": "data/zsre.json"}},
        runs=[block(dataset="zsre", requests="eligible", methods=["NA_MEMIT"])],
    )
    (problem,) = problems_of(config, root)
    assert problem.startswith("config: runs.0.requests = 'eligible': zsRE has one neighbor per ")
    plain = changed(datasets=config["datasets"], runs=[block(dataset="zsre")])
    assert {run.dataset for run in load_settings(plain, root, count_records).runs} == {"zsre"}


def test_data_from_a_file(root):
    datasets = {"counterfact": {"source": "counterfact", "path": "data/facts.json"}}
    config = changed(
        datasets=datasets,
        runs=[block(dataset="counterfact")],
        trials={"count": 2, "size": 3},
    )
    (problem,) = problems_of(config, root)
    assert problem.startswith(
        "config: datasets.counterfact.path = 'data/facts.json': no such file; "
    )
    path = root / "data" / "facts.json"
    path.parent.mkdir()
    path.write_text(json.dumps([{}] * 5), encoding="utf-8")
    (problem,) = problems_of(config, root)
    assert problem.endswith("6 requests, counterfact has 5; allowed: size at most 2")
    path.write_text(json.dumps([{}] * 6), encoding="utf-8")
    assert len(load_settings(config, root, count_records).runs) == 2
    config["datasets"]["counterfact"]["path"] = str(path)  # absolute, from another root
    assert len(load_settings(config, ROOT, count_records).runs) == 2


PUBLISHED = {
    "counterfact": {"source": "counterfact", "files": "authors"},
    "zsre": {"source": "zsre", "files": "authors"},
}
FACTS = block(dataset="counterfact")
KNOWN = FACTS | {"requests": "eligible", "methods": ["NA_MEMIT"], "trials": 1}


def published(*runs, **parts):
    """A configuration of published data; nothing of it is on the disk."""
    return changed(datasets=PUBLISHED, runs=list(runs), **parts)


def test_runs_may_have_their_own_trials_and_iterations():
    own = {"trials": 1, "iterations": 7}
    blocks = [block(), block(methods=["ROME"]) | own]
    settings = load_settings(changed(runs=blocks), ROOT, count_records)
    assert [(r.method, r.trial, r.iterations) for r in settings.runs] == [
        ("MEMIT", 1, None),
        ("MEMIT", 2, None),
        ("MEMIT", 3, None),
        ("ROME", 1, 7),
    ]
    assert settings.trials("geography", MODEL, "MEMIT") == 3
    assert settings.trials("geography", MODEL, "ROME") == 1
    assert vars(settings.stop("geography", MODEL, "MEMIT")) == CONFIG["stop"]
    budget = {"iterations": 7, "extended": 7}
    assert vars(settings.stop("geography", MODEL, "ROME")) == CONFIG["stop"] | budget


def test_the_authors_data_is_planned_before_it_is_there(root):
    eligible = {"authors": {MODEL: 739}}
    settings = load_settings(
        published(FACTS, block(dataset="zsre"), KNOWN, eligible=eligible), root, count_records
    )
    assert {run.dataset for run in settings.runs} == {"counterfact", "zsre", "counterfact-eligible"}
    assert settings.authors_set("counterfact-eligible", MODEL) == "neighbors/random_subset_739.json"
    assert settings.authors_set("counterfact", MODEL) is None
    assert settings.authors_set("counterfact-eligible", "gpt2-xl") is None
    assert settings.most_requests("counterfact", MODEL) == CONFIG["trials"]["size"]
    assert settings.most_requests("counterfact-eligible", MODEL) == 739
    few = published(KNOWN, eligible=eligible | {"size": 5})
    assert load_settings(few, root, count_records).most_requests("counterfact-eligible", MODEL) == 5


def test_the_whole_of_a_dataset_is_sampled_before_it_is_there():
    whole = {"counterfact": {"source": "counterfact", "files": "whole"}}
    for size, fits in ((6959, True), (6960, False)):
        config = changed(datasets=whole, runs=[FACTS], trials={"size": size})
        if fits:
            assert len(load_settings(config, ROOT, count_records).runs) == 3
        else:
            (problem,) = problems_of(config)
            assert problem.endswith("counterfact has 20877; allowed: size at most 6959")


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            published(FACTS, trials={"count": 4}),
            "config: trials.count = 4: the authors have 3 trials of counterfact; allowed: ",
        ),
        (
            published(block(dataset="zsre"), trials={"size": 1001}),
            "config: trials.size = 1001: the authors' trials of zsre have 1000 requests; allowed: ",
        ),
        (
            changed(
                datasets={"zsre": {"source": "zsre", "files": "whole"}},
                runs=[block(dataset="zsre")],
            ),
            "config: datasets.zsre.files = 'whole': no place is known that has all of zsre; ",
        ),
        (
            changed(datasets={"own": {"source": "zsre"}}),
            "config: datasets.own: missing path (a file of your own) or files (published ones); ",
        ),
        (
            changed(datasets={"own": {"source": "zsre", "path": "x", "files": "authors"}}),
            "config: datasets.own: both path (a file of your own) and files (published ones); ",
        ),
        (
            published(FACTS | {"trials": 4}),
            "config: runs.0.trials = 4: allowed: at most trials.count = 3",
        ),
        (
            published(KNOWN | {"trials": 2}, eligible={"authors": {MODEL: 960}}),
            f"config: runs.0.trials = 2: the authors' eligible requests for {MODEL} are one trial",
        ),
        (
            published(KNOWN, eligible={"authors": {MODEL: 740}}),
            f"config: eligible.authors.{MODEL} = 740: allowed: 739, 960, 1340",
        ),
        (
            published(FACTS, eligible={"authors": {"gpt2": 739}}),
            "config: eligible.authors.gpt2 = 739: no such model; allowed: gpt-j-6b, gpt2-xl, ",
        ),
        (
            published(
                KNOWN | {"methods": ["NA2_MEMIT"]},
                eligible={"authors": {MODEL: 739}, "editing_neighbors": 2},
            ),
            "config: runs.0.methods: 'NA2_MEMIT' needs 2 neighbors per request, the authors' "
            f"eligible requests have one; take {MODEL} out of eligible.authors",
        ),
        (
            changed(covariance={"source": "authors"}),
            f"config: covariance.source = 'authors': they have none of {MODEL}; allowed: ",
        ),
        (
            changed(covariance={"source": "fast", "tolerance": 0.01}),
            "config: covariance.tolerance = 0.01: source = 'fast' has its own size; allowed: null",
        ),
        (
            changed(covariance={"tolerance": 1.0}),
            "config: covariance.tolerance = 1.0: ",
        ),
        (changed(offline="nowhere"), "config: offline = 'nowhere': no such folder; give a path "),
        (changed(covariance={"source": "web"}), "config: covariance.source = 'web': allowed: emb"),
        (
            changed(text={"perplexity": "own"}),
            "config: text.perplexity = 'own': allowed: excerpt, ",
        ),
        (changed(runs=[block(iterations=0)]), "config: runs.0.iterations = 0: must be at least 1"),
    ],
)
def test_published_data_that_does_not_fit_is_named(config, line):
    (problem,) = problems_of(config)
    assert problem.startswith(line)


def test_a_source_without_its_digest_is_refused(root):
    path = root / "config" / "sources.yaml"
    described = yaml.safe_load(path.read_text(encoding="utf-8"))
    del described["files"]["ME-PPL_50.json"]["sha256"]
    path.write_text(yaml.safe_dump(described), encoding="utf-8")
    assert problems_of(CONFIG, root) == [
        "config/sources.yaml: files.ME-PPL_50.json: missing sha256"
    ]


def test_names_of_datasets():
    assert dataset_name(RunBlock(**block())) == "geography"
    assert dataset_name(RunBlock(**block(requests="eligible"))) == "geography-eligible"
    assert describe_dataset("counterfact") == "CounterFact"
    assert describe_dataset("counterfact-eligible") == "CounterFact (eligible)"
    assert describe_dataset("zsre") == "zsRE"
    assert describe_dataset("geography-eligible") == "geography (eligible)"


def test_small_models_carry_a_note():
    assert small_model_note([]) == ""
    note = "Measured on SmolLM2-135M, Other; not comparable with the paper's numbers."
    assert small_model_note(["SmolLM2-135M", "Other"]) == note


def test_checking_needs_neither_torch_nor_snakemake():
    code = (
        "import sys, modeledit.study.config; sys.exit(len({'torch', 'snakemake'} & {*sys.modules}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
