"""A whole study that takes a minute: a tiny random model, facts of one's own, MEMIT and NA_MEMIT.

A random model knows no fact. This one is inclined to say one word, which is the old object of all
facts, so that its neighbors pass the filter.
"""

import json
from pathlib import Path

import torch
import yaml
from transformers import PreTrainedModel

from tests.reference import models as tiny
from tests.workflow.conftest import Project, copy_project
from tests.workflow.test_architectures import describe

NAME, OTHER, MODEL, METHODS = "faults", "another", "tiny-gpt2", ("MEMIT", "NA_MEMIT")
SAID = "Europe"
INCLINATION = 3.0  # logits by which SAID is the likelier word
PLACES = ("Lyon", "Munich", "Naples", "Cusco", "Osaka", "Paris", "Berlin", "Rome", "Lima", "Tokyo")
NEW = ("Japan", "Peru", "France", "Italy")  # each a token of the tiny tokenizer
SIZE = 4  # requests
EVALUATION = {
    "generation": {"tokens": 4},
    "fluency": {"tokens": 6},
    "probes": {
        "tokens": 4,
        "files": {"own": {"path": "tmp/probes.jsonl", "format": "own"}},
    },
    "drift": True,
}
OPTIONS = ("--configfile", f"tmp/{NAME}.yaml")


def inclined_model() -> PreTrainedModel:
    """A tiny GPT-2 whose last norm leans towards the word SAID."""
    model, tokenizer = tiny.tiny_gpt2(), tiny.tiny_tokenizer()
    (token,) = tokenizer(f" {SAID}")["input_ids"]
    with torch.no_grad():
        towards = model.get_output_embeddings().weight[token]
        model.transformer.ln_f.bias += INCLINATION * towards / towards.norm()
    return model


def facts() -> list[dict]:
    """Records of CounterFact's form, with the subjects of their neighbors."""

    def record(number: int) -> dict:
        subject, others = PLACES[number], [place for place in PLACES if place != PLACES[number]]
        prompt = "{} is a city in"
        return {
            "case_id": number,
            "requested_rewrite": {
                "subject": subject,
                "prompt": prompt,
                "target_new": {"str": NEW[number % len(NEW)]},
                "target_true": {"str": SAID},
                "relation_id": "place",
            },
            "paraphrase_prompts": [f"People like the city. {subject} is in"],
            "neighborhood_prompts": [prompt.format(place) for place in others],
            "neighborhood_samples": [{"subject": place, "prompt": prompt} for place in others],
        }

    return [record(number) for number in range(len(PLACES) - 2)]


def configuration(name: str, seed: int) -> dict:
    """The study, to be laid over the default configuration."""
    return {
        "name": name,
        "seed": seed,
        "datasets": {"own": {"source": "counterfact", "path": "tmp/facts.json"}},
        "trials": {"count": 1, "size": SIZE},
        "text": {"covariance_articles": 4, "covariance_length": 256, "perplexity_texts": 5},
        "runs": [
            {
                "dataset": "own",
                "requests": "eligible",
                "models": [MODEL],
                "methods": list(METHODS),
            }
        ],
        "stop": {"mode": "early", "epsilon": 1e-6, "iterations": 2, "extended": 2},
    }


def tiny_project(folder: Path) -> Project:
    """A copy of the project in `folder` with the study's model and facts, and two configurations.

    They differ in name and seed, and so in trials, texts and contexts.
    """
    project = copy_project(folder)
    model, source = inclined_model(), folder / "tmp/models" / MODEL
    model.save_pretrained(source)
    tiny.tiny_tokenizer().save_pretrained(source)
    description = describe(MODEL, model.config)
    (folder / "config/models" / f"{MODEL}.yaml").write_text(yaml.safe_dump(description))
    (folder / "tmp/facts.json").write_text(json.dumps(facts(), indent=1))
    for seed, name in enumerate((NAME, OTHER)):
        written = yaml.safe_dump(configuration(name, seed), sort_keys=False)
        (folder / f"tmp/{name}.yaml").write_text(written)
    return project


def write_probes(project: Project) -> None:
    """One probe of each fact."""
    lines = [
        {
            "subject": place,
            "target_new": NEW[number % len(NEW)],
            "kind": "two_hop",
            "prompt": f"The capital of the country of {place} is",
            "answers": ["Lima"],
            "forbidden": [],
            "before": "Paris",
        }
        for number, place in enumerate(PLACES[:-2])
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (project.folder / "tmp/probes.jsonl").write_text(text)


def evaluate(project: Project, **block: object) -> None:
    """Lay a block `evaluation` over the first configuration, in place of the one before."""
    path = project.folder / OPTIONS[1]
    study = yaml.safe_load(path.read_text()) | {"evaluation": block}
    path.write_text(yaml.safe_dump(study, sort_keys=False))
