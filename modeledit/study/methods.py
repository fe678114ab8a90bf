"""Editing methods as descriptions over shared parts (SPEC A.2, D.1).

A method says where OPTIMIZATION adds its deltas, where SPREAD reads the residual and how it shares
it among the layers, what keeps other keys in place, whether keys of earlier edits are kept, whether
neighbors join the loss, and which of the two stages later iterations repeat. Nothing here imports
torch, so that the workflow can check a configuration without it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

KeyCache = Literal["none", "other_batches", "released"]
"""Whose keys an update keeps in place besides those that it writes: nobody's, those of earlier
batches, or those of every earlier iteration, the same batch's too (SPEC I25)."""


@dataclass(frozen=True)
class Method:
    """One editing method; hyperparameters come from the model's configuration, per algorithm."""

    name: str
    algorithm: str
    sites: tuple[str, ...]
    residual_site: str
    sharing: str
    argmax_stop: bool = False
    n_neighbors: int = 0  # neighbors in the loss
    neighbor_prefixed: bool = False  # NAP_: they carry generated prefixes; NA_: they do not
    in_paper: bool = True  # in arXiv:2503.11895; its version of EMNLP Findings 2025 has AlphaEdit
    repeats: Literal["both", "spread", "optimization"] = "both"  # the stages that k > 1 repeats
    protects: Literal["covariance", "null_space"] = "covariance"  # what keeps other keys in place
    key_cache: KeyCache | None = "none"  # None: as the switch of this name says
    l2_divisor: int = 1  # of AlphaEdit's L2
    parameters_of: str = ""  # the algorithm whose hyperparameters it takes, if not its own
    probe: bool = False  # tests an explanation, and is no method that anybody proposed
    write: str = "spread"  # "spread": least squares over all layers; "rank_one": one by one
    context_lengths: tuple[tuple[int, int], ...] = ((10, 1),)  # (tokens, prefixes per seed word)
    legacy_space: str = (
        "always"  # where legacy tokenisation puts a space before o*: "always", "gpt"
    )
    legacy_drop: bool = False  # whether it drops a BOS or unknown mark that comes first (SPEC A.4)

    @property
    def neighbor_assisted(self) -> bool:
        return self.n_neighbors > 0

    @property
    def parameters(self) -> str:
        """The algorithm whose hyperparameters it takes from a model's description."""
        return self.parameters_of or self.algorithm

    @property
    def plain(self) -> bool:
        """Whether it is its algorithm itself: no neighbor, and nothing changed to test it."""
        return not self.neighbor_assisted and self.repeats == "both" and not self.probe

    def keys_kept(self, switch: KeyCache) -> KeyCache:
        """Whose keys it keeps in place, where the configuration's switch says `switch`."""
        return switch if self.key_cache is None else self.key_cache

    def neighbor_contexts(self, contexts: Sequence[str], prefixes: str) -> list[str]:
        """Contexts of a neighbor's rows: bare, or the "first" prefix or "all" of them (I3)."""
        if not self.neighbor_prefixed:
            return ["{}"]
        return list(contexts[1:2] if prefixes == "first" else contexts[1:])

    @property
    def n_contexts(self) -> int:
        """Number of contexts, the bare one and those of the five seed words."""
        return 1 + sum(5 * per_word for _, per_word in self.context_lengths)

    @property
    def context_set(self) -> str:
        """Name of the context templates it needs: "10x1", or "5x2+10x2" for ROME (SPEC A.3)."""
        return "+".join(f"{tokens}x{count}" for tokens, count in self.context_lengths)


_MEMIT = Method("MEMIT", "MEMIT", ("block",), "block", "linear", legacy_drop=True)
_PMET = Method(
    "PMET",
    "PMET",
    ("mlp", "attention_out"),
    "mlp",
    "sqrt",
    argmax_stop=True,
    legacy_space="gpt",
)
_ROME = Method(
    "ROME",
    "ROME",
    ("mlp",),
    "mlp",
    "linear",
    write="rank_one",
    context_lengths=((5, 2), (10, 2)),
)
_ALPHAEDIT = replace(
    _MEMIT,
    name="AlphaEdit",
    algorithm="AlphaEdit",
    protects="null_space",
    key_cache=None,
    in_paper=False,
)
_MEMIT_SEQ = replace(
    _MEMIT,
    name="MEMIT_seq",
    algorithm="MEMIT_seq",
    parameters_of="MEMIT",
    key_cache=None,
    in_paper=False,
)

MOST_NEIGHBORS = 9  # of CounterFact's ten; one is left to be evaluated on


def assisted_name(algorithm: str, prefixed: bool, n_neighbors: int = 1) -> str:
    """Name of an algorithm with neighbors in its loss: NA_, NAP_ where they carry prefixes."""
    count = n_neighbors if n_neighbors > 1 else ""
    return f"{'NAP' if prefixed else 'NA'}{count}_{algorithm}"


def _variants(plain: Method) -> Iterator[Method]:
    """A plain method; with one stage repeated, if its write is SPREAD: SPREAD_, OPTIMIZATION_
    (SPEC I31, J.3); with 1, 2, ... neighbors: NA_, NAP_, NA2_, NAP2_, ...

    Keys of earlier iterations say nothing where each iteration starts from the weights before the
    first: a method that may keep them has no OPTIMIZATION_."""
    yield plain
    for stage in ("spread", "optimization") if plain.write == "spread" else ():
        if plain.key_cache == "none" or stage == "spread":
            name = f"{stage.upper()}_{plain.name}"
            yield replace(plain, name=name, repeats=stage, in_paper=False, probe=True)
    for n in range(1, MOST_NEIGHBORS + 1):
        for prefixed in (False, True):
            yield replace(
                plain,
                name=assisted_name(plain.name, prefixed, n),
                n_neighbors=n,
                neighbor_prefixed=prefixed,
                in_paper=n == 1 and plain.in_paper and plain.name != "ROME",  # SPEC D.5
            )


MOST_DIVISOR = 10


def _null_space_probes() -> Iterator[Method]:
    """AlphaEdit with the keys of no, or of every earlier iteration, or with a smaller L2.

    GROWING_AlphaEdit after n iterations should come close to one of L2_OVER_n_AlphaEdit
    (docs/SPEC.md, K.4).
    """
    probe = replace(_ALPHAEDIT, parameters_of="AlphaEdit", probe=True)
    cached: dict[str, KeyCache] = {
        "FRESH_AlphaEdit": "none",
        "GROWING_AlphaEdit": "released",
    }
    for name, kept in cached.items():
        own = replace(probe, name=name, algorithm=name, key_cache=kept)
        yield from (own, replace(own, name=f"SPREAD_{name}", repeats="spread"))
    for n in range(2, MOST_DIVISOR + 1):
        name = f"L2_OVER_{n}_AlphaEdit"
        yield replace(probe, name=name, algorithm=name, l2_divisor=n)


_PLAIN = (_ROME, _MEMIT, _PMET, _ALPHAEDIT, _MEMIT_SEQ)
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        *(m for plain in _PLAIN for m in _variants(plain)),
        *_null_space_probes(),
    )
}
NAMES = (
    f"{', '.join(name for name, method in METHODS.items() if method.plain)}; each "
    f"with neighbors as NA_..., NAP_..., NA2_..., NAP2_... up to NAP{MOST_NEIGHBORS}_...; to test "
    "an explanation "
    f"{', '.join(n for n, m in METHODS.items() if m.probe and m.l2_divisor == 1)}, and "
    f"L2_OVER_2_AlphaEdit up to L2_OVER_{MOST_DIVISOR}_AlphaEdit"
)
