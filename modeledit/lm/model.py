"""A causal language model seen as editable blocks: where its parts are and how to run some of them.

The engine never calls the whole model during optimisation. It embeds tokens, runs a range of
blocks, and applies the head where a label needs it; `EditableModel` offers exactly that for the
families of `modeledit.study.architectures` (SPEC B has GPT-2, GPT-J and Llama).
"""

from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.pytorch_utils import Conv1D

from modeledit.io.files import one_line
from modeledit.io.prepared import changed_files
from modeledit.io.refusal import Refusal
from modeledit.lm.attention import KeyValues, apart_from
from modeledit.lm.hooks import first_tensor
from modeledit.lm.products import by_onednn
from modeledit.lm.tokenizer import load_tokenizer
from modeledit.study.architectures import ARCHITECTURES, UNSUPPORTED, Architecture

FEWEST_ROWS = 4  # of a product with the head


class ModelError(Refusal):
    """A model, layer or matrix that the engine cannot edit."""


class Limit(NamedTuple):
    """How many tokens a text may have, and why not more."""

    tokens: int
    why: str


def unsupported(kind: str | None) -> str:
    """Why there is no description of models of this model_type."""
    reason = f": {UNSUPPORTED[kind]}" if kind in UNSUPPORTED else ""
    known = ", ".join(sorted(ARCHITECTURES))
    return f"model_type '{kind}' is not supported{reason}; supported are: {known}"


def architecture_of(config: PretrainedConfig) -> Architecture:
    """The description that fits a config.json.

    Raises ModelError where there is none, or where options of the config make the model something
    else than the description says; all of them at once.
    """
    kind = config.model_type
    if kind not in ARCHITECTURES:
        raise ModelError(unsupported(kind))
    architecture = ARCHITECTURES[kind]
    wrong = [
        f"{unfit.option} is {unfit.value}: {unfit.why}"
        for unfit in architecture.unfit
        if getattr(config, unfit.option, None) == unfit.value
    ]
    if architecture.windows == "by_layer":
        strange = set(config.layer_types) - {"full_attention", "sliding_attention"}
        wrong += [f"layer_types has '{name}', a kind not known here" for name in sorted(strange)]
    if wrong:
        raise ModelError(f"a {kind} model of this kind is not supported: {'; '.join(wrong)}")
    return architecture


def _windows(architecture: Architecture, config: PretrainedConfig) -> list[int | None]:
    """How many tokens each block's attention sees, the token itself among them; None: all."""
    depth = config.num_hidden_layers
    if architecture.windows == "none":
        return [None] * depth
    if architecture.windows == "all":
        return [config.sliding_window] * depth
    return [
        config.sliding_window if kind == "sliding_attention" else None
        for kind in config.layer_types
    ]


def _ropes(config: PretrainedConfig) -> list[dict]:
    """The parameters of all rotary embeddings; a model may have one for each kind of layer."""
    parameters = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    return nested or [parameters]


class EditableModel:
    """A frozen causal language model whose blocks can be run one range at a time.

    Raises ModelError for a model that is not built as its family's description says.
    """

    def __init__(self, model: PreTrainedModel):
        config = model.config
        self.architecture = architecture_of(config)
        self.family = config.model_type
        self.model = model.eval().requires_grad_(False)
        by_onednn(model)
        self.inner = model.get_submodule(self.architecture.inner)
        self.blocks = cast(nn.ModuleList, self.inner.get_submodule(self.architecture.blocks))
        self.norm = self.inner.get_submodule(self.architecture.norm)
        self.embedding = cast(nn.Embedding, self.inner.get_submodule(self.architecture.embedding))
        self.parallel = self.architecture.is_parallel(config.to_dict())
        self.windows = _windows(self.architecture, config)
        self.limit = self._limit()
        cap = getattr(config, "final_logit_softcapping", None)
        self.logit_cap = cap if self.architecture.caps_logits else None
        if self.embedding.weight.shape[1] != config.hidden_size:
            raise ModelError(
                f"a {self.family} model of this kind is not supported: its embedding is "
                f"{self.embedding.weight.shape[1]} wide, its blocks are {config.hidden_size}"
            )

    def _limit(self) -> Limit | None:
        """The longest text on which rows may be merged, and run in parts, as the engine does."""
        if self.architecture.positions == "learned":
            module = self._position_embedding
            return Limit(
                module.weight.shape[0] - getattr(module, "offset", 0),
                "the model has an embedding for each position, and no more",
            )
        config = self.model.config
        if self.architecture.positions == "ids":
            return Limit(config.max_position_embeddings, "the model has no more positions")
        limits = [
            # Beyond it the angles of a whole text change with its length.
            Limit(
                rope.get("original_max_position_embeddings", config.max_position_embeddings)
                if rope["rope_type"] == "longrope"
                else config.max_position_embeddings,
                f"the rotary embedding of type '{rope['rope_type']}' changes with longer ones",
            )
            for rope in _ropes(config)
            if rope.get("rope_type") in ("dynamic", "longrope")
        ]
        return min(limits, default=None)

    @property
    def _position_embedding(self) -> nn.Embedding:
        found = self.inner.get_submodule(self.architecture.position_embedding)
        return cast(nn.Embedding, found)

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def width(self) -> int:
        """Of the states between blocks."""
        return self.embedding.weight.shape[1]

    @property
    def mlp_width(self) -> int:
        """Of the keys."""
        return self.down_weight(0).shape[1]

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding."""
        return self.embedding.weight.shape[0]

    @property
    def tied(self) -> bool:
        """Whether the head is the embedding."""
        head = cast(nn.Linear, self.model.get_output_embeddings())
        return head.weight is self.embedding.weight

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.weight.dtype

    @property
    def counts_padding(self) -> bool:
        """Whether left padding moves a prompt, whose numbers depend on where it starts."""
        return self.architecture.counts_padding

    def part(self, layer: int, name: str) -> nn.Module:
        """A part of block `layer`: "down", "mlp", "mlp_norm", "attention_out" or "block"."""
        if not 0 <= layer < self.depth:
            raise ModelError(
                f"layer {layer} does not exist: the model has layers 0..{self.depth - 1}"
            )
        block = self.blocks[layer]
        if name == "block":
            return block
        if name == "mlp":  # where several modules make it, the last one's output is the MLP's
            return block.get_submodule(self.architecture.mlp[-1])
        return block.get_submodule(getattr(self.architecture, name))

    def down_name(self, layer: int) -> str:
        """Full parameter name of the matrix that an edit writes in block `layer`."""
        arch = self.architecture
        return f"{arch.inner}.{arch.blocks}.{layer}.{arch.down}.weight"

    def down_weight(self, layer: int) -> torch.Tensor:
        """The editable matrix as (d, d_mlp), a view: GPT-2's Conv1D stores the transpose."""
        module = self.part(layer, "down")
        weight = cast(torch.Tensor, module.weight)
        return weight.T if isinstance(module, Conv1D) else weight

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

    def check_tokens(self, ids: Iterable[int], length: int) -> None:
        """Raise ModelError for an id without a row in the embedding, or more tokens than `limit`.

        To be asked before `embed`, of numbers that are on the host: it would wait for the device.
        """
        largest, rows = max(ids, default=0), self.embedding.weight.shape[0]
        if largest >= rows:
            raise ModelError(
                f"token id {largest} has no row in the embedding, which has {rows}; the tokenizer "
                "knows a token that the model does not"
            )
        if self.limit is not None and length > self.limit.tokens:
            raise ModelError(
                f"a text of {length} tokens is longer than {self.limit.tokens}: {self.limit.why}; "
                "make it shorter"
            )

    def embed(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Input of the first block, (rows, tokens, d), for ids and positions (rows, tokens)."""
        hidden = self.embedding(ids)
        if self.architecture.positions == "learned":
            module = self._position_embedding
            places = positions + getattr(module, "offset", 0)  # OPT's begin with two rows unused
            hidden = hidden + nn.functional.embedding(places, module.weight)
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

        `mask` is additive, (rows, 1, tokens, keys); with a cache the prefix's keys come first, at
        positions 0, 1, ... It says what a token of the row may see; a block with a window sees of
        that what is near enough.
        """
        extra: dict = dict.fromkeys(self.architecture.always_none)
        if self.architecture.positions != "learned":
            extra["position_ids"] = positions
        extra[self.architecture.cache_argument] = cache
        fixed = cache if cache and not cache.recording else None
        with (
            apart_from(fixed, self.model.config)
            if fixed and not self.architecture.own_attention
            else nullcontext()
        ):
            return self._run(hidden, range(start, stop), positions, mask, extra)

    def _run(
        self,
        hidden: torch.Tensor,
        layers: range,
        positions: torch.Tensor,
        mask: torch.Tensor,
        extra: dict,
    ) -> torch.Tensor:
        masks: dict[int | None, torch.Tensor] = {}
        rotations: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        for layer in layers:
            window = self.windows[layer]
            if window not in masks:
                masks[window] = _within(mask, positions, window)
            if self.architecture.positions == "rotary":
                kind = self._rotary_kind(layer)
                if kind not in rotations:
                    named = {"layer_type": kind} if kind else {}
                    rotary = self.inner.get_submodule("rotary_emb")
                    rotations[kind] = rotary(hidden, position_ids=positions, **named)
                extra["position_embeddings"] = rotations[kind]
            hidden = first_tensor(self.blocks[layer](hidden, attention_mask=masks[window], **extra))
        return hidden

    def _rotary_kind(self, layer: int) -> str:
        by_layer = self.architecture.rotary_by_layer
        return self.model.config.layer_types[layer] if by_layer else ""

    def log_probabilities(self, hidden: torch.Tensor) -> torch.Tensor:
        """Next-token log-probabilities (n, vocabulary) for last-block outputs (n, d).

        A single row (on some CPUs up to three) takes another matrix kernel, whose gradient, a sum
        over the vocabulary, has several times the rounding error. So there are at least
        FEWEST_ROWS, filled up with zeros.
        """
        n = len(hidden)
        if n < FEWEST_ROWS:
            hidden = torch.cat([hidden, hidden.new_zeros(FEWEST_ROWS - n, hidden.shape[1])])
        head = cast(nn.Module, self.model.get_output_embeddings())
        logits = head(self.norm(hidden))
        if self.logit_cap is not None:
            logits = self.logit_cap * torch.tanh(logits / self.logit_cap)
        return torch.log_softmax(logits, dim=-1)[:n]

    def subject_output(
        self,
        parts: dict[str, torch.Tensor],
        deltas: dict[str, torch.Tensor],
        layer: int,
    ) -> torch.Tensor:
        """Output of block `layer` at the subject's last token, (rows, d), with deltas added.

        `parts` holds the unmodified values there: "input", "attention_out", "mlp", "block". A delta
        on the block's output simply adds to the residual stream, and so does one on the MLP's,
        unless a norm lies between the two (OLMo-2, Gemma). One on the attention's output also
        passes through the MLP, except in a parallel block, GPT-J's (SPEC A.2).
        """
        arch, block = self.architecture, self.part(layer, "block")
        normed = arch.mlp_post_norm and "mlp" in deltas
        if self.parallel or not ("attention_out" in deltas or normed):
            return parts["block"] + sum(deltas.values())

        def through(name: str, values: torch.Tensor) -> torch.Tensor:
            return block.get_submodule(name)(values) if name else values

        attention = parts["attention_out"]
        if "attention_out" in deltas and arch.attention_post_norm:
            attention = attention + deltas["attention_out"]
        middle = parts["input"] + through(arch.attention_post_norm, attention)
        mlp = parts["mlp"]
        if "attention_out" in deltas:
            if not arch.attention_post_norm:
                middle = middle + deltas["attention_out"]
            mlp = through(arch.mlp_norm, middle)
            for name in arch.mlp:
                mlp = through(name, mlp)
        if not arch.mlp_post_norm:
            return middle + mlp + deltas["mlp"]
        return middle + through(arch.mlp_post_norm, mlp + deltas["mlp"])


def _within(mask: torch.Tensor, positions: torch.Tensor, window: int | None) -> torch.Tensor:
    """`mask` (rows, 1, tokens, keys) without the keys that are `window` or more positions back."""
    keys = mask.shape[-1]
    if window is None or keys <= window:
        return mask
    prefix = positions.new_ones(len(positions), keys - positions.shape[1]).cumsum(dim=1) - 1
    behind = torch.cat([prefix, positions], dim=1)
    far = positions[:, :, None] - behind[:, None, :] >= window
    return mask.masked_fill(far[:, None], torch.finfo(mask.dtype).min)


def load_model(
    folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[EditableModel, PreTrainedTokenizerBase]:
    """Load a prepared model folder (safetensors only, no remote code) and its tokenizer.

    Raises ModelError naming the folder when it does not hold a supported model, or a file of it is
    not, to the byte, what was prepared; TokenizerError as `load_tokenizer` does.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no config.json there; is this a prepared model folder?")
    if changed := changed_files(folder):
        raise ModelError(
            f"{folder}: no longer what was prepared (sha256): {', '.join(changed)}; delete the "
            "folder to prepare the model again"
        )
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{folder}: not a whole model, was it copied to the end? ({one_line(error)}) Copy it "
            "again, or delete the folder to prepare the model again"
        ) from error
    cast(nn.Module, model).to(device)
    return EditableModel(model), load_tokenizer(folder)
