"""What jobs cost: floating-point operations from shapes alone, and how fast a device makes them.

The counts follow the engine: the blocks up to the edited one and what precedes the subjects run
once, a step runs the suffixes through the blocks above, forward and backward, and the head only
where a label needs it. Rows that share beginnings are one tree. Only `probe` needs torch, and
imports it when it is called.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modeledit.study.hyperparameters import Hyperparameters
from modeledit.study.memory import CHECKED_TOKENS, parameters
from modeledit.study.methods import Method
from modeledit.study.models import Model

# Of the speed of plain products: OPTIMIZATION, and passes without a gradient, on a CPU with one or
# two threads (docs/benchmarks.md). On an H100 in float32 OPTIMIZATION of models of 6 to 8 billion
# parameters has 0.72 to 0.77; in reduced precision it waits for calls, which are counted apart.
OPTIMIZATION_SHARE = 0.55
FORWARD_SHARE = 0.55
DOUBLE_SHARE = 0.5  # triangular solves and factors, by the double products of the probe

START_SECONDS = 6  # an interpreter with torch and transformers
DISK = 1e9  # bytes a second, read
FORWARD_CALLS = 150  # what a block takes besides its products, in smallest operations: forward,
STEP_CALLS = 320  # and with backward (measured on Llama and GPT-J; GPT-2 takes half)
SUBJECT_TOKENS = 6  # of a prompt about a subject
PROBES, PROBE_TOKENS = 5, 12  # of a request; of each
TEXT_TOKENS = 26  # of a perplexity text: both ME-PPL-50 and the excerpt's have 22 words
EXCERPT_TOKENS = 6400  # of an article of the embedded excerpt
ARTICLE_TOKENS = 730  # of an article of the whole English Wikipedia: 3.2 kB
_SHORT = 0.004  # seconds of a product in the probe
EIGEN_OPERATIONS, EIGEN_SHARE = 9, 0.85  # n^3 of an eigendecomposition; of the double products
KL_ROWS = 0.5  # of a request: half of the KL prompts begin like the bare prompt


@dataclass(frozen=True)
class Shape:
    """Mean tokens of a dataset's requests: in front of a subject's last token (of those that no
    other row has), from it on, labels; and of a request's scoring, nodes and places of the head."""

    before: float
    suffix: float
    labels: float
    scored: float
    answers: float


# Counted on the requests of the default and on the authors' trials, with SmolLM2's tokenizer.
SHAPES = {
    "geography": Shape(4.0, 2.5, 1.0, 46, 7),
    "counterfact": Shape(3.2, 4.3, 1.1, 103, 15),
    "zsre": Shape(5.4, 6.3, 3.1, 39, 15),
    "own": Shape(3.2, 4.3, 1.1, 103, 15),  # not counted: as CounterFact's
}


@dataclass(frozen=True)
class Speed:
    """What a device does with a model's shapes: operations a second, and seconds of a call.

    `optimization` is in the precision of OPTIMIZATION, `forward` in float32, `double` in float64.
    """

    device: str
    optimization: float
    forward: float
    double: float
    call: float


@dataclass(frozen=True)
class Work:
    """Operations by kind, calls (smallest operations that only cost their call), bytes read."""

    optimization: float = 0
    forward: float = 0
    double: float = 0
    calls: float = 0
    read: float = 0

    def __add__(self, other: "Work") -> "Work":
        names = self.__dataclass_fields__
        return Work(**{name: getattr(self, name) + getattr(other, name) for name in names})

    def seconds(self, speed: Speed) -> float:
        """Seconds of a job that does this, its start included."""
        return (
            START_SECONDS
            + self.optimization / (OPTIMIZATION_SHARE * speed.optimization)
            + self.forward / (FORWARD_SHARE * speed.forward)
            + self.double / (DOUBLE_SHARE * speed.double)
            + self.calls * speed.call
            + self.read / DISK
        )


def _block(model: Model, seen: float) -> float:
    """Operations of one token in one block, which sees `seen` tokens."""
    width = model.width
    matrices = 3 if model.architecture.gated else 2
    return 2 * (4 * width**2 + matrices * width * model.mlp_width) + 4 * seen * width


def _head(model: Model) -> float:
    return 2 * model.width * model.vocabulary


def _pass(model: Model, nodes: float, heads: float, token_budget: int) -> Work:
    """`nodes` tokens of trees through all blocks, and the head at `heads` places."""
    tree = min(token_budget, model.width, nodes)  # a tree's attention is among all its nodes
    forward = nodes * model.depth * _block(model, tree) + heads * _head(model)
    return Work(
        forward=forward,
        calls=math.ceil(nodes / tree) * model.depth * FORWARD_CALLS if tree else 0,
    )


def _loaded(model: Model) -> Work:
    return Work(read=4 * parameters(model))


@dataclass(frozen=True)
class Edit:
    """The edit jobs of one method on one model and kind of data; hyper is the algorithm's."""

    model: Model
    method: Method
    hyper: Hyperparameters
    shape: Shape
    neighbor_contexts: int  # rows of each neighbor
    token_budget: int
    texts: int
    covariance: bool  # whether the write reads the covariance's factors

    @property
    def rows(self) -> float:
        """Rows of a request with labels."""
        return self.method.n_contexts + self.method.n_neighbors * self.neighbor_contexts

    def optimization(self, requests: int, steps: float) -> Work:
        """OPTIMIZATION with `steps` forward passes for each request in the mean (SPEC A.6).

        Without steps it is left out: the targets are kept (`modeledit.editing.stages`).
        """
        if not steps:
            return Work()
        model, shape = self.model, self.shape
        below = max(self.hyper.layers) + 1
        above = model.depth - below
        rows = self.rows + KL_ROWS
        whole, before = rows * (shape.before + shape.suffix), rows * shape.before
        tree = min(self.token_budget, model.width)
        once = (whole * below + before * above) * _block(model, tree)
        tokens = rows * shape.suffix
        heads = self.rows * shape.labels + 1
        step = tokens * above * _block(model, shape.before + shape.suffix) + heads * _head(model)
        chunks = math.ceil(requests * tokens / self.token_budget)
        if self.method.write == "rank_one":  # one request after another
            chunks = requests
        return Work(
            # Backward to the states costs what forward does; the last step has none.
            optimization=requests * (2 * steps - 1) * step,
            forward=requests * once,
            calls=chunks * (steps * above * STEP_CALLS + model.depth * FORWARD_CALLS),
        )

    def spread(self, requests: int, earlier: int = 0) -> Work:
        """Keys, residuals and systems of SPREAD (SPEC A.7), or of ROME's writes (SPEC A.8).

        `earlier` keys of earlier edits are kept in place.
        """
        model, layers = self.model, sorted(self.hyper.layers)
        width, mlp, m = model.width, model.mlp_width, requests
        first, last = layers[0], layers[-1]
        keys, bare = self.method.n_contexts * (self.shape.before + 1), self.shape.before + 1
        carried = first + (last - first)  # to the front of the last layer
        block = _block(model, min(self.token_budget, model.width))
        values = sum(last - layer + 1 for layer in layers)
        forward = m * block * (keys * (carried + len(layers)) + bare * (carried + values))
        if self.method.write == "rank_one":
            solved: float = m * (2 * mlp**2 * self.covariance + 2 * width * mlp)
        elif self.method.protects == "null_space":
            solved = len(layers) * self._projected(m, m + earlier)
        else:
            solved = len(layers) * self._weighed(m + earlier)
        # A basis is half of a matrix at most.
        matrix = 4 * mlp**2 if self.method.protects == "null_space" else 8 * mlp**2
        read = len(layers) * (matrix * self.covariance + 4 * earlier * mlp)
        return Work(forward=forward, double=solved, read=read)

    def _weighed(self, m: int) -> float:
        """A layer's update of `m` keys beside C, the cheaper way, as the write chooses."""
        width, mlp = self.model.width, self.model.mlp_width
        among_requests = 2 * mlp**2 * m + 4 * m**2 * mlp + m**3 / 3
        among_key_rows = mlp**3 + mlp**2 * m + 2 * mlp**2 * width
        return min(among_requests, among_key_rows) + 2 * width * m * mlp

    def _projected(self, m: int, every: int) -> float:
        """A layer's update in a null space: `m` keys are projected by a basis of half of the
        directions, and a system is solved among `every` key or among the directions."""
        width, mlp = self.model.width, self.model.mlp_width
        among_keys = 2 * every**2 * mlp + every**3 / 3 + 2 * every**2 * width
        among_rows = 2 * mlp**2 * every + mlp**3 / 3 + 2 * mlp**2 * width
        # The smaller system, as the write chooses, not the fewer operations.
        solved = among_keys if every < mlp else among_rows
        return 2 * mlp**2 * m + solved + 2 * width * every * mlp

    def iteration(self, requests: int, steps: float, earlier: int = 0) -> Work:
        """One iteration without scores: the model read, OPTIMIZATION, SPREAD and p-hat."""
        nodes = requests * self.rows * (self.shape.before + self.shape.suffix)
        return (
            _loaded(self.model)
            + self.optimization(requests, steps)
            + self.spread(requests, earlier)
            + _pass(self.model, nodes, requests * self.rows * self.shape.labels, self.token_budget)
        )

    def job(self, requests: int, steps: float, earlier: int = 0) -> Work:
        """One whole iteration, with the scores that it ends with."""
        scores = _scores(self.model, self.shape, requests, self.texts, self.token_budget)
        return self.iteration(requests, steps, earlier) + scores


def _scores(model: Model, shape: Shape, requests: int, texts: int, token_budget: int) -> Work:
    tokens = texts * TEXT_TOKENS
    nodes, heads = requests * shape.scored + tokens, requests * shape.answers + tokens
    return _pass(model, nodes, heads, token_budget)


def scoring(model: Model, shape: Shape, requests: int, texts: int, token_budget: int) -> Work:
    """The scores of the unedited model; the neighbor filter is at most that, without texts."""
    return _loaded(model) + _scores(model, shape, requests, texts, token_budget)


@dataclass(frozen=True)
class Asked:
    """Prompts that are continued greedily: how many, all their tokens, and what each may add."""

    prompts: float
    tokens: float
    most: int


def continuing(model: Model, asked: Asked, token_budget: int) -> Work:
    """Greedy continuations, token after token in rows that fit under the budget together."""
    if not asked.prompts:
        return _loaded(model)
    whole = asked.tokens / asked.prompts + asked.most
    rows = max(1.0, min(asked.prompts, token_budget / whole))
    steps = math.ceil(asked.prompts / rows) * asked.most
    each = model.depth * _block(model, whole) + _head(model)
    spoken = Work(
        forward=asked.prompts * asked.most * each, calls=steps * model.depth * FORWARD_CALLS
    )
    return _loaded(model) + _pass(model, asked.tokens, asked.prompts, token_budget) + spoken


def drifting(model: Model, texts: int, token_budget: int) -> Work:
    """Both models on all texts, and the head of both at every token."""
    tokens = texts * TEXT_TOKENS
    return _loaded(model) + _pass(model, 2 * tokens, 2 * tokens, token_budget)


def contexts(model: Model, lengths: Sequence[tuple[int, int]]) -> Work:
    """Sampled prefixes: (tokens, prefixes for each of five seed words), token after token."""
    calls = sum(5 * tokens for tokens, _ in lengths) * model.depth * FORWARD_CALLS
    nodes = sum(5 * tokens * count for tokens, count in lengths)
    return _loaded(model) + Work(forward=_pass(model, nodes, nodes, nodes).forward, calls=calls)


def gathering(model: Model, layers: Sequence[int], tokens: float, article: float) -> Work:
    """The covariance of `layers` from `tokens` tokens in articles of `article` tokens."""
    blocks = max(layers) + 1
    each = blocks * _block(model, article) + len(layers) * 2 * model.mlp_width**2
    calls = tokens / article * blocks * FORWARD_CALLS
    return _loaded(model) + Work(forward=tokens * each, calls=calls)


def factorizing(model: Model, layers: Sequence[int]) -> Work:
    """Cholesky factors of the covariances of `layers`."""
    matrix = model.mlp_width**2
    return Work(
        double=len(layers) * model.mlp_width * matrix / 3, read=2 * 8 * len(layers) * matrix
    )


def finding_null_spaces(model: Model, layers: Sequence[int]) -> Work:
    """Eigenvectors of the covariances of `layers`, and the model read for a check.

    By LAPACK's divide and conquer a symmetric matrix of n rows takes about 9 n^3 operations with
    vectors: 4/3 to tridiagonal form, up to 8/3 in the merges, 2 to go back, the rest stands for
    steps that wait for memory. Measured on one core at n = 1536, 3072, 4608: 0.23, 0.20, 0.20 ns
    n^3, which is 9 n^3 at 0.8 to 0.93 of the speed of its double products. No GPU has been, where
    eigenvectors are known to be far slower than products.
    """
    matrix = model.mlp_width**2
    # As many operations as would take as long at the speed of a solve.
    each = EIGEN_OPERATIONS * model.mlp_width * matrix * DOUBLE_SHARE / EIGEN_SHARE
    passed = CHECKED_TOKENS * (max(layers) + 1) * _block(model, CHECKED_TOKENS)
    return _loaded(model) + Work(
        forward=passed,
        double=len(layers) * each,
        read=8 * len(layers) * matrix,
        calls=FORWARD_CALLS,
    )


def probe(
    models: Mapping[str, Model],
    device: str,
    threads: int,
    precision: str,
    token_budget: int,
    seconds: float = 1.0,
) -> dict[str, Speed]:
    """Measure the speed for each described model, in about `seconds` for all of them together.

    `device` is "cpu", "cuda" or "auto", `precision` that of OPTIMIZATION. Holds at most one MLP
    matrix of the largest model and what goes through it.
    """
    import torch

    from modeledit.lm.device import matrix_precision, prepare_device
    from modeledit.lm.meter import device_name
    from modeledit.lm.products import fits, product

    place = torch.device(prepare_device(device, threads))
    share = seconds / (3 * len(models) + 1)

    def timed(function: Callable[[], object]) -> float:
        if place.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        if place.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def rate(inner: int, outer: int, dtype: torch.dtype) -> float:
        """Most operations per second of a product with a matrix (inner, outer)."""
        matrix = torch.rand(inner, outer, dtype=dtype, device=place)
        few = torch.rand(64, inner, dtype=dtype, device=place)
        turned = matrix.T.contiguous()

        def multiply(x: torch.Tensor) -> torch.Tensor:
            return product(x, turned) if fits(x, turned) else x @ matrix

        timed(lambda: multiply(few))
        once = timed(lambda: multiply(few))
        # As many tokens as run at once, or fewer: beside other work, the best of many short
        # products is what the device can do.
        rows = int(min(token_budget, max(64, 64 * _SHORT / once)))
        many = torch.rand(rows, inner, dtype=dtype, device=place)
        end, best = time.perf_counter() + share, math.inf
        while best == math.inf or time.perf_counter() < end:
            best = min(best, timed(lambda: multiply(many)))
        return 2 * rows * inner * outer / best

    def calls() -> None:
        x = torch.zeros(64, device=place)
        for _ in range(1000):
            x = x + 1

    timed(calls)
    call = timed(calls) / 1000
    speeds = {}
    for name, model in models.items():
        shape = model.width, model.mlp_width
        square = min(shape[1], 2048)
        with matrix_precision("float32", place.type):
            forward = rate(*shape, torch.float32)
            double = rate(square, square, torch.float64)
        optimization = forward
        if precision != "float32":
            with matrix_precision(precision, place.type):
                optimization = rate(*shape, torch.float32)
        speeds[name] = Speed(device_name(place), optimization, forward, double, call)
    return speeds
