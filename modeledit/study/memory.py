"""What a job will need: peak memory of device and host, and disk, from shapes alone.

So that a run which cannot fit is not started, and a job knows how many tokens fit at once. Every
estimate is a list of what is held at the peak, in bytes of float32 (4) or float64 (8), and errs
upwards. Tests hold it against the peaks of real jobs.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from modeledit.study.architectures import Architecture
from modeledit.study.settings import SMALLEST_BUDGET

PYTHON = 750e6  # an interpreter with torch and transformers, before it loads anything
PREFIX_TOKENS = 12  # tokens in front of a subject, by which kept keys and values are estimated
SUFFIX_TOKENS = 8  # tokens from a subject's last one on
CHECKED_TOKENS = 1024  # that a covariance is held against, before its null space is found
LABELS = 2  # label positions a row


class Model(Protocol):
    """The sizes of a model: a described one has them, and a loaded one."""

    @property
    def architecture(self) -> Architecture: ...

    @property
    def depth(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def mlp_width(self) -> int: ...

    @property
    def vocabulary(self) -> int: ...

    @property
    def tied(self) -> bool: ...


@dataclass(frozen=True)
class Peak:
    """Bytes held at the peak: what lives on the device, and what always lives on the host."""

    device: float
    host: float = PYTHON

    def host_mb(self, gpu: bool) -> int:
        """Host memory in MB; without a GPU the host is the device too."""
        return int((self.host + (0 if gpu else self.device)) / 1e6)


def parameters(model: Model) -> int:
    """Number of parameters of a model, grouped heads counted as full ones."""
    width, mlp = model.width, model.mlp_width
    matrices = 3 if model.architecture.gated else 2
    heads = 1 if model.tied else 2
    block = 4 * width**2 + matrices * width * mlp
    return model.depth * block + heads * model.vocabulary * width


def scoring(model: Model, token_budget: int) -> Peak:
    """A job that runs prompts through the unedited or edited model, forward only."""
    nodes = min(token_budget, model.width)
    logits = 3 * nodes * model.vocabulary
    hidden = nodes * (12 * model.width + 4 * model.mlp_width) + 4 * nodes**2
    return Peak(4 * (parameters(model) + logits + hidden))


def generating(model: Model, token_budget: int) -> Peak:
    """A job that continues prompts: `token_budget` keys and values, once more as rows leave."""
    kept = 2 * model.depth * token_budget * 2 * model.width
    return Peak(scoring(model, token_budget).device + 4 * kept)


def optimization(model: Model, token_budget: int, requests: int, contexts: int) -> Peak:
    """OPTIMIZATION of one chunk: what backward needs, kept keys and values, and the head."""
    width, mlp, depth = model.width, model.mlp_width, model.depth
    own = contexts + 2  # rows of one request: its contexts, a neighbor, the KL prompt
    tokens = max(min(token_budget, requests * own * SUFFIX_TOKENS), own * SUFFIX_TOKENS)
    rows = min(tokens / 2, requests * own)  # a suffix has two tokens or more
    saved = depth * tokens * (12 * width + 4 * mlp)
    prefix = depth * rows * PREFIX_TOKENS * 4 * width  # kept, and joined to a step's own
    logits = 4 * rows * LABELS * model.vocabulary
    return Peak(4 * (parameters(model) + saved + prefix + logits))


@dataclass(frozen=True)
class Write:
    """How layers are written: what protects other keys, and the most keys of earlier edits that an
    update keeps in place (`Method.keys_kept`), at each of `layers` layers."""

    protects: Literal["covariance", "null_space"] = "covariance"
    earlier: int = 0
    layers: int = 0


def writing(model: Model, requests: int, contexts: int, write: Write = Write()) -> Peak:
    """SPREAD of one layer: the factor or the basis, keys of all contexts, and the solved systems.

    Keys of earlier edits are on the host, those of all layers; a layer's join its own on the
    device, in float64. The basis, of the null space or of its complement, is half of a matrix at
    most; a system among keys is never larger than one among the rows of a key.
    """
    width, mlp, every = model.width, model.mlp_width, requests + write.earlier
    keys = (4 * contexts + 8) * requests * mlp  # of each context, and their mean in float64
    hidden = 4 * requests * contexts * PREFIX_TOKENS * width
    joined = 8 * 2 * every * mlp if write.earlier else 0
    host = 4 * write.layers * every * mlp
    if write.protects == "null_space":
        projected = 8 * 2 * requests * mlp
        protected: float = 4 * mlp**2
        solved = projected + 8 * (2 * min(every, mlp) ** 2 + 3 * width * mlp + every * width)
    else:
        protected = 8 * mlp**2
        solved = 8 * (3 * every * mlp + 2 * every**2 + 3 * width * mlp)
    device = 4 * parameters(model) + keys + hidden + joined + solved + protected
    return Peak(device, PYTHON + protected + host)


def editing(
    model: Model, token_budget: int, requests: int, contexts: int, write: Write = Write()
) -> Peak:
    """One iteration: the worst of its stages. `write` may be left out where it has no keys."""
    stages = (
        scoring(model, token_budget),
        optimization(model, token_budget, requests, contexts),
        writing(model, requests, contexts, write),
    )
    return Peak(max(s.device for s in stages), max(s.host for s in stages))


def fitting_budget(
    model: Model,
    room: float,
    most: int,
    requests: int,
    contexts: int,
    host: bool = False,
    write: Write = Write(),
) -> int | None:
    """The largest of `most`, half of it, ... with which `editing` fits into `room` bytes, or None.

    With `host` device and host memory are one.
    """
    while most >= SMALLEST_BUDGET:
        peak = editing(model, most, requests, contexts, write)
        if peak.device + (peak.host if host else 0) <= room:
            return most
        most //= 2
    return None


def gathering(model: Model, layers: int, tokens: int) -> Peak:
    """The covariance of `layers` layers from texts of at most `tokens` tokens."""
    width, mlp = model.width, model.mlp_width
    sums = (8 * layers + 12) * mlp**2
    hidden = 4 * tokens * (12 * width + 4 * mlp) + 8 * tokens**2
    return Peak(4 * parameters(model) + sums + hidden, PYTHON + 8 * layers * mlp**2)


def factorizing(model: Model, layers: int) -> Peak:
    """Cholesky factors of `layers` covariances."""
    matrix = 8 * model.mlp_width**2
    return Peak(3 * matrix, PYTHON + 2 * layers * matrix)


EIGEN_MATRICES = 5  # a matrix, its eigenvectors, LAPACK's workspace of two, and a sum for a check


def finding_null_spaces(model: Model, layers: int) -> Peak:
    """Eigenvectors of one covariance at a time, after the model was read for a check and let go.

    On the host the bases of all layers, at most half of a matrix each and copied to be written, and
    a covariance as it is read.
    """
    width, mlp, tokens = model.width, model.mlp_width, CHECKED_TOKENS
    forward = parameters(model) + tokens * (12 * width + 4 * mlp) + 2 * tokens**2
    matrix = 8 * mlp**2
    return Peak(max(4 * forward, EIGEN_MATRICES * matrix), PYTHON + (layers + 1) * matrix)


def preparing(model: Model) -> Peak:
    """A model as it is read and as it is written, both in float32."""
    return Peak(0, PYTHON + 3 * 4 * parameters(model))


@dataclass(frozen=True)
class Disk:
    """Bytes on disk: the prepared model; covariances, factors and null spaces of some layers; one
    run's edited matrices."""

    model: float
    covariances: float
    factors: float
    null_spaces: float
    run: float


def disk(model: Model, layers: int, iterations: int) -> Disk:
    """What `layers` layers of a model leave on disk, of a run with `iterations` that edit."""
    matrices = 8 * layers * model.mlp_width**2
    return Disk(
        model=4 * parameters(model),
        covariances=matrices,
        factors=matrices,
        null_spaces=matrices / 2,
        run=iterations * layers * 4 * model.width * model.mlp_width,
    )


def kept_keys(model: Model, layers: int, requests: int) -> float:
    """Bytes on disk of an iteration's keys, for later edits to keep in place."""
    return 4 * layers * requests * model.mlp_width
