"""The plain reference: every step of the method as a loop over single requests.

This is the oracle for the fast engine. It shares no code with the package: it reads requests by
their attributes only, runs the whole Hugging Face model for every row and every step, applies the
head to every position, and changes the model through ordinary forward hooks. Where the method's
description leaves a choice, the docstring says which one is taken. References such as "A.6" are
sections of the specification.

A request has `subject`, `prompt` (a template with one `{}`), `target_new` and `target_true`; a
neighbor has `prompt` (a template; the whole text if `subject` is None), `subject` and `target`.
All numbers are computed in the dtype of the model; the update matrices in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

LOSS_STOP = 0.05  # A.6: stop when the total loss is below this
PMET_KL_STOP = 0.01  # A.6: PMET's extra stop, on kl_factor * KL


# --------------------------------------------------------------------------------------------------
# Settings and results
# --------------------------------------------------------------------------------------------------


@dataclass
class Settings:
    """The hyperparameters of one run (B) and the switches of I.a that change the loss."""

    method: str  # "MEMIT", "PMET" or "ROME"
    layers: list[int]  # ascending; the last one is l_c (ROME: exactly one)
    lr: float
    steps: int  # v_num_grad_steps: forward passes at most
    clamp: float  # clamp_norm_factor
    weight_decay: float
    kl_factor: float
    nll_loss_factor: float = 1.0  # PMET only
    covariance_weight: float = 15000.0  # lambda = mom2_update_weight
    neighbor_weight: str = "row_mean"  # I1: "row_mean" or "sum"
    neighbor_length: str = "own"  # I2: "own" or "legacy"
    target_tokenization: str = "continuation"  # I11-I13: "continuation" or "legacy"
    legacy_space: bool = (
        True  # I12: legacy PMET adds no space before o* on models that are not GPTs
    )

    def __post_init__(self) -> None:
        choices = {
            "method": ("MEMIT", "PMET", "ROME"),
            "neighbor_weight": ("row_mean", "sum"),
            "neighbor_length": ("own", "legacy"),
            "target_tokenization": ("continuation", "legacy"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {allowed}")
        if self.method == "ROME" and len(self.layers) != 1:
            raise ValueError(f"ROME edits one layer; layers is {self.layers}")
        if list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"layers must ascend without repetition; layers is {self.layers}")


@dataclass
class Optimized:
    """What OPTIMIZATION finds for one request; all of it belongs to the returned delta."""

    target: Tensor  # [d], the target state h-bar (MEMIT: block output; PMET, ROME: MLP output)
    deltas: tuple[
        Tensor, ...
    ]  # [d] each: (delta,), for PMET (delta of the MLP, delta of attention)
    steps: int  # forward passes made
    stop_reason: str  # "loss", "max_steps" or "argmax_kl"
    loss: float  # total loss of the last forward pass
    nll: float  # mean over the edit rows, neighbor rows left out, without PMET's factor
    kl: float  # KL(P_delta || P_0), not multiplied by kl_factor
    weight_decay: float  # the weight decay term as it stands in the loss
    p_bar: float  # exp(nll)
    p_bar_legacy: float  # I5, I6: exp(f * mean NLL over edit AND neighbor rows), f = 1 but for PMET
    p_init: float  # exp(nll) at the first forward pass, delta = 0
    init_norms: tuple[float, ...]  # norm of the hooked quantity without delta, as `deltas`


# --------------------------------------------------------------------------------------------------
# The parts of a model
# --------------------------------------------------------------------------------------------------


@dataclass
class Located:
    """The modules of a causal language model that the method reads or changes, one per layer."""

    names: dict[str, str]  # their names, with `{}` for the layer
    blocks: list[nn.Module]
    down: list[nn.Module]  # the second MLP matrix, the only one that is ever changed
    mlp: list[nn.Module]
    attention_out: list[nn.Module]
    norm: nn.Module
    head: nn.Module


FAMILIES = (
    {  # GPT-2
        "block": "transformer.h.{}",
        "down": "transformer.h.{}.mlp.c_proj",
        "mlp": "transformer.h.{}.mlp",
        "attention_out": "transformer.h.{}.attn.c_proj",
        "norm": "transformer.ln_f",
        "head": "lm_head",
    },
    {  # GPT-J
        "block": "transformer.h.{}",
        "down": "transformer.h.{}.mlp.fc_out",
        "mlp": "transformer.h.{}.mlp",
        "attention_out": "transformer.h.{}.attn.out_proj",
        "norm": "transformer.ln_f",
        "head": "lm_head",
    },
    {  # Llama and what is built like it
        "block": "model.layers.{}",
        "down": "model.layers.{}.mlp.down_proj",
        "mlp": "model.layers.{}.mlp",
        "attention_out": "model.layers.{}.self_attn.o_proj",
        "norm": "model.norm",
        "head": "lm_head",
    },
    {  # GPT-NeoX
        "block": "gpt_neox.layers.{}",
        "down": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
        "mlp": "gpt_neox.layers.{}.mlp",
        "attention_out": "gpt_neox.layers.{}.attention.dense",
        "norm": "gpt_neox.final_layer_norm",
        "head": "lm_head",
    },
    {  # OPT, whose MLP is no module of its own
        "block": "model.decoder.layers.{}",
        "down": "model.decoder.layers.{}.fc2",
        "mlp": "model.decoder.layers.{}.fc2",
        "attention_out": "model.decoder.layers.{}.self_attn.out_proj",
        "norm": "model.decoder.final_layer_norm",
        "head": "lm_head",
    },
    {  # Falcon
        "block": "transformer.h.{}",
        "down": "transformer.h.{}.mlp.dense_4h_to_h",
        "mlp": "transformer.h.{}.mlp",
        "attention_out": "transformer.h.{}.self_attention.dense",
        "norm": "transformer.ln_f",
        "head": "lm_head",
    },
)


def locate(model: nn.Module) -> Located:
    """Find the modules of B.1 and B.2; ValueError for an architecture that is none of FAMILIES."""
    modules = dict(model.named_modules())
    for names in FAMILIES:
        if names["down"].format(0) in modules:
            break
    else:
        raise ValueError(f"{type(model).__name__} is not built like any of FAMILIES")
    layers = range(model.config.num_hidden_layers)
    return Located(
        names=dict(names),
        blocks=[modules[names["block"].format(i)] for i in layers],
        down=[modules[names["down"].format(i)] for i in layers],
        mlp=[modules[names["mlp"].format(i)] for i in layers],
        attention_out=[modules[names["attention_out"].format(i)] for i in layers],
        norm=modules[names["norm"]],
        head=modules[names["head"]],
    )


def delta_modules(model: nn.Module, settings: Settings) -> list[nn.Module]:
    """The modules to whose output a delta is added (A.2); the first carries the target state."""
    located = locate(model)
    layer = settings.layers[-1]
    if settings.method == "MEMIT":
        return [located.blocks[layer]]
    if settings.method == "PMET":
        return [located.down[layer], located.attention_out[layer]]
    return [located.mlp[layer]]


def residual_module(model: nn.Module, settings: Settings) -> nn.Module:
    """The module at whose output SPREAD measures the residual (A.2)."""
    located = locate(model)
    layer = settings.layers[-1]
    return located.blocks[layer] if settings.method == "MEMIT" else located.down[layer]


def weight_out_in(module: nn.Module) -> Tensor:
    """The weight as a matrix [out, in]; GPT-2's Conv1D stores [in, out]."""
    return module.weight.T if isinstance(module, Conv1D) else module.weight


def add_to_weight(module: nn.Module, update: Tensor) -> None:
    """Add `update` [out, in] to the weight in place, cast to the weight's dtype."""
    update = update.T if isinstance(module, Conv1D) else update
    with torch.no_grad():
        module.weight.add_(update.to(module.weight))


# --------------------------------------------------------------------------------------------------
# Rows: token ids, where the subject ends, where the labels are
# --------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """One line of a batch."""

    ids: list[int]
    subject: int  # index of the subject's last token
    positions: list[int]  # positions whose logits predict the labels
    labels: list[int]


def split_template(template: str) -> tuple[str, str]:
    """The text before and after the one `{}`."""
    parts = template.split("{}")
    if len(parts) != 2:
        raise ValueError(f"the template must have exactly one {{}}: {template!r}")
    return parts[0], parts[1]


def subject_index(tokenizer, before: str, subject: str) -> int:
    """A.5: number of tokens of the text up to and with the subject (with BOS if any), minus one."""
    return len(tokenizer.encode(before + subject)) - 1


def prompt_row(tokenizer, context: str, template: str, subject: str) -> Row:
    """The prompt in its context without a target."""
    context_before, context_after = split_template(context)
    before, after = split_template(template)
    before, after = context_before + before, after + context_after
    ids = tokenizer.encode(before + subject + after)
    return Row(ids, subject_index(tokenizer, before, subject), [], [])


def continuation(tokenizer, prompt: str, target: str) -> tuple[list[int], int]:
    """All ids of prompt + " " + target, and how many of them belong to the prompt alone (F.1)."""
    return tokenizer.encode(prompt + " " + target), len(tokenizer.encode(prompt))


def teacher_forced_row(
    tokenizer,
    context: str,
    template: str,
    subject: str,
    target: str,
    settings: Settings,
    space: bool = True,
) -> Row:
    """The prompt in its context, followed by all of the target but its last token (A.4).

    `space` says whether the legacy tokenization puts a space before the target. MEMIT drops a BOS
    or UNK that opens the legacy ids, PMET and ROME do not.
    """
    context_before, context_after = split_template(context)
    before, after = split_template(template)
    before, after = context_before + before, after + context_after
    prompt = before + subject + after
    if settings.target_tokenization == "continuation":
        ids, n_prompt = continuation(tokenizer, prompt, target)
        labels = ids[n_prompt:]
        ids = ids[:-1]
    else:
        labels = tokenizer.encode(" " + target if space else target, add_special_tokens=False)
        if settings.method == "MEMIT" and labels[0] in (
            tokenizer.bos_token_id,
            tokenizer.unk_token_id,
        ):
            labels = labels[1:]
        ids = tokenizer.encode(prompt + tokenizer.decode(labels[:-1]))
    # In both ways the labels lie on the last positions; position p predicts the token after it.
    positions = list(range(len(ids) - len(labels), len(ids)))
    return Row(ids, subject_index(tokenizer, before, subject), positions, labels)


def edit_rows(tokenizer, request, contexts: Sequence[str], settings: Settings) -> list[Row]:
    """One row per context for the request's new object."""
    if not contexts or contexts[0] != "{}":
        raise ValueError(f"the first context must be the bare '{{}}': {list(contexts)[:1]}")
    return [
        teacher_forced_row(
            tokenizer,
            context,
            request.prompt,
            request.subject,
            request.target_new,
            settings,
            space=settings.legacy_space,
        )
        for context in contexts
    ]


def neighbor_rows(
    tokenizer, neighbors: Sequence, contexts: Sequence[str], settings: Settings
) -> list[Row]:
    """One row per neighbor and context for the neighbor's own object (D.1)."""
    return [
        teacher_forced_row(
            tokenizer, context, neighbor.prompt, neighbor.subject, neighbor.target, settings
        )
        for neighbor in neighbors
        for context in contexts
    ]


# --------------------------------------------------------------------------------------------------
# Forward passes and hooks
# --------------------------------------------------------------------------------------------------


def forward(model: nn.Module, tokenizer, rows: Sequence[Row]) -> Tensor:
    """Logits [row, position, vocabulary] of the right-padded rows.

    No attention mask says which positions are padding: no token sees those that follow it.
    """
    device = next(model.parameters()).device
    longest = max(len(row.ids) for row in rows)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ids = [row.ids + [pad] * (longest - len(row.ids)) for row in rows]
    return model(input_ids=torch.tensor(ids, device=device), use_cache=False).logits


def tensor_of(output) -> Tensor:
    """The hidden state in a module's output, which is a tensor or a tuple that opens with one."""
    return output[0] if isinstance(output, tuple) else output


def by_row(hidden: Tensor, rows: Sequence[Row]) -> Tensor:
    """[row, position, width]: OPT's MLP sees rows and positions as one dimension."""
    return hidden.reshape(len(rows), -1, hidden.shape[-1])


@contextmanager
def hooked(module: nn.Module, hook: Callable, before: bool = False) -> Iterator[None]:
    """Keep a forward hook (or a hook before the forward pass) on the module for a while."""
    register = module.register_forward_pre_hook if before else module.register_forward_hook
    handle = register(hook)
    try:
        yield
    finally:
        handle.remove()


def values_at_subject(
    model: nn.Module, tokenizer, rows: Sequence[Row], module: nn.Module, side: str
) -> Tensor:
    """[row, width]: the module's input or output (`side`) at each row's subject, no gradient."""
    seen: list[Tensor] = []

    def read_input(_module, arguments):
        seen.append(by_row(arguments[0], rows))

    def read_output(_module, _arguments, output):
        # A copy: Falcon's blocks add the attention's output to the MLP's in place.
        seen.append(by_row(tensor_of(output).clone(), rows))

    hook = read_input if side == "input" else read_output
    with torch.no_grad(), hooked(module, hook, before=side == "input"):
        forward(model, tokenizer, rows)
    return torch.stack([seen[0][r, row.subject].clone() for r, row in enumerate(rows)])


@contextmanager
def adding(module: nn.Module, delta: Tensor, rows: Sequence[Row]) -> Iterator[list[Tensor]]:
    """Add `delta` to the module's output at every row's subject.

    Yields a list that receives, at each forward pass, the value at the subject of row 1 before the
    addition.
    """
    before: list[Tensor] = []

    def add(_module, _arguments, output):
        shape = tensor_of(output).shape
        hidden = by_row(tensor_of(output), rows)
        before.append(hidden[0, rows[0].subject].detach().clone())
        hidden = hidden.clone()
        for r, row in enumerate(rows):
            hidden[r, row.subject] = hidden[r, row.subject] + delta
        hidden = hidden.reshape(shape)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    with hooked(module, add):
        yield before


def row_nll(log_probs: Tensor, row: Row, divisor: int) -> Tensor:
    """-(1/divisor) * sum of the labels' log-probabilities; log_probs [position, vocabulary]."""
    total = log_probs.new_zeros(())
    for position, label in zip(row.positions, row.labels, strict=True):
        total = total - log_probs[position, label]
    return total / divisor


# --------------------------------------------------------------------------------------------------
# OPTIMIZATION (A.6, D.1; paper, the loss g and its neighbor-assisted form)
# --------------------------------------------------------------------------------------------------


def optimize(
    model: nn.Module,
    tokenizer,
    request,
    contexts: Sequence[str],
    settings: Settings,
    neighbors: Sequence = (),
    neighbor_contexts: Sequence[str] = ("{}",),
    start: Sequence[Tensor] = (),
) -> Optimized:
    """Find the target state of one request by gradient descent on the delta (A.6).

    The batch holds one row per context, one per neighbor and neighbor context, and the KL prompt
    "{subject} is a". When several stop rules hold at the same step, the reason is the first of
    "loss", "max_steps", "argmax_kl". PMET's exact equality of the two mean probabilities is read
    as what it means: every label of every row (neighbors too) has the greatest log-probability.

    The deltas begin at `start`, one per hooked module, or at zero. P_0, p_init and the norms in the
    loss and the clamp are those without any delta, so a run that begins elsewhere makes one pass
    more to learn them.
    """
    model.requires_grad_(False)
    model.eval()
    edits = edit_rows(tokenizer, request, contexts, settings)
    others = neighbor_rows(tokenizer, neighbors, neighbor_contexts, settings)
    kl_row = prompt_row(tokenizer, "{}", "{} is a", request.subject)
    rows = [*edits, *others, kl_row]

    modules = delta_modules(model, settings)
    deltas = [
        torch.zeros(
            model.config.hidden_size,
            dtype=next(model.parameters()).dtype,
            device=next(model.parameters()).device,
            requires_grad=True,
        )
        for _ in modules
    ]
    optimizer = torch.optim.Adam(deltas, lr=settings.lr)
    is_pmet = settings.method == "PMET"
    factor = settings.nll_loss_factor if is_pmet else 1.0
    initial: list[Tensor] = []  # the hooked quantities without delta, in row 1
    unedited_kl_log_probs = None
    p_init = None

    # Step 0 is there for a start alone: it only looks at the model without deltas.
    for step in range(0 if start else 1, settings.steps + 1):
        with ExitStack() as stack:
            read = [
                stack.enter_context(adding(module, delta, rows))
                for module, delta in zip(modules, deltas, strict=True)
            ]
            log_probs = torch.log_softmax(forward(model, tokenizer, rows), dim=-1)
        if not initial:
            initial = [values[0] for values in read]
            unedited_kl_log_probs = log_probs[-1, kl_row.subject].detach().clone()

        edit_nll = torch.stack(
            [row_nll(log_probs[r], row, len(row.labels)) for r, row in enumerate(edits)]
        )
        all_nll = edit_nll
        if others:
            own = settings.neighbor_length == "own"
            other_nll = torch.stack(
                [
                    row_nll(
                        log_probs[len(edits) + r],
                        row,
                        len(row.labels) if own else len(edits[0].labels),
                    )
                    for r, row in enumerate(others)
                ]
            )
            all_nll = torch.cat([edit_nll, other_nll])
        if others and settings.neighbor_weight == "sum":
            nll_term = edit_nll.mean() + other_nll.sum() / len(neighbor_contexts)
        else:
            nll_term = all_nll.mean()

        kl_log_probs = log_probs[-1, kl_row.subject]
        kl = (kl_log_probs.exp() * (kl_log_probs - unedited_kl_log_probs)).sum()
        weight_decay = settings.weight_decay * sum(
            delta.norm() / value.norm() ** 2 for delta, value in zip(deltas, initial, strict=True)
        )
        loss = factor * nll_term + settings.kl_factor * kl + weight_decay

        factor_used = factor
        nll = edit_nll.mean().item()
        p_init = math.exp(nll) if p_init is None else p_init
        if step == 0:
            with torch.no_grad():
                for delta, value in zip(deltas, start, strict=True):
                    delta.copy_(value)
            continue

        every_label_is_argmax = all(
            bool(log_probs[r, position, label] == log_probs[r, position].max())
            for r, row in enumerate([*edits, *others])
            for position, label in zip(row.positions, row.labels, strict=True)
        )
        if is_pmet:
            factor = settings.nll_loss_factor * (0.1 if every_label_is_argmax else 1.0)

        if loss.item() < LOSS_STOP:
            stop_reason = "loss"
            break
        if step == settings.steps:
            stop_reason = "max_steps"
            break
        if is_pmet and every_label_is_argmax and settings.kl_factor * kl.item() <= PMET_KL_STOP:
            stop_reason = "argmax_kl"
            break

        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for delta, value in zip(deltas, initial, strict=True):
                greatest = settings.clamp * value.norm()
                if delta.norm() > greatest:
                    delta.mul_(greatest / delta.norm())

    deltas = [delta.detach() for delta in deltas]
    return Optimized(
        target=initial[0] + deltas[0],
        deltas=tuple(deltas),
        steps=step,
        stop_reason=stop_reason,
        loss=loss.item(),
        nll=nll,
        kl=kl.item(),
        weight_decay=weight_decay.item(),
        p_bar=math.exp(nll),
        p_bar_legacy=math.exp(factor_used * all_nll.mean().item()),
        p_init=p_init,
        init_norms=tuple(value.norm().item() for value in initial),
    )


def p_hat(
    model: nn.Module,
    tokenizer,
    request,
    contexts: Sequence[str],
    settings: Settings,
    neighbors: Sequence = (),
    neighbor_contexts: Sequence[str] = ("{}",),
) -> float:
    """exp(mean NLL) of the request's rows with no delta (C.3).

    With `neighbors` their rows enter the mean, which is the legacy value of neighbor runs (I6).
    """
    edits = edit_rows(tokenizer, request, contexts, settings)
    others = neighbor_rows(tokenizer, neighbors, neighbor_contexts, settings)
    own = settings.neighbor_length == "own"
    divisors = [len(row.labels) for row in edits]
    divisors += [len(row.labels) if own else len(edits[0].labels) for row in others]
    rows = [*edits, *others]
    with torch.no_grad():
        log_probs = torch.log_softmax(forward(model, tokenizer, rows), dim=-1)
        nll = [
            row_nll(log_probs[r], row, divisor)
            for r, (row, divisor) in enumerate(zip(rows, divisors, strict=True))
        ]
    return math.exp(torch.stack(nll).mean().item())


# --------------------------------------------------------------------------------------------------
# SPREAD (A.7) and ROME's rank-one write (A.8)
# --------------------------------------------------------------------------------------------------


def context_keys(
    model: nn.Module, tokenizer, request, contexts: Sequence[str], layer: int
) -> Tensor:
    """[context, d_mlp]: inputs of the down projection at the subject, prompts without target."""
    rows = [prompt_row(tokenizer, context, request.prompt, request.subject) for context in contexts]
    return values_at_subject(model, tokenizer, rows, locate(model).down[layer], "input")


def keys(model: nn.Module, tokenizer, request, contexts: Sequence[str], layer: int) -> Tensor:
    """[d_mlp]: half the bare context's key plus half the mean of the prefixed ones (A.7, step 1).

    With the bare context alone it is that context's key.
    """
    if not contexts or contexts[0] != "{}":
        raise ValueError(f"the first context must be the bare '{{}}': {list(contexts)[:1]}")
    found = context_keys(model, tokenizer, request, contexts, layer)
    if len(contexts) == 1:
        return found[0]
    return 0.5 * found[0] + 0.5 * found[1:].mean(dim=0)


def rome_key(model: nn.Module, tokenizer, request, contexts: Sequence[str], layer: int) -> Tensor:
    """[d_mlp]: the plain mean over all contexts (A.8)."""
    return context_keys(model, tokenizer, request, contexts, layer).mean(dim=0)


def current_state(model: nn.Module, tokenizer, request, settings: Settings) -> Tensor:
    """[d]: what the model now has where the residual is measured, bare prompt (A.7, step 2)."""
    row = prompt_row(tokenizer, "{}", request.prompt, request.subject)
    module = residual_module(model, settings)
    return values_at_subject(model, tokenizer, [row], module, "output")[0]


def second_moment(
    model: nn.Module, tokenizer, texts: Sequence[str], layer: int, max_length: int | None = None
) -> Tensor:
    """C_l [d_mlp, d_mlp] in float64: mean of x x^T over all tokens of the texts (A.7)."""
    module = locate(model).down[layer]
    total, count = 0.0, 0
    for text in texts:
        seen: list[Tensor] = []

        def read(_module, arguments, seen=seen):
            seen.append(arguments[0])  # one text: [1, position, width] or [position, width]

        ids = tokenizer.encode(text)[:max_length]
        with torch.no_grad(), hooked(module, read, before=True):
            forward(model, tokenizer, [Row(ids, 0, [], [])])
        x = seen[0].reshape(len(ids), -1).double()
        total = total + x.T @ x
        count += len(ids)
    return total / count


def spread(
    model: nn.Module,
    tokenizer,
    requests: Sequence,
    targets: Sequence[Tensor],
    contexts: Sequence[str],
    covariances: dict[int, Tensor],
    settings: Settings,
) -> dict[int, Tensor]:
    """Write the targets into the layers, one layer after another, in place (A.7).

    `targets` are [d] each, `covariances[layer]` is C_l [d_mlp, d_mlp] in float64. Solves
    DeltaW (lambda C_l + K K^T) = R_l K^T in float64, where R_l is the residual over L - i (MEMIT)
    or over sqrt(L - i) (PMET). Returns copies of the new weights, as the modules store them.
    """
    if settings.method not in ("MEMIT", "PMET"):
        raise ValueError(f"{settings.method} does not spread; use rome_sequential")
    located = locate(model)
    weights = {}
    for i, layer in enumerate(settings.layers):
        columns = [keys(model, tokenizer, request, contexts, layer) for request in requests]
        k = torch.stack(columns, dim=1).double()
        now = [current_state(model, tokenizer, request, settings) for request in requests]
        residual = torch.stack(
            [target.double() - state.double() for target, state in zip(targets, now, strict=True)],
            dim=1,
        )
        remaining = len(settings.layers) - i
        share = residual / (remaining if settings.method == "MEMIT" else math.sqrt(remaining))
        covariance = covariances[layer].to(k)
        a = settings.covariance_weight * covariance + k @ k.T
        update = share @ torch.linalg.solve(a, k).T  # A is symmetric
        add_to_weight(located.down[layer], update)
        weights[layer] = located.down[layer].weight.detach().clone()
    return weights


def rome_write(
    model: nn.Module,
    tokenizer,
    request,
    target: Tensor,
    contexts: Sequence[str],
    settings: Settings,
    covariance: Tensor | None = None,
) -> Tensor:
    """Write one target by a rank-one update in place (A.8); returns a copy of the new weight.

    u = k*/|k*|, or C^-1 k*/|C^-1 k*| when `covariance` is given (I9). Afterwards the bare prompt's
    key is mapped exactly to the target.
    """
    layer = settings.layers[-1]
    module = locate(model).down[layer]
    direction = rome_key(model, tokenizer, request, contexts, layer).double()
    if covariance is not None:
        direction = torch.linalg.solve(covariance.to(direction), direction)
    u = direction / direction.norm()
    bare = prompt_row(tokenizer, "{}", request.prompt, request.subject)
    key = values_at_subject(model, tokenizer, [bare], module, "input")[0].double()
    output = values_at_subject(model, tokenizer, [bare], module, "output")[0].double()
    right = (target.double() - output) / (key @ u)
    add_to_weight(module, torch.outer(right, u))
    return module.weight.detach().clone()


def rome_sequential(
    model: nn.Module,
    tokenizer,
    requests: Sequence,
    contexts: Sequence[str],
    settings: Settings,
    covariance: Tensor | None = None,
    n_neighbors: int = 0,
) -> tuple[list[Optimized], dict[int, Tensor]]:
    """One iteration of ROME: optimise and write one request after another, in place (A.8).

    With `n_neighbors` a request's first editing neighbors join its loss; the paper has no such
    ROME. Returns what was found for each request, in order, and the final weight by layer.
    """
    found, weights = [], {}
    for request in requests:
        neighbors = request.editing_neighbors[:n_neighbors]
        found.append(optimize(model, tokenizer, request, contexts, settings, neighbors))
        weights[settings.layers[-1]] = rome_write(
            model, tokenizer, request, found[-1].target, contexts, settings, covariance
        )
    return found, weights


# --------------------------------------------------------------------------------------------------
# Scores (F.1) and eligibility (D.2)
# --------------------------------------------------------------------------------------------------


def score(
    model: nn.Module, tokenizer, prompt: str, object: str
) -> tuple[list[int], list[float], list[int], list[int], list[int]]:
    """(token_ids, logprobs, argmax, ranks, top) of the object after the prompt, teacher-forced.

    The object's tokens are those of prompt + " " + object after the prompt's own number of tokens.
    `ranks` count from 1; `top` are the five likeliest ids where the object begins.
    """
    ids, n_prompt = continuation(tokenizer, prompt, object)
    with torch.no_grad():
        logits = forward(model, tokenizer, [Row(ids, 0, [], [])])[0]
    log_probs = torch.log_softmax(logits, dim=-1)
    positions = range(n_prompt - 1, len(ids) - 1)
    return (
        ids[n_prompt:],
        [log_probs[p, ids[p + 1]].item() for p in positions],
        [int(logits[p].argmax()) for p in positions],
        [int((log_probs[p] >= log_probs[p, ids[p + 1]]).sum()) for p in positions],
        log_probs[n_prompt - 1].sort(descending=True).indices[:5].tolist(),
    )


def text_logprobs(model: nn.Module, tokenizer, text: str) -> tuple[list[int], list[float]]:
    """All N ids of the text (with BOS if any) and log p(x_j | x_<j) for j = 2..N (E.3)."""
    ids = tokenizer.encode(text)
    with torch.no_grad():
        logits = forward(model, tokenizer, [Row(ids, 0, [], [])])[0]
    log_probs = torch.log_softmax(logits, dim=-1)
    return ids, [log_probs[p, ids[p + 1]].item() for p in range(len(ids) - 1)]


def eligible(model: nn.Module, tokenizer, request, neighbors: Sequence) -> list[bool]:
    """One verdict per neighbor: does the model itself complete it with its object (D.2, 1 and 2)?

    A neighbor without a `target` of its own is held to the request's old object.
    """
    verdicts = []
    for neighbor in neighbors:
        prompt = neighbor.prompt
        if neighbor.subject is not None:
            before, after = split_template(prompt)
            prompt = before + neighbor.subject + after
        target = getattr(neighbor, "target", request.target_true)
        _, _, predicted, *_ = score(model, tokenizer, prompt, target)
        verdicts.append(tokenizer.decode(predicted).strip() == target)
    return verdicts
