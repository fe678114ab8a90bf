"""OPTIMIZATION: find the target state of each request (SPEC A.6; paper, section 2 and eq. for g).

Many requests are optimised together. Each has its own delta, Adam moments, clamp and stop, and is
frozen at exactly the step where the plain one-request loop of tests/reference stops it. What the
deltas cannot change is computed once: the blocks up to the edited one, and the keys and values of
every position before the subject's last token. The head runs only where a label or the KL prompt
needs it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from modeledit.editing.problem import Problem
from modeledit.lm.attention import KeyValues
from modeledit.lm.batching import in_batches
from modeledit.lm.device import matrix_precision
from modeledit.lm.hooks import record
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import Row
from modeledit.lm.trees import (
    RUN_TOKENS,
    Below,
    Prefixes,
    Tree,
    additive_mask,
    label_outputs,
    pack,
    run_prefixes,
    run_tree,
    tree_groups,
    tree_size,
)

LOSS_STOP = 0.05  # total loss at which a request is done (SPEC A.6)
KL_STOP = 0.01  # PMET's extra stop
BY_RULE = ("loss", "argmax_kl")  # reasons to stop before the steps run out
PMET_EASED = 0.1  # PMET's factor on the NLL once every target token is the argmax

OnDone = Callable[[int, int, float], None]
"""Told as requests finish: how many, how many of them by a rule, and their mean last loss."""


class BelowRows(NamedTuple):
    """States in front of the edited layer, in which one problem's rows begin at row `first`."""

    states: Below
    first: int


@dataclass(frozen=True)
class TargetSettings:
    """What OPTIMIZATION minimises and how (SPEC A.6, B; switches I1, I2)."""

    layer: int  # l_c, the last causal layer
    sites: tuple[str, ...]  # where deltas are added: "block", "mlp", "attention_out"
    lr: float
    steps: int
    clamp: float
    weight_decay: float
    kl_factor: float
    argmax_stop: bool  # PMET
    nll_factor: float  # PMET
    neighbor_weight: str  # "sum" (the equation) or "row_mean" (the released code), I1
    neighbor_length: str  # divide a neighbor's NLL by its "own" length or o*'s ("edit"), I2
    precision: str  # of the matrix products; "tf32" and "bf16" change the targets


@dataclass(frozen=True)
class Failure:
    """Why an iteration wrote nothing, and the requests (their places) that it is due to, if any."""

    reason: str
    requests: tuple[int, ...] = ()


@dataclass
class Targets:
    """Outcome of OPTIMIZATION, one entry per request; tensors are on the CPU.

    `state` (m, d) is the target state at the first site (PMET's attention target is discarded, SPEC
    A.2), `deltas` (m, d) what was added at each site. `numbers` holds per-request columns: steps,
    loss, nll, kl, weight_decay, p_init, p_bar, p_init_legacy, p_bar_legacy, init_norm, delta_norm;
    `stop_reason` says loss, argmax_kl, max_steps, kept (see `stages`), not_finite (a loss was
    NaN or infinite, and the state is NaN) or not_reached. `failure` is set where the targets
    could not be written.
    """

    state: torch.Tensor
    numbers: dict[str, list[float]]
    stop_reason: list[str]
    deltas: dict[str, torch.Tensor]
    failure: Failure | None = None


@dataclass
class _Chunk:
    """Rows that are optimised together; row r belongs to request `owner[r]` of the chunk."""

    suffix: torch.Tensor  # (rows, width, d) block-`layer` output from the subject's last token on
    parts: dict[str, torch.Tensor]  # (rows, d) unmodified values at the subject's last token
    positions: torch.Tensor
    mask: torch.Tensor
    cache: KeyValues
    owner: torch.Tensor
    row_weight: torch.Tensor  # weight of the row's NLL in its request's loss
    edit_weight: torch.Tensor  # weight in the mean over edit rows: 1/n on edit rows, else 0
    all_weight: torch.Tensor  # weight in the argmax test and the legacy p: 1/(all rows)
    label_row: torch.Tensor  # per label: its row, position, id, and 1/length of its row
    label_position: torch.Tensor
    label_id: torch.Tensor
    label_share: torch.Tensor
    settled_nll: torch.Tensor  # per row: NLL of the labels in front of its subject, by its length
    settled_missed: torch.Tensor  # per row: how many of those are not the argmax
    kl_row: torch.Tensor  # per request: the row whose subject position carries the KL distribution
    kl_reference: torch.Tensor | None = None  # (requests, vocabulary) log P_0

    def select(self, requests: torch.Tensor) -> "_Chunk":
        """The chunk without the requests that have stopped (their rows leave the batch)."""
        rows = torch.isin(self.owner, requests).nonzero()[:, 0]
        new_row = torch.full((len(self.owner),), -1, device=rows.device)
        new_row[rows] = torch.arange(len(rows), device=rows.device)
        labels = (new_row[self.label_row] >= 0).nonzero()[:, 0]
        kept = torch.isin(self.owner[self.kl_row], requests).nonzero()[:, 0]
        return _Chunk(
            self.suffix[rows],
            {name: value[rows] for name, value in self.parts.items()},
            self.positions[rows],
            self.mask[rows],
            self.cache.select(rows),
            self.owner[rows],
            self.row_weight[rows],
            self.edit_weight[rows],
            self.all_weight[rows],
            new_row[self.label_row[labels]],
            self.label_position[labels],
            self.label_id[labels],
            self.label_share[labels],
            self.settled_nll[rows],
            self.settled_missed[rows],
            new_row[self.kl_row[kept]],
            None if self.kl_reference is None else self.kl_reference[kept],
        )


def rows_of(problem: Problem) -> tuple[list[Row], int]:
    """All rows of a problem, and which of them carries the KL distribution.

    The KL prompt is read at the subject's last token, so a bare prompt that begins with the same
    tokens carries the same distribution and no extra row is needed.
    """
    rows = [*problem.edit_rows, *problem.neighbor_rows]
    kl = problem.kl_row
    for i, row in enumerate(rows):
        if row.subject == kl.subject and row.ids[: len(kl.ids)] == kl.ids:
            return rows, i
    return [*rows, kl], len(rows)


@dataclass
class _Fixed:
    """What no delta changes: see the fields of the same names in `_Chunk`."""

    suffix: torch.Tensor
    parts: dict[str, torch.Tensor]
    cache: KeyValues
    sees_prefix: torch.Tensor  # (rows, prefix) bool
    settled_nll: torch.Tensor
    settled_missed: torch.Tensor


def labels_before_subject(row: Row) -> int:
    """How many of a row's labels are predicted in front of its subject's last token.

    Only legacy labels lie there: Llama's "▁" of a subject that a "?" follows (I11). No delta
    reaches them.
    """
    return max(0, min(len(row.labels), row.subject - row.first_label))


@torch.no_grad()
def _settle(
    model: EditableModel, rows: Sequence[Row], prefixes: Prefixes
) -> tuple[torch.Tensor, torch.Tensor]:
    """NLL sums, and counts of misses, of the rows' labels in front of their subjects."""
    nll = torch.zeros(len(rows), dtype=model.dtype, device=model.device)
    missed = torch.zeros_like(nll)
    for r, row in enumerate(rows):
        count = labels_before_subject(row)
        if count:
            places = range(row.first_label, row.first_label + count)
            outputs = torch.stack([prefixes.at(r, place) for place in places])
            log_p = model.log_probabilities(outputs)
            labels = torch.tensor(row.labels[:count], device=model.device)
            nll[r] = -log_p.gather(1, labels[:, None]).sum()
            missed[r] = (log_p.argmax(dim=1) != labels).sum()
    return nll, missed


def _run_fixed_parts(
    model: EditableModel,
    rows: Sequence[Row],
    layer: int,
    token_budget: int,
    below: BelowRows | None,
) -> _Fixed:
    """Run the blocks up to `layer` on all tokens, and those above on what precedes the subjects.

    What `below` holds of its rows saves the blocks in front of `layer`.
    """
    subjects = [row.subject for row in rows]
    suffix_width = max(len(row.ids) - row.subject for row in rows)
    prefix_width = max(1, *subjects)
    whole: dict = {}

    def place(key: object, group: list[int], values: torch.Tensor) -> None:
        if isinstance(key, str) and values.is_floating_point():
            values = values.to(model.dtype)  # states and deltas keep it when products are bfloat16
        if key not in whole:
            whole[key] = values.new_zeros(len(rows), *values.shape[1:])
        whole[key][group] = values

    for group in tree_groups([row.ids for row in rows], tree_size(model, token_budget)):
        tree = Tree(model, [rows[g].ids for g in group])
        where = [subjects[g] for g in group]
        if below is None:
            hidden = run_tree(model, tree, 0, layer)
        else:
            hidden = below.states.hidden_of([below.first + g for g in group], tree)
        place("input", group, tree.at(hidden, where))
        with (
            record(model.part(layer, "mlp"), "output") as mlp,
            record(model.part(layer, "attention_out"), "output") as attention,
        ):
            hidden = run_tree(model, tree, layer, layer + 1, hidden)
        place("mlp", group, tree.at(mlp[0], where))
        place("attention_out", group, tree.at(attention[0], where))
        place("block", group, tree.at(hidden, where))
        place("suffix", group, tree.ends(hidden, where, suffix_width))
        prefixes = run_prefixes(model, tree, hidden, layer + 1, where, prefix_width)
        place("seen", group, prefixes.seen)
        nll, missed = _settle(model, [rows[g] for g in group], prefixes)
        place("settled_nll", group, nll)
        place("settled_missed", group, missed)
        for i, (keys, values) in prefixes.layers.items():
            place((i, "keys"), group, keys)
            place((i, "values"), group, values)
    above = range(layer + 1, model.depth)
    cache = KeyValues({i: (whole[i, "keys"], whole[i, "values"]) for i in above})
    names = ("input", "mlp", "attention_out", "block")
    parts = {name: whole[name] for name in names}
    settled = whole["settled_nll"], whole["settled_missed"]
    return _Fixed(whole["suffix"], parts, cache, whole["seen"], *settled)


@torch.no_grad()
def _prepare(
    model: EditableModel,
    problems: Sequence[Problem],
    settings: TargetSettings,
    token_budget: int,
    below: BelowRows | None,
) -> _Chunk:
    """Everything that stays the same over the steps, for one chunk of requests."""
    device = model.device
    rows: list[Row] = []
    owner, kl_row, row_weight, edit_weight, all_weight, share = [], [], [], [], [], []
    for r, problem in enumerate(problems):
        own_rows, kl = rows_of(problem)
        kl_row.append(len(rows) + kl)
        n_edit, n_neighbor = len(problem.edit_rows), len(problem.neighbor_rows)
        n_all = n_edit + n_neighbor
        for i, row in enumerate(own_rows):
            is_edit, is_label = i < n_edit, i < n_all
            owner.append(r)
            edit_weight.append(1 / n_edit if is_edit else 0.0)
            all_weight.append(1 / n_all if is_label else 0.0)
            if settings.neighbor_weight == "row_mean":
                row_weight.append(all_weight[-1])
            else:
                # the equation adds each neighbor's loss with weight 1 (D.1), prefixes averaged
                beside = is_label / problem.neighbor_contexts
                row_weight.append(1 / n_edit if is_edit else beside)
            legacy = not is_edit and settings.neighbor_length == "edit"
            length = len(problem.edit_rows[0].labels) if legacy else len(row.labels)
            share.append(1 / max(length, 1))
        rows += own_rows

    fixed = _run_fixed_parts(model, rows, settings.layer, token_budget, below)
    width = fixed.suffix.shape[1]
    own = torch.ones(width, width, dtype=torch.bool, device=device).tril()
    prefix = fixed.sees_prefix[:, None].expand(-1, width, -1)
    sees = torch.cat([prefix, own.expand(len(rows), -1, -1)], dim=2)
    subjects = torch.tensor([row.subject for row in rows], device=device)
    labels = [
        (i, row.first_label - row.subject + j, label, share[i])
        for i, row in enumerate(rows)
        for j, label in enumerate(row.labels)
        if j >= labels_before_subject(row)
    ]

    def column(j: int) -> torch.Tensor:
        dtype = model.dtype if j == 3 else torch.long
        return torch.tensor([entry[j] for entry in labels], dtype=dtype, device=device)

    def weights(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=model.dtype, device=device)

    return _Chunk(
        suffix=fixed.suffix,
        parts=fixed.parts,
        positions=subjects[:, None] + torch.arange(width, device=device),
        mask=additive_mask(sees, model.dtype)[:, None],
        cache=fixed.cache,
        owner=torch.tensor(owner, device=device),
        row_weight=weights(row_weight),
        edit_weight=weights(edit_weight),
        all_weight=weights(all_weight),
        label_row=column(0),
        label_position=column(1),
        label_id=column(2),
        label_share=column(3),
        settled_nll=fixed.settled_nll * weights(share),
        settled_missed=fixed.settled_missed,
        kl_row=torch.tensor(kl_row, device=device),
    )


@dataclass
class _Losses:
    """Per-request loss terms of one forward pass (tensors of the active requests)."""

    total: torch.Tensor
    nll: torch.Tensor  # over the edit rows
    nll_all: torch.Tensor  # row mean over edit and neighbor rows
    kl: torch.Tensor  # weighted
    decay: torch.Tensor
    all_argmax: torch.Tensor  # every target token of every row is the argmax


def _log_probabilities_at(
    model: EditableModel, hidden: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor
) -> torch.Tensor:
    """The head's log-probabilities, (n, vocabulary), at n places of `hidden` (rows, width, d)."""
    return model.log_probabilities(hidden[rows, positions])


def _forward(
    model: EditableModel,
    chunk: _Chunk,
    deltas: dict[str, torch.Tensor],
    init_norms: dict[str, torch.Tensor],
    factor: torch.Tensor,
    settings: TargetSettings,
) -> _Losses:
    """One forward pass of the active requests: `deltas` and `factor` are theirs, in chunk order."""
    requests, local = chunk.owner.unique(return_inverse=True)
    n = len(requests)
    hidden = chunk.suffix.clone()
    row_deltas = {site: delta[local] for site, delta in deltas.items()}
    hidden[:, 0] = model.subject_output(chunk.parts, row_deltas, settings.layer)
    hidden = model.run(
        hidden, settings.layer + 1, model.depth, chunk.positions, chunk.mask, chunk.cache
    )
    # Two heads rather than one and a split: the split's gradient would fill whole vocabularies.
    label_log_p = _log_probabilities_at(model, hidden, chunk.label_row, chunk.label_position)
    kl_log_p = _log_probabilities_at(model, hidden, chunk.kl_row, torch.zeros_like(chunk.kl_row))
    token_log_p = label_log_p.gather(1, chunk.label_id[:, None])[:, 0]

    def per_row(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(len(chunk.owner)).index_add(0, chunk.label_row, values)

    def per_request(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(n).index_add(0, local, values)

    row_nll = per_row(-token_log_p * chunk.label_share) + chunk.settled_nll
    if chunk.kl_reference is None:
        chunk.kl_reference = kl_log_p.detach()
    # KL(P_delta || P_0), both in log space
    kl = (kl_log_p.exp() * (kl_log_p - chunk.kl_reference)).sum(dim=-1) * settings.kl_factor
    decay = sum(
        settings.weight_decay * delta.norm(dim=1) / init_norms[site] ** 2
        for site, delta in deltas.items()
    )
    objective = per_request(row_nll * chunk.row_weight)
    with torch.no_grad():
        missed = (label_log_p.argmax(dim=1) != chunk.label_id).to(token_log_p.dtype)
        all_argmax = per_request(per_row(missed) + chunk.settled_missed) == 0
    return _Losses(
        total=factor * objective + kl + decay,
        nll=per_request(row_nll * chunk.edit_weight),
        nll_all=per_request(row_nll * chunk.all_weight),
        kl=kl,
        decay=decay,
        all_argmax=all_argmax,
    )


def _optimize_chunk(
    model: EditableModel,
    problems: Sequence[Problem],
    settings: TargetSettings,
    token_budget: int,
    on_done: OnDone,
    below: BelowRows | None,
    start: Mapping[str, torch.Tensor] | None,
) -> Targets:
    chunk = _prepare(model, problems, settings, token_budget, below)
    n, device = len(problems), model.device
    first_row = torch.searchsorted(chunk.owner, torch.arange(n, device=device))
    init = {site: chunk.parts[site][first_row] for site in settings.sites}
    init_norms = {site: value.norm(dim=1) for site, value in init.items()}
    deltas = {site: torch.zeros_like(value, requires_grad=True) for site, value in init.items()}
    optimizer = torch.optim.Adam(deltas.values(), lr=settings.lr)
    final = {site: torch.zeros_like(value) for site, value in init.items()}
    factor = torch.full((n,), settings.nll_factor, dtype=model.dtype, device=device)
    active = torch.arange(n, device=device)
    names = ["loss", "nll", "kl", "weight_decay", "p_init", "p_bar"]
    names += ["p_init_legacy", "p_bar_legacy"]
    numbers = {name: torch.zeros(n, dtype=torch.float64) for name in names}
    steps = [0] * n
    stop_reason = ["max_steps"] * n

    if start is not None:
        with torch.no_grad():  # P_0, which this leaves in the chunk, and p_init are of no delta
            losses = _forward(model, chunk, deltas, init_norms, factor, settings)
            numbers["p_init"] = losses.nll.double().exp().cpu()
            numbers["p_init_legacy"] = (factor * losses.nll_all).double().exp().cpu()
            for site, delta in deltas.items():
                delta.copy_(start[site])
    for step in range(settings.steps):
        losses = _forward(
            model,
            chunk,
            {site: delta[active] for site, delta in deltas.items()},
            {site: norm[active] for site, norm in init_norms.items()},
            factor[active],
            settings,
        )
        with torch.no_grad():
            at = active.cpu()
            used = factor[active]
            values = {
                "loss": losses.total,
                "nll": losses.nll,
                "kl": losses.kl,
                "weight_decay": losses.decay,
                "p_bar": losses.nll.double().exp(),
                "p_bar_legacy": (used * losses.nll_all).double().exp(),
            }
            for name, value in values.items():
                numbers[name][at] = value.detach().double().cpu()
            if step == 0 and start is None:
                for name in ("p_init", "p_init_legacy"):
                    numbers[name][at] = numbers[name.replace("init", "bar")][at]
            low = losses.total < LOSS_STOP
            broken = ~torch.isfinite(losses.total)
            done = low | broken | (step == settings.steps - 1)
            if settings.argmax_stop:
                eased = losses.all_argmax & (losses.kl <= KL_STOP)
                full = torch.full_like(used, settings.nll_factor)
                factor[active] = torch.where(losses.all_argmax, PMET_EASED * full, full)
            else:
                eased = torch.zeros_like(done)
            flags = (flag.tolist() for flag in (at, low, broken, eased))
            for i, is_low, is_broken, is_eased in zip(*flags, strict=True):
                steps[i] = step + 1
                if is_low:
                    stop_reason[i] = "loss"
                elif is_broken:
                    stop_reason[i] = "not_finite"
                elif is_eased and step < settings.steps - 1:
                    stop_reason[i] = "argmax_kl"
            done = done | eased
            for site, delta in deltas.items():
                final[site][active[done]] = delta[active[done]]
                final[site][active[broken]] = torch.nan
            if done.any():
                by_rule = sum(stop_reason[i] in BY_RULE for i in at[done.cpu()].tolist())
                on_done(int(done.sum()), by_rule, float(losses.total[done].mean()))
        if done.all():
            break
        optimizer.zero_grad()
        losses.total[~done].sum().backward()
        optimizer.step()
        with torch.no_grad():
            for site, delta in deltas.items():
                limit = settings.clamp * init_norms[site]
                norm = delta.norm(dim=1)
                # A stopped request's delta is already saved; clamping it again is harmless.
                delta.mul_(torch.where(norm > limit, limit / norm, 1.0)[:, None])
        if done.any():
            active = active[~done]
            chunk = chunk.select(active)

    main = settings.sites[0]
    columns = {name: value.tolist() for name, value in numbers.items()}
    columns["steps"] = steps
    columns["init_norm"] = init_norms[main].double().tolist()
    columns["delta_norm"] = final[main].norm(dim=1).double().tolist()
    found = {site: delta.cpu() for site, delta in final.items()}
    return Targets((init[main] + final[main]).cpu(), columns, stop_reason, found)


def not_reached(n: int, like: Targets) -> Targets:
    """Entries of `n` requests that were not optimised: NaN everywhere."""
    state = torch.full((n, like.state.shape[1]), torch.nan, dtype=like.state.dtype)
    numbers = {name: [math.nan] * n for name in like.numbers} | {"steps": [0] * n}
    deltas = {
        site: torch.full((n, delta.shape[1]), torch.nan, dtype=delta.dtype)
        for site, delta in like.deltas.items()
    }
    return Targets(state, numbers, ["not_reached"] * n, deltas)


def join(parts: Sequence[Targets], order: Sequence[int]) -> Targets:
    """One outcome of several; `order[i]` is the place of their i-th request in the result."""
    back = torch.tensor(order).argsort()
    reasons = [reason for part in parts for reason in part.stop_reason]
    numbers = {}
    for name in parts[0].numbers:
        values = [value for part in parts for value in part.numbers[name]]
        numbers[name] = [values[i] for i in back.tolist()]
    states = torch.cat([part.state for part in parts])
    deltas = {
        site: torch.cat([part.deltas[site] for part in parts])[back] for site in parts[0].deltas
    }
    return Targets(states[back], numbers, [reasons[i] for i in back.tolist()], deltas)


def optimize(
    model: EditableModel,
    problems: Sequence[Problem],
    settings: TargetSettings,
    token_budget: int = 1024,
    on_done: OnDone = lambda count, by_rule, loss: None,
    below: BelowRows | None = None,
    start: Mapping[str, torch.Tensor] | None = None,
) -> Targets:
    """Target states of all `problems` on the model as it is.

    `token_budget` bounds rows x suffix tokens of what runs at once; results do not depend on it
    beyond rounding. `on_done` is called as requests finish. `below` may hold the
    states in front of the edited layer of a single problem's rows.
    The deltas begin at `start`, (m, d) for each site, with fresh moments, or at zero; P_0 and
    p_init are those of no delta either way.
    """
    if below is not None and len(problems) != 1:
        raise ValueError(f"`below` goes with one problem, not {len(problems)}")
    rows = [rows_of(problem)[0] for problem in problems]
    widths = [max(len(row.ids) - row.subject for row in own) for own in rows]
    counts = [len(own) for own in rows]

    def split(some: Sequence[int], limit: int) -> Iterator[list[int]]:
        sizes = [widths[i] for i in some], [counts[i] for i in some]
        for group in pack(*sizes, limit, RUN_TOKENS[model.device.type]):
            yield [some[g] for g in group]

    def run(group: list[int]) -> Targets:
        chosen = [problems[g] for g in group]
        begin = start and {site: delta[group] for site, delta in start.items()}
        return _optimize_chunk(model, chosen, settings, token_budget, on_done, below, begin)

    def spoiled(part: Targets) -> bool:
        return "not_finite" in part.stop_reason

    order: list[int] = []
    parts: list[Targets] = []
    with matrix_precision(settings.precision, model.device.type):
        for group, part in in_batches(range(len(problems)), split, run, token_budget, spoiled):
            parts.append(part)
            order += group
    return join(parts, order)


def perplexities(
    model: EditableModel, problems: Sequence[Problem], settings: TargetSettings, token_budget: int
) -> tuple[list[float], list[float]]:
    """p-hat and its legacy mix per request: exp(NLL) with no delta, forward only (SPEC C.3, I6)."""
    rows = [row for p in problems for row in (*p.edit_rows, *p.neighbor_rows)]
    log_p = (output.log_p.double() for output in label_outputs(model, rows, token_budget))
    true_values, legacy_values = [], []
    for problem in problems:
        length = len(problem.edit_rows[0].labels)
        edit = [-float(next(log_p).mean()) for _ in problem.edit_rows]
        neighbor = []
        for row in problem.neighbor_rows:
            own = len(row.labels) if settings.neighbor_length == "own" else length
            neighbor.append(-float(next(log_p).sum()) / own)
        # numpy's exp is infinite where a collapsed model's NLL is too large for math.exp
        true_values.append(float(np.exp(np.mean(edit))))
        legacy_values.append(float(np.exp(np.mean(edit + neighbor))))
    return true_values, legacy_values
