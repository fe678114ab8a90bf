"""Editing methods as descriptions over shared parts (SPEC A.2, D.1).

A method says where OPTIMIZATION adds its deltas, where SPREAD reads the residual and how it shares
it among the layers, and whether neighbors join the loss. Nothing here imports torch, so that the
workflow can check a configuration without it.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Method:
    """One editing method; hyperparameters come from the model's configuration, per algorithm."""

    name: str
    algorithm: str
    sites: tuple[str, ...]
    residual_site: str
    sharing: str
    argmax_stop: bool = False
    neighbor_prefix: str | None = None  # None: plain; "none": NA_; "first": NAP_ with one prefix
    write: str = "spread"  # "spread": least squares over all layers; "rank_one": one by one
    context_lengths: tuple[tuple[int, int], ...] = ((10, 1),)  # (tokens, prefixes per seed word)
    legacy_space: str = (
        "always"  # where legacy tokenisation puts a space before o*: "always", "gpt"
    )
    legacy_drop: bool = False  # whether it drops a BOS or unknown mark that comes first (SPEC A.4)

    @property
    def neighbor_assisted(self) -> bool:
        return self.neighbor_prefix is not None

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

METHODS: dict[str, Method] = {"ROME": _ROME} | {
    method.name: method
    for plain in (_MEMIT, _PMET)
    for method in (
        plain,
        replace(plain, name=f"NA_{plain.name}", neighbor_prefix="none"),
        replace(plain, name=f"NAP_{plain.name}", neighbor_prefix="first"),
    )
}
