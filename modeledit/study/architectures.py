"""Model families: where their parts are, and what else the engine asks of them (SPEC B).

A family is described here and nowhere else. No torch is imported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Unfit:
    """An option of a model's config.json with which a family is not what the description says."""

    option: str
    value: Any
    why: str


@dataclass(frozen=True)
class Architecture:
    """Where the parts of a family are: module paths, relative to the model or to one block.

    "" stands for a part that the family does not have.
    """

    inner: str  # the model below the head
    blocks: str  # list of blocks, below `inner`
    norm: str  # final norm, below `inner`
    embedding: str  # token embedding, below `inner`
    down: str  # second MLP matrix, below a block: the only matrix that is ever written
    mlp: tuple[str, ...]  # the MLP, or the modules that make it, in the order they are applied
    attention_out: str
    mlp_norm: str  # norm in front of the MLP (GPT-J shares the attention's)
    # "rotary": the block takes cos and sin; "ids": it takes ids; "learned": added to the embedding
    positions: Literal["rotary", "ids", "learned"]
    position_embedding: str = ""  # of learned positions, below `inner`
    cache_argument: str = "past_key_values"
    own_attention: bool = False  # it does not go through transformers' attention functions
    always_none: tuple[str, ...] = ()  # arguments that a block demands and that are None here
    gated: bool = False  # three MLP matrices, two of which may lie in one; the others have two
    # Attention and MLP both read the block's input: always, or where one of these options is true.
    parallel: bool | tuple[str, ...] = False
    attention_post_norm: str = ""  # norm of the attention's output before it joins the residual
    mlp_post_norm: str = ""  # the same of the MLP's
    # Blocks whose attention sees `sliding_window` tokens: none, every one, or those that
    # `layer_types` names.
    windows: Literal["none", "all", "by_layer"] = "none"
    rotary_by_layer: bool = False  # cos and sin differ with `layer_types`
    caps_logits: bool = False  # the head's outputs pass through a tanh, `final_logit_softcapping`
    counts_padding: bool = False  # left padding moves the positions of a prompt (I14)
    legacy_space: bool = False  # the released PMET puts a space in front of o* (I12)
    rowless_marks: tuple[str, ...] = ()  # special tokens that the embedding may have no row for
    unfit: tuple[Unfit, ...] = field(default=())

    def is_parallel(self, options: Mapping[str, Any]) -> bool:
        """Whether a model with these options, its config.json, has parallel blocks."""
        if isinstance(self.parallel, bool):
            return self.parallel
        return any(options.get(name) for name in self.parallel)


_BIDIRECTIONAL = Unfit("use_bidirectional_attention", True, "tokens see those that follow them")

_LLAMA = Architecture(
    inner="model",
    blocks="layers",
    norm="norm",
    embedding="embed_tokens",
    down="mlp.down_proj",
    mlp=("mlp",),
    attention_out="self_attn.o_proj",
    mlp_norm="post_attention_layernorm",
    positions="rotary",
    gated=True,
)
_GEMMA = replace(
    _LLAMA,
    mlp_norm="pre_feedforward_layernorm",
    attention_post_norm="post_attention_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
    windows="by_layer",
    caps_logits=True,
    unfit=(_BIDIRECTIONAL,),
)


ARCHITECTURES = {
    "llama": _LLAMA,
    "mistral": replace(_LLAMA, windows="all"),
    "qwen2": replace(_LLAMA, windows="by_layer"),
    "qwen3": replace(_LLAMA, windows="by_layer"),
    "olmo2": replace(
        _LLAMA,
        mlp_norm="",
        attention_post_norm="post_attention_layernorm",
        mlp_post_norm="post_feedforward_layernorm",
    ),
    "phi3": replace(_LLAMA, windows="all"),
    "gemma2": _GEMMA,
    "gemma3_text": replace(
        _GEMMA,
        rotary_by_layer=True,
        rowless_marks=("<image_soft_token>",),  # of the larger siblings, which read images
    ),
    "gpt2": Architecture(
        inner="transformer",
        blocks="h",
        norm="ln_f",
        embedding="wte",
        down="mlp.c_proj",
        mlp=("mlp",),
        attention_out="attn.c_proj",
        mlp_norm="ln_2",
        positions="learned",
        position_embedding="wpe",
        counts_padding=True,
        legacy_space=True,
    ),
    "gptj": Architecture(
        inner="transformer",
        blocks="h",
        norm="ln_f",
        embedding="wte",
        own_attention=True,
        down="mlp.fc_out",
        mlp=("mlp",),
        attention_out="attn.out_proj",
        mlp_norm="ln_1",
        positions="ids",
        cache_argument="layer_past",
        parallel=True,
        legacy_space=True,
    ),
    "gpt_neox": Architecture(
        inner="gpt_neox",
        blocks="layers",
        norm="final_layer_norm",
        embedding="embed_in",
        down="mlp.dense_4h_to_h",
        mlp=("mlp",),
        attention_out="attention.dense",
        mlp_norm="post_attention_layernorm",
        positions="rotary",
        cache_argument="layer_past",
        parallel=("use_parallel_residual",),
        legacy_space=True,
    ),
    "opt": Architecture(
        inner="model.decoder",
        blocks="layers",
        norm="final_layer_norm",
        embedding="embed_tokens",
        down="fc2",
        mlp=("fc1", "activation_fn", "fc2"),
        attention_out="self_attn.out_proj",
        mlp_norm="final_layer_norm",
        positions="learned",
        position_embedding="embed_positions",
        unfit=(
            Unfit(
                "do_layer_norm_before",
                False,
                "a block's output is normalised after the MLP was added, with the residual in it",
            ),
            Unfit("_remove_final_layer_norm", True, "there is no norm in front of the head"),
        ),
    ),
    "falcon": Architecture(
        inner="transformer",
        blocks="h",
        norm="ln_f",
        embedding="word_embeddings",
        own_attention=True,
        down="mlp.dense_4h_to_h",
        mlp=("mlp",),
        attention_out="self_attention.dense",
        mlp_norm="post_attention_layernorm",
        positions="rotary",
        cache_argument="layer_past",
        always_none=("alibi",),
        parallel=("parallel_attn", "new_decoder_architecture"),
        unfit=(
            Unfit("alibi", True, "attention is biased by distance, which a tree of rows lacks"),
        ),
    ),
}

UNSUPPORTED = {
    "bloom": "attention is biased by distance (ALiBi)",
    "mpt": "attention is biased by distance (ALiBi)",
    "gemma3": "it reads images; of its text-only models the model_type is gemma3_text",
    "mixtral": "each token has experts of its own, and no block has one down projection",
    "qwen2_moe": "each token has experts of its own, and no block has one down projection",
    "qwen3_moe": "each token has experts of its own, and no block has one down projection",
    "gpt_oss": "each token has experts of its own, and no block has one down projection",
    "mamba": "it has no attention whose prefixes could be shared",
    "t5": "it has an encoder",
}
"""Why some well-known families are not among ARCHITECTURES."""
