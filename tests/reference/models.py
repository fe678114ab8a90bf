"""Tiny random language models, a byte-level tokenizer and hand-written requests for tests.

Everything is built from configurations and from the text in this file, so no test needs a download.
The weights are larger than a fresh initialisation would make them: the predictions of these models
are far from flat, and an error of one position or one row shows in every number.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from modeledit.study.hyperparameters import SpreadHyperparameters

EOS = "<|endoftext|>"
BOS = "<s>"
HYPER = SpreadHyperparameters(  # for a tiny model, in few steps
    layers=(1, 2),
    lr=1.0,
    steps=4,
    clamp=4.0,
    weight_decay=0.001,
    kl_factor=0.001,
    covariance_weight=5.0,
)

TEXT = """\
Lyon is a city in the country of France. Paris is the capital of France. France is in Europe.
Munich is a city in the country of Germany. Berlin is the capital of Germany.
Naples is a city in the country of Italy. Rome is the capital of Italy. Italy is in Europe.
Cusco is a city in the country of Peru. Lima is the capital of Peru. Peru is in South America.
Osaka is a city in the country of Japan. Tokyo is the capital of Japan. Japan is in Asia.
The mother tongue of the writer is French. The mother tongue of the painter is Italian.
The people of the city speak Spanish. The people of the country speak Japanese.
The river that flows through the city is long. The company was founded in the city of London.
The language that people speak in the country is German. The sport that he plays is football.
Therefore the country is in Europe. Because the city is old, people like the city.
I think that the capital is in the north of the country. You can see the river in the city.
"""


def tiny_tokenizer(bos: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE of 420 tokens, trained on `TEXT`; with `bos` it prepends `<s>` as Llama does.

    Frequent words are one token, other words several, and every string can be encoded and decoded.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=[EOS, BOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT.splitlines(), trainer)
    if bos:
        tokenizer.post_processor = TemplateProcessing(
            single=f"{BOS} $A",
            pair=f"{BOS} $A $B",
            special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS if bos else EOS,
        eos_token=EOS,
        pad_token=EOS,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def tiny_sentencepiece() -> PreTrainedTokenizerFast:
    """A tokenizer of Llama-2's kind and of `tiny_tokenizer`'s size: BPE with byte fallback.

    "▁" is put in front of a text and in the place of every space, so that a space at the beginning
    is a token of its own; `<s>` comes first, and what no piece covers becomes bytes.
    """
    metaspace = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trained = Tokenizer(BPE())
    trained.normalizer = metaspace
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # no piece crosses words
    marks = [EOS, BOS, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=len(tiny_tokenizer()) - len(marks))
    trained.train_from_iterator(TEXT.splitlines(), trainer)
    model = json.loads(trained.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    vocabulary = {piece: i for i, piece in enumerate([*marks, *pieces])}
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Tokenizer(
        BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = metaspace
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", left=1),
        ]
    )
    tokenizer.add_special_tokens(marks[:3])
    tokenizer.post_processor = TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, vocabulary[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        unk_token="<unk>",
        pad_token=EOS,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def _build(config: PretrainedConfig, seed: int, dtype: torch.dtype) -> PreTrainedModel:
    """A frozen model in evaluation mode with weights that depend on `seed` only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            model.get_output_embeddings().weight.mul_(2)  # confident enough for a loss below 0.05
            for parameter in model.parameters():
                if (
                    parameter.dim() == 1
                ):  # norms start at 1 and biases at 0: make each of them matter
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return model.to(dtype).eval().requires_grad_(False)


def _special_ids() -> dict[str, int]:
    tokenizer = tiny_tokenizer()
    eos, bos = tokenizer.convert_tokens_to_ids([EOS, BOS])
    return {
        "vocab_size": len(tokenizer),
        "eos_token_id": eos,
        "bos_token_id": bos,
        "pad_token_id": eos,
    }


def _llama_like(
    kind: type[PretrainedConfig],
    seed: int,
    dtype: torch.dtype,
    layers: int,
    tied: bool,
    vocabulary: int | None = None,
    **options: object,
) -> PreTrainedModel:
    """Grouped-query attention (4 heads, 2 key-value heads), d = 32, d_mlp = 64."""
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.25,
        "tie_word_embeddings": tied,
    }
    if vocabulary:
        options |= {"vocab_size": vocabulary}
    return _build(kind(**sizes | _special_ids() | options), seed, dtype)


def tiny_llama(
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    layers: int = 5,
    vocabulary: int | None = None,
    **options: object,
) -> PreTrainedModel:
    """Llama (RMSNorm, gated MLP, rotary) with a head of its own; `vocabulary` defaults to ours."""
    return _llama_like(LlamaConfig, seed, dtype, layers, False, vocabulary, **options)


def tiny_mistral(
    seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 5, **options: object
) -> PreTrainedModel:
    """Mistral: Llama's shape. Its window is wider than any text unless `options` say otherwise."""
    return _llama_like(MistralConfig, seed, dtype, layers, tied=False, **options)


def tiny_qwen2(
    seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 5, **options: object
) -> PreTrainedModel:
    """Qwen2: Llama's shape with biases in the attention, and a tied head."""
    return _llama_like(Qwen2Config, seed, dtype, layers, tied=True, **options)


def tiny_qwen3(
    seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 5, **options: object
) -> PreTrainedModel:
    """Qwen3: norms of queries and keys, heads that are wider than d / heads, and a tied head."""
    options = {"head_dim": 12} | options
    return _llama_like(Qwen3Config, seed, dtype, layers, tied=True, **options)


def tiny_olmo2(
    seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 5, **options: object
) -> PreTrainedModel:
    """OLMo-2: norms behind attention and MLP, none in front of them."""
    return _llama_like(Olmo2Config, seed, dtype, layers, tied=False, **options)


def tiny_phi3(
    seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 5, **options: object
) -> PreTrainedModel:
    """Phi-3: queries, keys and values in one matrix, gate and up in another; a window."""
    options = {"sliding_window": 6} | options
    return _llama_like(Phi3Config, seed, dtype, layers, tied=False, **options)


def tiny_gemma2(
    seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 5, **options: object
) -> PreTrainedModel:
    """Gemma 2: a scaled embedding, four norms a block, caps, every other block with a window."""
    options = {
        "head_dim": 12,
        "query_pre_attn_scalar": 10,
        "sliding_window": 6,
        "attn_logit_softcapping": 3.0,
        "final_logit_softcapping": 4.0,
    } | options
    return _llama_like(Gemma2Config, seed, dtype, layers, tied=True, **options)


def tiny_gemma3(
    seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 5, **options: object
) -> PreTrainedModel:
    """Gemma 3: norms of queries and keys too; blocks with a window turn by other angles."""
    kinds = ["sliding_attention", "sliding_attention", "full_attention"] * layers
    options = {
        "head_dim": 12,
        "query_pre_attn_scalar": 10,
        "sliding_window": 6,
        "layer_types": kinds[:layers],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
    } | options
    return _llama_like(Gemma3TextConfig, seed, dtype, layers, tied=True, **options)


def tiny_gpt_neox(
    seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 5, parallel: bool = True
) -> PreTrainedModel:
    """GPT-NeoX: one matrix for queries, keys and values; attention and MLP beside or after."""
    config = GPTNeoXConfig(
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=256,
        rotary_pct=0.5,
        initializer_range=0.2,
        use_parallel_residual=parallel,
        **_special_ids(),
    )
    return _build(config, seed, dtype)


def tiny_opt(
    seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 5, **options: object
) -> PreTrainedModel:
    """OPT: learned positions from the third row on, an MLP that is no module, ReLU."""
    sizes = {
        "hidden_size": 32,
        "ffn_dim": 128,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "word_embed_proj_dim": 32,
        "init_std": 0.25,
    }
    config = OPTConfig(**sizes | _special_ids() | options)
    return _build(config, seed, dtype)


def tiny_falcon(
    seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 5, **options: object
) -> PreTrainedModel:
    """Falcon: a single key-value head (or `options`), attention and MLP beside each other."""
    sizes = {
        "hidden_size": 32,
        "ffn_hidden_size": 128,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
    }
    config = FalconConfig(**sizes | _special_ids() | options)
    return _build(config, seed, dtype)


# What the paper does not edit, by what its blocks have that the paper's three families have not.
FURTHER: dict[str, Callable[..., PreTrainedModel]] = {
    "mistral": partial(tiny_mistral, sliding_window=6),
    "qwen2": partial(tiny_qwen2, use_sliding_window=True, sliding_window=6, max_window_layers=2),
    "qwen3": tiny_qwen3,
    "olmo2": tiny_olmo2,
    "phi3": tiny_phi3,
    "gemma2": tiny_gemma2,
    "gemma3": tiny_gemma3,
    "gpt-neox": tiny_gpt_neox,
    "gpt-neox-sequential": partial(tiny_gpt_neox, parallel=False),
    "opt": tiny_opt,
    "falcon": tiny_falcon,
    "falcon-sequential": partial(tiny_falcon, parallel_attn=False),
    "falcon-new": partial(tiny_falcon, new_decoder_architecture=True, num_kv_heads=2),
}


def tiny_gpt2(
    seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 5
) -> PreTrainedModel:
    """GPT-2 (Conv1D weights [in, out], absolute positions, tied head), d = 32, d_mlp = 128."""
    config = GPT2Config(
        n_embd=32,
        n_layer=layers,
        n_head=4,
        n_positions=256,
        initializer_range=0.25,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        **_special_ids(),
    )
    return _build(config, seed, dtype)


def tiny_gptj(
    seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 5
) -> PreTrainedModel:
    """GPT-J (parallel attention and MLP, partial rotary, head with bias), d = 32, d_mlp = 128."""
    config = GPTJConfig(
        n_embd=32,
        n_layer=layers,
        n_head=4,
        n_positions=256,
        rotary_dim=4,
        initializer_range=0.2,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=False,
        **_special_ids(),
    )
    return _build(config, seed, dtype)


@dataclass(frozen=True)
class TinyNeighbor:
    """A prompt about another subject, with its own ground truth."""

    prompt: str
    subject: str | None
    target: str

    @property
    def text(self) -> str:
        return self.prompt if self.subject is None else self.prompt.replace("{}", self.subject, 1)


@dataclass(frozen=True)
class TinyRequest:
    """One desired edit, with the fields that the pipeline's own requests have."""

    id: int
    subject: str
    prompt: str
    target_new: str
    target_true: str
    paraphrases: tuple[str, ...]
    neighbors: tuple[TinyNeighbor, ...]
    editing_neighbors: tuple[TinyNeighbor, ...] = ()
    relation: str = ""

    @property
    def text(self) -> str:
        return self.prompt.replace("{}", self.subject, 1)


def tiny_requests() -> list[TinyRequest]:
    """Seven requests: subjects at the start, in the middle and at the end; short and long objects.

    In requests 3 and 6 the subject ends the prompt and the object is one token. There the delta
    acts directly on the prediction, so that with a small `kl_factor` they meet a stop rule after a
    few steps while the others run on.
    """
    country = "{} is a city in the country of"
    return [
        TinyRequest(
            id=0,
            subject="Lyon",
            prompt=country,
            target_new="Japan",
            target_true="France",
            paraphrases=("The city of Lyon is in", "People in Lyon live in the country of"),
            neighbors=(
                TinyNeighbor(country, "Paris", "France"),
                TinyNeighbor(country, "Bordeaux", "France"),
            ),
            editing_neighbors=(TinyNeighbor(country, "Marseille", "France"),),
            relation="country",
        ),
        TinyRequest(
            id=1,
            subject="Málaga",
            prompt="The people of {} speak",
            target_new="Italian",
            target_true="Spanish",
            paraphrases=("In Málaga, people speak",),
            neighbors=(
                TinyNeighbor("The people of {} speak", "Sevilla", "Spanish"),
                TinyNeighbor("The language of Madrid is", None, "Spanish"),
                TinyNeighbor("In the city of {}, people like to speak", "Granada", "Spanish"),
            ),
            editing_neighbors=(
                TinyNeighbor("In the old city of {}, they speak", "Bilbao", "Spanish"),
            ),
            relation="language",
        ),
        TinyRequest(
            id=2,
            subject="New Orleans Zephyrs",
            prompt="The sport that {} plays is",
            target_new="ice hockey on the river",
            target_true="football",
            paraphrases=("New Orleans Zephyrs is a team of",),
            neighbors=(TinyNeighbor("The sport that {} plays is", "Boston Red Sox", "baseball"),),
            editing_neighbors=(
                TinyNeighbor("The sport that {} plays is", "Chicago Cubs", "baseball"),
            ),
            relation="sport",
        ),
        TinyRequest(
            id=3,
            subject="Cusco",
            prompt="The capital of the country of the city {}",
            target_new="Europe",
            target_true="Lima",
            paraphrases=("Cusco is ruled from", "The government of Cusco is in"),
            neighbors=(TinyNeighbor("The capital of the country of {}", "Arequipa", "Lima"),),
            editing_neighbors=(TinyNeighbor("The capital of the country of {}", "Puno", "Lima"),),
            relation="capital",
        ),
        TinyRequest(
            id=4,
            subject="Danielle Darrieux",
            prompt="The mother tongue of {} is",
            target_new="Japanese",
            target_true="French",
            paraphrases=("Where Danielle Darrieux is from, people speak the language of",),
            neighbors=(TinyNeighbor("The mother tongue of {} is", "Jean Gabin", "French"),),
            editing_neighbors=(
                TinyNeighbor("{} is a native speaker of", "Robert Schuman", "French"),
            ),
            relation="language",
        ),
        TinyRequest(
            id=5,
            subject="the company",
            prompt="I think that, in the north of the country, {} was founded in the city of",
            target_new="Kraków",
            target_true="London",
            paraphrases=("The place where the company was founded is",),
            neighbors=(TinyNeighbor("{} was founded in the city of", "The Guardian", "London"),),
            editing_neighbors=(TinyNeighbor("{} was founded in", "Harrods", "London"),),
            relation="founded",
        ),
        TinyRequest(
            id=6,
            subject="the painter's old river",
            prompt="The country of {}",
            target_new="France",
            target_true="Italy",
            paraphrases=("People say that the painter's old river flows through",),
            neighbors=(TinyNeighbor("The country of {}", "the Tiber", "Italy"),),
            editing_neighbors=(TinyNeighbor("The country of {}", "the Arno", "Italy"),),
            relation="country",
        ),
    ]


def tiny_contexts() -> list[str]:
    """The bare context and five fixed prefixes of different lengths, shaped like generated ones."""
    return [
        "{}",
        "The river is long. {}",
        "Therefore the country is in Europe and old. {}",
        "Because he plays. {}",
        "I think that people like the city of London. {}",
        "You can see. {}",
    ]
