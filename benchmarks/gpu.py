"""One iteration on a GPU with models of the paper's true shapes and random weights.

Nothing is downloaded: the shapes come from config/models/, the weights from a random generator on
the device, the token ids from a tokenizer at hand, folded into the vocabulary. Random weights never
reach the stop rule, so every request makes all steps: it is the worst case. What SPREAD costs does
not depend on the numbers in the covariance, which is the identity. With `--scale tiny` the same
runs on a CPU with small models of the same families. See benchmarks/README.md.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import common
import torch
from common import Work
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTJConfig,
    LlamaConfig,
    PretrainedConfig,
)

from modeledit.editing.iteration import EditSettings
from modeledit.lm.model import EditableModel
from modeledit.lm.tokenizer import load_tokenizer
from modeledit.study.config import described_model, preset_switches
from modeledit.study.methods import METHODS
from modeledit.study.models import ModelShape
from tests.reference.models import tiny_contexts, tiny_tokenizer

HEADS = {"gpt2-xl": 25, "gpt-j-6b": 16, "llama-2-7b": 32}
VOCABULARY = {"gpt2-xl": 50257, "gpt-j-6b": 50400, "llama-2-7b": 32000}
TINY = {"depth": 6, "width": 64, "mlp_width": 256}
TINY_LAYERS = (1, 2, 3)
SAMPLE = 8  # requests whose operations are counted


class Folded:
    """A tokenizer whose ids are folded into a vocabulary of `size`; texts keep their lengths."""

    def __init__(self, tokenizer, size: int):
        self.tokenizer = tokenizer
        self.size = size
        self.pad_token_id = self.eos_token_id = tokenizer.eos_token_id % size

    def encode(self, text: str) -> list[int]:
        return [i % self.size for i in self.tokenizer(text)["input_ids"]]

    def __call__(self, text: str, **_) -> dict[str, list[int]]:
        return {"input_ids": self.encode(text)}


def config_of(family: str, shape: ModelShape, heads: int, vocabulary: int) -> PretrainedConfig:
    """The transformers configuration of a model of this shape."""
    marks = {"vocab_size": vocabulary, "bos_token_id": 0, "eos_token_id": 0}
    if family == "llama":
        return LlamaConfig(
            hidden_size=shape.width,
            intermediate_size=shape.mlp_width,
            num_hidden_layers=shape.depth,
            num_attention_heads=heads,
            **marks,
        )
    sizes = {
        "n_embd": shape.width,
        "n_inner": shape.mlp_width,
        "n_layer": shape.depth,
        "n_head": heads,
        **marks,
    }
    if family == "gptj":
        rotary = min(64, shape.width // heads)
        return GPTJConfig(rotary_dim=rotary, tie_word_embeddings=False, **sizes)
    return GPT2Config(**sizes)


def make_work(arguments: argparse.Namespace, name: str, requests: Sequence) -> Work:
    """The work of `--method` with a model of the shape of `name`."""
    described = described_model(name, common.ROOT)
    method = METHODS[arguments.method]
    hyper = described.hyperparameters(method.algorithm)
    shape, heads, vocabulary = described.shape, HEADS[name], VOCABULARY[name]
    if arguments.scale == "tiny":
        shape, heads, vocabulary = replace(shape, **TINY), 4, 512
        hyper = replace(hyper, layers=TINY_LAYERS)
    if arguments.steps:
        hyper = replace(hyper, steps=arguments.steps)
    torch.manual_seed(arguments.seed)
    with torch.device(arguments.device):
        config = config_of(described.family, shape, heads, vocabulary)
        model = EditableModel(AutoModelForCausalLM.from_config(config, dtype=torch.float32))
        covariance = torch.eye(shape.mlp_width, dtype=torch.float64)
    switches = preset_switches("corrected", common.ROOT)
    folder = common.ROOT / "resources/models/smollm2-135m"
    prepared = (folder / "tokenizer.json").is_file()
    tokenizer = load_tokenizer(folder) if prepared else tiny_tokenizer()
    return Work(
        model,
        Folded(tokenizer, vocabulary),
        requests,
        tiny_contexts(),
        covariance,
        EditSettings(method, hyper, switches, "float32", arguments.token_budget),
    )


def count_operations(work: Work, steps: Sequence[float]) -> float:
    """Operations of OPTIMIZATION for all requests, from those of a few with one and two steps.

    One step is what is computed once and a forward pass; every further one adds a forward and a
    backward pass.
    """
    few = [work.requests[i] for i in common.pick(len(work.requests), SAMPLE)]
    once, twice = (
        common.count_operations(replace(work, requests=few).in_steps(number).optimize) / len(few)
        for number in (1, 2)
    )
    return once * len(steps) + (twice - once) * (sum(steps) - len(steps))


def measure(work: Work, plain_requests: int) -> list[dict[str, object]]:
    """One row per stage, and one for all of them."""
    count = len(work.requests)
    chosen = common.pick(count, plain_requests)
    ceiling = common.matmul_ceiling(work.model, work.precision)
    fast_clock, fast = common.measure(common.run_engine, work)
    steps = fast.numbers["steps"]
    sample = replace(work, requests=[work.requests[i] for i in chosen])
    slow_clock, slow = common.measure(common.run_plain, sample)
    expected = torch.stack([found.target for found in slow])
    error = float(common.relative_errors(fast.state[chosen], expected).max())
    slow_seconds = common.plain_seconds(slow_clock, work, slow, steps)
    slow_seconds["whole"] = sum(slow_seconds.values())
    fast_seconds = {**fast_clock.seconds, "whole": sum(fast_clock.seconds.values())}
    peak = {**fast_clock.peak, "whole": max(fast_clock.peak.values(), default=0)}
    rows = []
    for stage, seconds in fast_seconds.items():
        row = {
            "precision": work.precision,
            "stage": stage,
            "requests": count,
            "plain_requests": len(chosen),
            "engine_s": round(seconds, 3),
            "plain_s": round(slow_seconds[stage], 3),
            "ratio": round(slow_seconds[stage] / seconds, 2),
            "peak_gib": round(peak[stage] / 2**30, 2) if peak.get(stage) else "",
        }
        if stage == "optimization":
            row |= common.utilisation(count_operations(work, steps), seconds, ceiling)
            row |= {"steps": int(sum(steps)), "target_error": f"{error:.1e}"}
        rows.append(row)
    return rows


def parse_arguments() -> argparse.Namespace:
    parser = common.make_parser(__doc__)
    add, number = parser.add_argument, common.positive
    add("--models", nargs="+", choices=tuple(HEADS), default=["gpt2-xl"], help="shapes")
    add("--scale", choices=("true", "tiny"), default="true", help="tiny: small models on a CPU")
    add("--method", type=common.joint_method_name, default="MEMIT", help="any but ROME")
    add("--requests", type=number, default=1000, help="how many requests to edit at once")
    add("--plain-requests", type=number, default=20, help="how many the plain loop does")
    add("--steps", type=number, help="forward passes; default: what the model's file has")
    names = ("float32", "tf32", "bf16")
    add("--precision", nargs="+", choices=names, default=["float32"], help="of OPTIMIZATION")
    parser.set_defaults(token_budget=8192)
    arguments = parser.parse_args()
    arguments.device = "cpu" if arguments.scale == "tiny" else "cuda"
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("This benchmark needs a CUDA device; --scale tiny checks it on a CPU.")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    editing = max(1, METHODS[arguments.method].n_neighbors)
    requests = common.draw_requests(arguments.requests, arguments.seed, editing)
    rows = []
    for name in arguments.models:
        work = make_work(arguments, name, requests)
        for precision in arguments.precision:
            common.say(f"{name}, {precision}")
            table = measure(work.changed(precision=precision), arguments.plain_requests)
            rows += [{"model": name, "method": arguments.method, **row} for row in table]
        del work
        if arguments.device == "cuda":
            torch.cuda.empty_cache()
    print("Random weights do not meet the stop rule: all steps are made, the worst case.")
    print("The seconds of the plain loop are scaled up from plain_requests requests.")
    machine = common.describe_machine(arguments.device, arguments.threads)
    budget = {"scale": arguments.scale, "token_budget": arguments.token_budget}
    common.write_table(arguments.output / "gpu.csv", rows, {**budget, **machine})
    ratios = {
        f"{row['model']}, {row['precision']}": row["ratio"]
        for row in rows
        if row["stage"] == "whole"
    }
    with common.plot(arguments.output / "gpu.png") as axes:
        common.bars(axes, ratios, "plain / engine seconds, one iteration")
    return 0


if __name__ == "__main__":
    sys.exit(main())
