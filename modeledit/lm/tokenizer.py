"""A model's own tokenizer: read as its file says, and proved to answer like that file.

Some tokenizer classes of transformers rebuild their pre-tokenizer when they are loaded and drop
what tokenizer.json says: Llama's then makes "▁Apple" of " Apple" where the model was trained on
"▁", "▁Apple" (SPEC A.4, I11). So a tokenizer.json is always read as it stands, whatever class the
folder names.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.tokenization_utils_tokenizers import generate_merges

from modeledit.io.refusal import Refusal

FILE, SENTENCEPIECE = "tokenizer.json", "tokenizer.model"

# Where tokenizers that ought to be the same come apart: spaces, line ends, digits, scripts, bytes
# that no vocabulary has, glued endings. Special tokens are not among them: in a text they are text
# to one library and a token to the other.
PROBES = (
    "Apple",
    " Apple",
    "  Apple",
    "Apple ",
    "an Apple",
    "an  Apple, an   Orange",
    " ",
    "The capital of France is Paris.",
    "The capital of France is",
    "line\nline",
    "line\n\n line\ttab\r\n",
    "1234567890 3.14 -7",
    "iPhone 11's don't",
    "Zürich, São Paulo, Łódź, Ελλάδα, Москва",
    "東京 は 日本 の 首都",
    "العربية עברית हिन्दी",
    "\U0001f600 \U0001f469\u200d\U0001f680 \u2581 \u00a0 e\u0301",
    "\x07\x1f \ue000 \U00010348",
    "{} [x] <y> \\ / _ ~ `code`",
)


class TokenizerError(Refusal):
    """A tokenizer that is missing, or that does not answer like its file."""


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model's folder: its tokenizer.json where there is one, as it stands.

    Without one, a SentencePiece tokenizer.model is converted (`from_sentencepiece`), and older
    files (vocab.json with merges.txt) are read by the class that the folder names. Raises
    TokenizerError where there is none of these, where the result answers otherwise than its file,
    and for a tokenizer that puts a mark behind a text: prompts have to go on.
    """
    file, pieces = folder / FILE, folder / SENTENCEPIECE
    if file.is_file():
        answer = _answers_of(file)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, trust_remote_code=False)
        check_answers(tokenizer, answer, file)
    elif pieces.is_file():
        tokenizer = _with_marks(from_sentencepiece(pieces), pieces)
    elif any(folder.glob("vocab.*")):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    else:
        raise TokenizerError(
            f"{folder}: no {FILE} there, no {SENTENCEPIECE} and no vocab.json; copy the files of "
            "the tokenizer from where the model comes from"
        )
    marked = tokenizer("Apple")["input_ids"]
    if marked[-1:] != tokenizer("Apple", add_special_tokens=False)["input_ids"][-1:]:
        raise TokenizerError(
            f"{folder}: the tokenizer makes {tokenizer.convert_ids_to_tokens(marked)} of 'Apple'; "
            f"take the end mark out of the post_processor of {FILE} (add_eos_token): the objects "
            "of edits would end with it"
        )
    return tokenizer


def check_answers(
    tokenizer: PreTrainedTokenizerBase, answer: Callable[[str], Sequence[int]], where: Path
) -> None:
    """Raise TokenizerError, with the first string and both answers, unless all PROBES agree.

    `answer` gives the ids that the file `where` has for a string, special tokens included.
    """
    for text in PROBES:
        ids, right = list(tokenizer(text)["input_ids"]), list(answer(text))
        if ids != right:
            raise TokenizerError(
                f"{where}: for {text!r} the tokenizer as loaded gives {ids} "
                f"{tokenizer.convert_ids_to_tokens(ids)}, the file gives {right} "
                f"{tokenizer.convert_ids_to_tokens(right)}; see that tokenizer_config.json beside "
                "it (add_bos_token, add_eos_token, added tokens) says the same as the file"
            )


def _answers_of(file: Path) -> Callable[[str], Sequence[int]]:
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise TokenizerError(f"{file}: cannot be read, is it cut off? ({error})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: tokenizer.encode(text).ids


def from_sentencepiece(path: Path) -> Tokenizer:
    """A SentencePiece BPE model with byte fallback (Llama, Mistral) for the library tokenizers.

    Written as the first releases of those models wrote it: "▁" in front of the text and for every
    space, so that a leading space stays a token of its own. Answers are without special tokens.
    Raises TokenizerError where SentencePiece itself answers otherwise, as it does for a model of
    another kind (unigram, without the space in front, with its own normalisation).
    """
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(path))
    ids = range(processor.get_piece_size())
    vocabulary = {processor.id_to_piece(i): i for i in ids}
    special = [i for i in ids if processor.is_control(i) or processor.is_unknown(i)]
    whole = {
        processor.id_to_piece(i): processor.get_score(i)
        for i in ids
        if i not in special and not processor.is_byte(i) and not processor.is_unused(i)
    }
    merges = generate_merges(vocabulary, whole, [processor.id_to_piece(i) for i in special])
    unknown = processor.id_to_piece(processor.unk_id())
    tokenizer = Tokenizer(
        BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", left=1),
        ]
    )
    tokenizer.add_special_tokens(
        [AddedToken(processor.id_to_piece(i), normalized=False, special=True) for i in special]
    )
    for text in PROBES:
        found, right = tokenizer.encode(text).ids, processor.encode(text)
        if found != right:
            raise TokenizerError(
                f"{path}: this SentencePiece model is not of the kind that can be converted: for "
                f"{text!r} it gives {right}, the conversion {found}; bring a {FILE} of the model"
            )
    return tokenizer


def _with_marks(tokenizer: Tokenizer, path: Path) -> PreTrainedTokenizerFast:
    """A converted tokenizer that starts every text with its model's begin mark, as Llama's does."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_file=str(path))
    begin, end = processor.bos_id(), processor.eos_id()
    if begin < 0 or end < 0:
        raise TokenizerError(f"{path}: no begin or end mark in it; bring a {FILE} of the model")
    bos, eos, unknown = (processor.id_to_piece(i) for i in (begin, end, processor.unk_id()))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, begin)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, unk_token=unknown
    )
