"""An edited model as a folder that transformers reads, and digests of what an iteration left.

The pipeline itself keeps edited matrices only; a whole model is written when it is asked for.
`python -m modeledit.editing.export FOLDER [FOLDER]` prints the digest of one state, or compares
two.
"""

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from transformers import PreTrainedTokenizerBase

from modeledit.editing.held import held_state, put_state
from modeledit.io.files import StateError, digest, write_json
from modeledit.io.prepared import read_prepared
from modeledit.lm.model import EditableModel, load_model
from modeledit.study.layout import IterationFiles
from modeledit.study.own_facts import EXPORT_RECORD

PROBES = ("The capital of France is", "Water boils at", "She was born in the city of")


def export_model(base: Path, state: Path, folder: Path, method: str) -> dict:
    """Write the model after the iteration of `state` into `folder`, and read it again to check.

    `base` is the prepared model folder, `state` a state.json; one that passed a stop on stands for
    the iteration that holds its matrices. The folder is float32 safetensors with the tokenizer and
    an edited.json that says where it comes from, which is returned. Raises StateError when the
    state belongs to another model or method, or when the model read back answers differently.
    """
    weights = read_prepared(base).weights_sha256
    model, tokenizer = load_model(base)
    k = put_state(model, base, state, method)
    before = _logits(model, tokenizer)
    model.model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    again, tokenizer = load_model(folder)
    for prompt, old, new in zip(PROBES, before, _logits(again, tokenizer), strict=True):
        if not torch.equal(old, new):
            raise StateError(
                f"{folder}: read back, the model answers {prompt!r} differently by up to"
                f" {float((old - new).abs().max())}; delete the folder and export again"
            )
    record = {"base_sha256": weights, "method": method, "k": k, "state": state_digest(state.parent)}
    write_json(folder / EXPORT_RECORD, record)
    return record


@torch.no_grad()
def _logits(model: EditableModel, tokenizer: PreTrainedTokenizerBase) -> list[torch.Tensor]:
    return [
        model.model(**tokenizer(prompt, return_tensors="pt").to(model.device)).logits
        for prompt in PROBES
    ]


def tensor_digests(path: Path) -> dict[str, str]:
    """sha256 of every tensor of a safetensors file: its type, shape and bytes."""
    digests = {}
    with safe_open(path, framework="numpy") as stream:
        for name in sorted(stream.keys()):
            tensor = np.ascontiguousarray(stream.get_tensor(name))
            head = f"{tensor.dtype.str} {tensor.shape}".encode()
            digests[name] = hashlib.sha256(head + tensor.tobytes()).hexdigest()
    return digests


def _held_matrices(folder: Path) -> Path:
    return IterationFiles.below(held_state(IterationFiles.below(folder).state).parent).edited


def state_digest(folder: Path) -> str:
    """One sha256 over the edited matrices of an iteration, whatever the order in the file."""
    return digest(tensor_digests(_held_matrices(folder)))


def main(arguments: list[str] | None = None) -> int:
    """Print the digest of a state, or compare two; 1 when they differ."""
    parser = argparse.ArgumentParser(
        prog="python -m modeledit.editing.export",
        description="Digest of an iteration's edited matrices; with two folders, a comparison.",
    )
    parser.add_argument("folder", type=Path, help="results/…/trial1/iter2")
    parser.add_argument("other", type=Path, nargs="?", help="another iteration to compare with")
    options = parser.parse_args(arguments)
    folders = [f for f in (options.folder, options.other) if f]
    for folder in folders:
        if not IterationFiles.below(folder).state.is_file():
            parser.error(f"{folder}: no state.json there; name the folder of an iteration")
        print(f"{state_digest(folder)}  {folder}")
    if options.other is None:
        return 0
    ours, theirs = (tensor_digests(_held_matrices(f)) for f in folders)
    different = sorted(n for n in {*ours, *theirs} if ours.get(n) != theirs.get(n))
    print(f"different: {', '.join(different)}" if different else "equal")
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main())
