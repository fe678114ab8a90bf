"""A causal language model seen as editable blocks: where its parts are and how to run some of them.

The engine never calls the whole model during optimisation. It embeds tokens, runs a range of
blocks, and applies the head where a label needs it; `EditableModel` offers exactly that for the
supported architectures (SPEC B: GPT-2, GPT-J, Llama and what shares their shape).
"""

from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from modeledit.lm.hooks import first_tensor
from modeledit.lm.tokenizer import load_tokenizer
from modeledit.study.architectures import ARCHITECTURES

FEWEST_ROWS = 4  # of a product with the head


class ModelError(ValueError):
    """A model, layer or matrix that the engine cannot edit."""


class KeyValues:
    """Keys and values of a fixed prefix, in the shape of a transformers cache.

    Made empty it keeps each attention layer's keys and values; made with `layers` it puts those in
    front of each call's own and keeps nothing: the prefix never grows.
    """

    def __init__(self, layers: dict[int, tuple[torch.Tensor, torch.Tensor]] | None = None) -> None:
        self.recording = layers is None
        self.layers = layers or {}

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Called by the attention module; tensors are (rows, heads, tokens, head width)."""
        if self.recording:
            self.layers[layer] = (keys, values)
            return keys, values
        past_keys, past_values = self.layers[layer]
        return torch.cat([past_keys, keys], dim=2), torch.cat([past_values, values], dim=2)

    def select(self, rows: torch.Tensor) -> "KeyValues":
        """The same prefix for a subset of the rows."""
        return KeyValues({i: (k[rows], v[rows]) for i, (k, v) in self.layers.items()})


class EditableModel:
    """A frozen causal language model whose blocks can be run one range at a time."""

    def __init__(self, model: PreTrainedModel):
        kind = model.config.model_type
        if kind not in ARCHITECTURES:
            known = ", ".join(sorted(ARCHITECTURES))
            raise ModelError(f"model_type '{kind}' is not supported; supported are: {known}")
        self.family = kind
        self.model = model.eval().requires_grad_(False)
        self.architecture = ARCHITECTURES[kind]
        self.inner = model.get_submodule(self.architecture.inner)
        self.blocks = self.inner.get_submodule(self.architecture.blocks)
        self.norm = self.inner.get_submodule(self.architecture.norm)
        self.embedding = self.inner.get_submodule(self.architecture.embedding)

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.weight.dtype

    @property
    def counts_padding(self) -> bool:
        """Whether a prompt's numbers depend on the position it starts at (absolute positions)."""
        return self.architecture.positions == "absolute"

    def part(self, layer: int, name: str) -> nn.Module:
        """A part of block `layer`: "down", "mlp", "mlp_norm", "attention_out" or "block"."""
        if not 0 <= layer < self.depth:
            raise ModelError(
                f"layer {layer} does not exist: the model has layers 0..{self.depth - 1}"
            )
        block = self.blocks[layer]
        return block if name == "block" else block.get_submodule(getattr(self.architecture, name))

    def down_name(self, layer: int) -> str:
        """Full parameter name of the matrix that an edit writes in block `layer`."""
        arch = self.architecture
        return f"{arch.inner}.{arch.blocks}.{layer}.{arch.down}.weight"

    def down_weight(self, layer: int) -> torch.Tensor:
        """The editable matrix as (d, d_mlp), a view: GPT-2's Conv1D stores the transpose."""
        module = self.part(layer, "down")
        return module.weight.T if isinstance(module, Conv1D) else module.weight

    @torch.no_grad()
    def write_down_weight(self, layer: int, matrix: torch.Tensor) -> None:
        """Overwrite the editable matrix of `layer` with `matrix` (d, d_mlp), cast to its dtype."""
        weight = self.down_weight(layer)
        if matrix.shape != weight.shape:
            raise ModelError(
                f"layer {layer}: a matrix of shape {tuple(matrix.shape)} cannot replace one of "
                f"shape {tuple(weight.shape)}"
            )
        weight.copy_(matrix)

    def embed(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Input of the first block, (rows, tokens, d), for ids and positions (rows, tokens)."""
        hidden = self.embedding(ids)
        if self.architecture.positions == "absolute":
            hidden = hidden + self.inner.wpe(positions)
        return hidden

    def run(
        self,
        hidden: torch.Tensor,
        start: int,
        stop: int,
        positions: torch.Tensor,
        mask: torch.Tensor,
        cache: KeyValues | None = None,
    ) -> torch.Tensor:
        """Run blocks start..stop-1 on `hidden` (rows, tokens, d).

        `mask` is additive, (rows, 1, tokens, keys); with a cache the prefix's keys come first.
        """
        extra: dict = {"position_ids": positions}
        if self.architecture.positions == "rotary":
            extra["position_embeddings"] = self.inner.rotary_emb(hidden, position_ids=positions)
        elif self.architecture.positions == "absolute":
            extra = {}
        extra[self.architecture.cache_argument] = cache
        for block in self.blocks[start:stop]:
            hidden = first_tensor(block(hidden, attention_mask=mask, **extra))
        return hidden

    def log_probabilities(self, hidden: torch.Tensor) -> torch.Tensor:
        """Next-token log-probabilities (n, vocabulary) for last-block outputs (n, d).

        A single row (on some CPUs up to three) takes another matrix kernel, whose gradient, a sum
        over the vocabulary, has several times the rounding error. So there are at least
        FEWEST_ROWS, filled up with zeros.
        """
        n = len(hidden)
        if n < FEWEST_ROWS:
            hidden = torch.cat([hidden, hidden.new_zeros(FEWEST_ROWS - n, hidden.shape[1])])
        head = self.model.get_output_embeddings()
        return torch.log_softmax(head(self.norm(hidden)), dim=-1)[:n]

    def subject_output(
        self,
        parts: dict[str, torch.Tensor],
        deltas: dict[str, torch.Tensor],
        layer: int,
    ) -> torch.Tensor:
        """Output of block `layer` at the subject's last token, (rows, d), with deltas added.

        `parts` holds the unmodified values there: "input", "attention_out", "mlp", "block". A delta
        on the block's or the MLP's output simply adds to the residual stream. One on the
        attention's output also passes through the MLP, except in GPT-J's parallel block (SPEC A.2).
        """
        if "attention_out" not in deltas or self.architecture.parallel:
            return parts["block"] + sum(deltas.values())
        middle = parts["input"] + parts["attention_out"] + deltas["attention_out"]
        norm, mlp = self.part(layer, "mlp_norm"), self.part(layer, "mlp")
        return middle + mlp(norm(middle)) + deltas["mlp"]


def load_model(
    folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[EditableModel, PreTrainedTokenizerBase]:
    """Load a prepared model folder (safetensors only, no remote code) and its tokenizer.

    Raises ModelError naming the folder when it does not hold a supported model, TokenizerError as
    `load_tokenizer` does.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json there; is this a prepared model folder?")
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, trust_remote_code=False
    )
    return EditableModel(model.to(device)), load_tokenizer(folder)
