"""Model families: where their parts are (SPEC B). No torch is imported here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """Where the parts of a family are: module paths, relative to the model or to one block."""

    inner: str  # the model below the head
    blocks: str  # list of blocks, below `inner`
    norm: str  # final norm, below `inner`
    embedding: str  # token embedding, below `inner`
    down: str  # second MLP matrix, below a block: the only matrix that is ever written
    mlp: str
    attention_out: str
    mlp_norm: str  # norm in front of the MLP (GPT-J shares the attention's)
    positions: str  # "rotary" (block takes cos and sin), "ids" (block takes ids), "absolute"
    cache_argument: str = "past_key_values"
    parallel: bool = False  # attention and MLP both read the block's input (GPT-J)


_LLAMA = Architecture(
    inner="model",
    blocks="layers",
    norm="norm",
    embedding="embed_tokens",
    down="mlp.down_proj",
    mlp="mlp",
    attention_out="self_attn.o_proj",
    mlp_norm="post_attention_layernorm",
    positions="rotary",
)


ARCHITECTURES = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "gpt2": Architecture(
        inner="transformer",
        blocks="h",
        norm="ln_f",
        embedding="wte",
        down="mlp.c_proj",
        mlp="mlp",
        attention_out="attn.c_proj",
        mlp_norm="ln_2",
        positions="absolute",
    ),
    "gptj": Architecture(
        inner="transformer",
        blocks="h",
        norm="ln_f",
        embedding="wte",
        down="mlp.fc_out",
        mlp="mlp",
        attention_out="attn.out_proj",
        mlp_norm="ln_1",
        positions="ids",
        cache_argument="layer_past",
        parallel=True,
    ),
}


GATED = ("llama", "mistral", "qwen2")  # three MLP matrices, the others have two
