"""Every switch: a case made for it on which its two behaviours differ, each as it should be."""

from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import AddedToken

from modeledit.data.requests import NO_TRUE_OBJECT, Neighbor, Request
from modeledit.editing.factors import factorize
from modeledit.editing.iteration import Statistics, edit_once
from modeledit.editing.optimization import optimize
from modeledit.editing.problem import build_problem
from modeledit.evaluation import metrics
from modeledit.evaluation.aggregation import aggregate, at_stop, pick_table
from modeledit.evaluation.resampling import Resampling
from modeledit.evaluation.significance import differences, intervals
from modeledit.lm.model import EditableModel
from modeledit.lm.scoring import object_row, own_objects, score, score_unedited
from modeledit.lm.tokens import PromptError, Tokenization, target_row
from modeledit.paper.judging import Data
from modeledit.presentation.report import run_rows
from modeledit.presentation.tables import Selection, Words, build
from modeledit.study.earlier_keys import earlier_keys
from modeledit.study.layout import RunKey
from modeledit.study.methods import METHODS
from modeledit.study.stopping import Rule
from modeledit.study.switches import Switches
from tests.editing.tiny_edits import Silent, settings_of
from tests.lm.test_tokens import small_tokenizer
from tests.presets import CORRECTED, CORRECTED_SCORING, averaging
from tests.reference import models as tiny
from tests.reference.test_released_evaluation import spaceless_tokenizer
from tests.tables import run_metrics

ROOT = Path(__file__).parents[2]
TOKENIZER = tiny.tiny_tokenizer()
CONTEXTS = tiny.tiny_contexts()
HYPER = tiny.HYPER


def request_of(request_id):
    return next(r for r in tiny.tiny_requests() if r.id == request_id)


def edited(name, requests, model=None, **switches):
    """The per-request log of one iteration, and the model after it."""
    model = model or EditableModel(tiny.tiny_llama(dtype=torch.float64))
    width = model.down_weight(0).shape[1]
    skewed = torch.eye(width, dtype=torch.float64) + torch.ones(width, width)
    factors = {layer: factorize(skewed, layer).lower for layer in HYPER.layers}
    _, edits, _keys = edit_once(
        model,
        TOKENIZER,
        requests,
        Statistics(CONTEXTS, factors),
        settings_of(name, switches=replace(CORRECTED, **switches)),
        Silent(),
    )
    return edits, model


def test_every_switch_has_its_test():
    switches = {field.name for field in fields(Switches)}
    tested = {name.removeprefix("test_") for name in globals()}
    assert switches <= tested, switches - tested


# --- OPTIMIZATION and the write


def test_key_cache():
    """I25: which earlier keys AlphaEdit keeps in place; what it does is in test_sequences."""
    for kept, count in (("none", 0), ("other_batches", 1), ("released", 4)):
        assert METHODS["AlphaEdit"].keys_kept(kept) == METHODS["MEMIT_seq"].keys_kept(kept) == kept
        assert len(earlier_keys(kept, 2, 2, (1, 2, 3))) == count
        assert METHODS["MEMIT"].keys_kept(kept) == "none"
        assert METHODS["GROWING_AlphaEdit"].keys_kept(kept) == "released"


def test_target_tokenization():
    """I11-I13: after a prompt the object is one token; alone it may lose or gain its space."""
    tokenizer = tiny.tiny_sentencepiece()  # Llama's kind

    def row_of(target, **legacy):
        how = Tokenization("legacy", **legacy) if legacy else Tokenization()
        row = target_row(tokenizer, "Lyon is in", target, tokenization=how)
        return row, tokenizer.convert_ids_to_tokens(row.labels)

    continued, labels = row_of("France")
    assert labels == ["▁France"]
    spaced, labels = row_of("France", space=True)
    # "▁" is a label, decodes to nothing, and so is asked of the prompt's last token but one
    assert labels == ["▁", "▁France"] and spaced.ids == continued.ids
    assert spaced.first_label == continued.first_label - 1
    glued, labels = row_of("France", space=False)
    assert labels == ["▁France"] and glued == continued
    # a second piece loses the space in front of the first: "Lyon is inMün" (I13)
    assert row_of("Munich")[1][0].startswith("▁")
    several, labels = row_of("Munich", space=False)
    assert tokenizer.decode(several.ids[1:]) == f"Lyon is in{''.join(labels[:-1])[1:]}"
    # byte-level: without the space PMET trains another token than the one that is scored
    first = target_row(TOKENIZER, "Lyon is in", "France").labels
    no_space = Tokenization("legacy", space=False)
    second = target_row(TOKENIZER, "Lyon is in", "France", tokenization=no_space).labels
    assert TOKENIZER.decode(first) == " France" and TOKENIZER.decode(second) == "France"
    assert first != second
    # and the whole method shows it: PMET without a space on Llama, with one on GPT
    for tiny_model, same in ((tiny.tiny_gpt2, True), (tiny.tiny_llama, False)):
        values = [
            edited(
                "PMET",
                [request_of(0)],
                EditableModel(tiny_model(dtype=torch.float64)),
                target_tokenization=kind,
            )[0]["p_init"][0]
            for kind in ("continuation", "legacy")
        ]
        assert (values[0] == pytest.approx(values[1])) == same


def test_neighbor_weight():
    """I1: the first loss is NLL + NLL of the neighbor, or the mean over all rows."""
    request = request_of(0)
    problem = build_problem(TOKENIZER, request, CONTEXTS, n_neighbors=1)
    model = EditableModel(tiny.tiny_llama(dtype=torch.float64))
    loss, nll = {}, {}
    for weight in ("sum", "row_mean"):
        switches = replace(CORRECTED, neighbor_weight=weight)
        settings = settings_of("NA_MEMIT", replace(HYPER, steps=1), switches).targets
        numbers = optimize(model, [problem], settings).numbers
        loss[weight], nll[weight] = numbers["loss"][0], numbers["nll"][0]
    n, neighbor = len(CONTEXTS), loss["sum"] - nll["sum"]
    assert loss["row_mean"] == pytest.approx((n * nll["sum"] + neighbor) / (n + 1))
    assert loss["row_mean"] != pytest.approx(loss["sum"])


def test_neighbor_length():
    """I2: a neighbor of several tokens is divided by their number, or by that of o*."""
    request = request_of(1)
    problem = build_problem(TOKENIZER, request, CONTEXTS, n_neighbors=1)
    own, edit = len(problem.neighbor_rows[0].labels), len(problem.edit_rows[0].labels)
    assert own != edit
    model = EditableModel(tiny.tiny_llama(dtype=torch.float64))
    terms = []
    for length in ("own", "edit"):
        switches = replace(CORRECTED, neighbor_length=length)
        settings = settings_of("NA_MEMIT", replace(HYPER, steps=1), switches).targets
        numbers = optimize(model, [problem], settings).numbers
        terms.append(numbers["loss"][0] - numbers["nll"][0])
    assert terms[1] / terms[0] == pytest.approx(own / edit)


def test_nap_prefixes():
    """I3: a prefixed neighbor has one row, or one per prefix; in the sum they count as one."""
    method = METHODS["NAP_MEMIT"]
    first, every = (method.neighbor_contexts(CONTEXTS, name) for name in ("first", "all"))
    assert first == CONTEXTS[1:2] and every == CONTEXTS[1:]
    model = EditableModel(tiny.tiny_llama(dtype=torch.float64))
    settings = settings_of(method.name, replace(HYPER, steps=1), CORRECTED).targets

    def term(contexts):
        problem = build_problem(TOKENIZER, request_of(0), CONTEXTS, contexts, 1)
        numbers = optimize(model, [problem], settings).numbers
        return numbers["loss"][0] - numbers["nll"][0]

    assert term(every) == pytest.approx(np.mean([term([context]) for context in every]))
    assert term(every) != pytest.approx(term(first))


def test_rome_covariance():
    """I9: along C^-1 k or along k; both map the key to the target, elsewhere they differ."""
    weights = []
    for used in (True, False):
        _, model = edited("ROME", [request_of(0)], rome_covariance=used)
        weights.append(model.down_weight(2).clone())
    before = EditableModel(tiny.tiny_llama(dtype=torch.float64)).down_weight(2)
    first, second = (weight - before for weight in weights)
    assert first.norm() > 0 and second.norm() > 0
    assert (first - second).norm() > 0.01 * first.norm()


def synthetic_edits(**columns):
    names = ("p_init", "p_bar", "p_hat")
    base = {f"{name}{end}": [1.0] for name in names for end in ("", "_legacy")}
    return pd.DataFrame({"request": [0]} | base | {k: [v] for k, v in columns.items()})


def synthetic_scores(value=-1.0):
    rows = [
        (0, kind, 0, name, [1], [value], [1])
        for kind in ("edit", "paraphrase", "neighbor")
        for name in ("new", "true")
    ]
    return pd.DataFrame(rows, columns=list(metrics.SCORE_COLUMNS))


def test_perplexity():
    """I5-I8: neighbor rows and PMET's factor stay out of p, or are in it; ROME's p-hat moves."""
    eased, _ = edited("NA_PMET", [request_of(0)])
    assert eased["p_bar"][0] != pytest.approx(eased["p_bar_legacy"][0])
    assert eased["p_hat"][0] != pytest.approx(eased["p_hat_legacy"][0])
    assert eased["p_init"][0] != pytest.approx(eased["p_init_legacy"][0])

    scores = dict.fromkeys(range(3), synthetic_scores())
    edits = {
        1: synthetic_edits(p_hat=5.0, p_hat_legacy=7.0, p_init_legacy=20.0),
        2: synthetic_edits(p_hat=2.0, p_hat_legacy=3.0, p_init_legacy=11.0),
    }

    def measured(perplexity, sequential):
        scoring = replace(CORRECTED_SCORING, perplexity=perplexity)
        run = RunKey("d", "m", "x", 1)
        return run_metrics(scores, edits, run=run, scoring=scoring, sequential=sequential)

    true = measured("edit_rows", sequential=False)
    legacy = measured("legacy", sequential=False)
    moving = measured("legacy", sequential=True)
    assert true["p_hat"].tolist() == [1.0, 5.0, 2.0]
    assert legacy["p_hat"].tolist() == [20.0, 7.0, 3.0]
    # what iteration 2 saw first; the last iteration has none, and so no |dp|
    assert moving["p_hat"].tolist()[:2] == [20.0, 11.0]
    assert moving["dp"][1] == 10.0
    assert moving.loc[2, ["p_hat", "dp", "dp2"]].isna().all()


# --- what is scored


def scored(model, requests, **switches):
    table = score(
        EditableModel(model), TOKENIZER, requests, replace(CORRECTED, **switches)
    ).to_pandas()
    return table.set_index(["kind", "index", "object"])


@pytest.mark.parametrize("build", [tiny.tiny_gpt2, tiny.tiny_gptj, tiny.tiny_llama])
def test_eval_positions(build):
    """I14: as Hugging Face scores a left-padded batch without position ids; only GPT-2 minds."""
    model = build(dtype=torch.float64)
    request = request_of(1)
    clean = scored(model, [request])
    shifted = scored(model, [request], eval_positions="hf_default")
    texts = [f"{n.text} {n.target}" for n in request.neighbors]
    tokenizer = deepcopy(TOKENIZER)
    tokenizer.padding_side = "left"
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    # released code: generation counts padding in, so positions are 0..L-1 of the padded row
    positions = torch.arange(batch["input_ids"].shape[1])[None].expand(len(texts), -1)
    with torch.no_grad():
        logits = model(**batch, position_ids=positions).logits.log_softmax(-1)
    for j in range(len(texts)):
        row = shifted.loc[("neighbor", j, "true")]
        n = len(row["token_ids"])
        ids = torch.tensor(row["token_ids"])
        expected = logits[j, -n - 1 : -1].gather(1, ids[:, None])[:, 0]
        assert row["logprobs"].tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    differs = [
        not np.allclose(clean.loc[key, "logprobs"], shifted.loc[key, "logprobs"], rtol=1e-4)
        for key in clean.index
    ]
    assert any(differs) == (model.config.model_type == "gpt2")


def zsre_request():
    return Request(
        id=0,
        subject="Lyon",
        prompt="What country is {} in?",
        target_new="Peru",
        target_true=NO_TRUE_OBJECT,
        paraphrases=("Which country has Lyon?",),
        neighbors=(Neighbor("who sang the river song?", None, "People of Japan"),),
    )


def test_competitor():
    """I15: of prompt + " <|endoftext|>" the space's log-probability counts, or is lost."""
    whole, cut = (
        scored(tiny.tiny_gpt2(), [zsre_request()], competitor=name)
        for name in ("whole", "after_pad")
    )
    competitor = whole.loc[("edit", 0, "true")]
    assert len(competitor["token_ids"]) == 2
    assert competitor["token_ids"][1] == TOKENIZER.eos_token_id
    assert cut.loc[("edit", 0, "true"), "token_ids"].tolist() == [TOKENIZER.eos_token_id]
    assert cut.loc[("edit", 0, "true"), "logprobs"].tolist() == [competitor["logprobs"][1]]
    same = whole.loc[("edit", 0, "new"), "logprobs"], cut.loc[("edit", 0, "new"), "logprobs"]
    assert same[0].tolist() == same[1].tolist()


def test_specificity_gt():
    """I18, I19: a neighbor is held to the dataset's object, or to what the unedited model said."""
    requests = tiny.tiny_requests()
    base = EditableModel(tiny.tiny_llama(seed=6))
    changed = EditableModel(tiny.tiny_llama(seed=26))
    success, agreement = {}, {}
    for name in ("dataset", "model_output", "model_output_everywhere"):
        settings = replace(CORRECTED, specificity_gt=name)
        before = score_unedited(base, TOKENIZER, requests, settings, [], 400)
        own = None if name == "dataset" else own_objects(before, TOKENIZER)
        after = score(changed, TOKENIZER, requests, settings, [], 400, own)
        same = score(base, TOKENIZER, requests, settings, [], 400, own)
        for k, table in enumerate((before, after, same)):
            unedited = before.to_pandas() if k else None
            found = metrics.request_metrics(table.to_pandas(), unedited, "exact", "mean")
            success[name, k] = found["spec_succ"].mean()
            agreement[name, k] = found["spec_acc"].mean()
    # the unedited row: the dataset's objects, unless the answers count everywhere
    assert success["dataset", 0] == success["model_output", 0]
    assert success["model_output_everywhere", 0] > success["dataset", 0]
    assert success["dataset", 2] < success["model_output", 2]
    assert success["model_output", 1] != success["dataset", 1]
    # asked the same again, the model agrees with itself; an answer of another length does not count
    assert agreement["dataset", 2] == agreement["model_output_everywhere", 2] == 1
    assert agreement["model_output", 2] < 1
    # and the unedited row says beforehand what an edit that changes nothing will get
    assert agreement["model_output", 0] == agreement["model_output", 2]
    assert np.isnan([agreement["dataset", 0], agreement["model_output_everywhere", 0]]).all()


def test_an_empty_answer_is_an_object_too():
    """I19: what the unedited model said is kept where nothing is left of it but a space."""
    request = request_of(0)
    model = EditableModel(tiny.tiny_gpt2())
    own = {(0, 0): "", (0, 1): "France"}
    table = score(model, TOKENIZER, [request], CORRECTED, own=own).to_pandas()
    rows = table[table["object"] == "own"].set_index("index")["token_ids"]
    assert rows.index.tolist() == [0, 1]
    assert TOKENIZER.decode(rows[0]) == " " and TOKENIZER.decode(rows[1]) == " France"
    # after a space the two merge: released code, which counts, finds nothing; else the border moves
    merging = small_tokenizer("a", " ", "  ", merges=[(" ", " ")])
    assert object_row(merging, "aa ", "", "after_pad").labels == ()
    assert len(object_row(merging, "aa ", "", "whole").labels) == 1


def test_an_object_of_pad_ids_alone_is_nothing_where_they_are_counted():
    """I15, where a tokenizer takes the space in front of its end-of-text token away."""
    eos = tiny.tiny_tokenizer()
    eos.add_special_tokens({"eos_token": AddedToken(tiny.EOS, lstrip=True)})
    assert object_row(eos, "Lyon is in", tiny.EOS, "whole").labels == (eos.eos_token_id,)
    assert object_row(eos, "Lyon is in", tiny.EOS, "after_pad").labels == ()


def test_a_new_object_without_tokens_is_refused_by_name():
    request = replace(request_of(0), target_new=" ")
    with pytest.raises(PromptError, match="request 0: o\\* ' ' has no tokens of its own"):
        score(
            EditableModel(tiny.tiny_llama()), spaceless_tokenizer([request]), [request], CORRECTED
        )


def test_zsre_locality():
    """I20: one object after a space, or one prompt per token, the first glued to the question."""
    whole, pieces = (
        scored(tiny.tiny_gpt2(), [zsre_request()], zsre_locality=name)
        for name in ("whole", "pieces")
    )
    tokens = TOKENIZER("People of Japan")["input_ids"]
    assert whole.loc["neighbor"].index.get_level_values("index").max() == 0
    assert pieces.loc["neighbor"].index.get_level_values("index").max() == len(tokens) - 1
    assert TOKENIZER.decode(whole.loc[("neighbor", 0, "true"), "token_ids"]) == " People of Japan"
    assert len(tokens) > 1
    # other facts keep their neighbors
    kept = scored(tiny.tiny_gpt2(), [request_of(1)], zsre_locality="pieces")
    assert kept.loc["neighbor"].index.get_level_values("index").max() == 2


# --- metrics from the same scores


def one_request(new, true, kind="edit"):
    rows = []
    for each in ("edit", "paraphrase", "neighbor"):
        pair = (new, true) if each == kind else (([1], [-1.0], [1]), ([2], [-2.0], [1]))
        named = zip(("new", "true"), pair, strict=True)
        rows += [(0, each, 0, name, *values) for name, values in named]
    return pd.DataFrame(rows, columns=list(metrics.SCORE_COLUMNS))


def test_accuracy():
    """I17: two of three tokens right are 0, or 2/3."""
    frame = one_request(([1, 2, 3], [-1.0] * 3, [1, 2, 9]), ([4], [-1.0], [1]))
    assert metrics.request_metrics(frame, None, "exact", "sum")["eff_acc"][0] == 0
    assert metrics.request_metrics(frame, None, "token", "sum")["eff_acc"][0] == 2 / 3


def test_success():
    """I16: -3 in all loses against -2, while -1 a token wins."""
    frame = one_request(([1, 2, 3], [-1.0] * 3, [1, 2, 3]), ([4], [-2.0], [1]))
    assert metrics.request_metrics(frame, None, "exact", "sum")["eff_succ"][0] == 0
    assert metrics.request_metrics(frame, None, "exact", "mean")["eff_succ"][0] == 1


def test_score_zeros():
    """I21: the published 13, 10, 0 give 11 where the zero is dropped (SPEC F.4)."""
    assert metrics.harmonic_mean([0.13, 0.10, 0.0], "keep") == 0
    assert round(metrics.harmonic_mean([0.13, 0.10, 0.0], "drop"), 2) == 0.11


def trials(*scores):
    frame = pd.DataFrame({name: [0.5] * len(scores) for name in metrics.METRICS})
    keys = {"dataset": "d", "model": "m", "method": "x", "k": 1, "n_requests": 9}
    carried = {"stopped": False, "p_hat_before": 0.5}
    return frame.assign(**keys, **carried, trial=range(1, len(scores) + 1), score_acc=scores)


def test_trial_score():
    """F.4: 0.444 and 0.557 average to 0.5005, to 0.5 where each is rounded first."""
    rows = trials(0.444, 0.557)
    plain, rounded, of_means = (
        aggregate(rows, ("k",), averaging(Rule("trial"), trial_agg=name))["score_acc"][0]
        for name in ("mean_of_scores", "mean_of_rounded_scores", "hm_of_means")
    )
    assert plain == pytest.approx(0.5005) and rounded == pytest.approx((0.44 + 0.56) / 2)
    rows = trials(0.444, 0.444)
    plain, rounded = (
        aggregate(rows, ("k",), averaging(Rule("trial"), trial_agg=name))["score_acc"][0]
        for name in ("mean_of_scores", "mean_of_rounded_scores")
    )
    assert plain == pytest.approx(0.444) and rounded == pytest.approx(0.44)
    assert of_means == pytest.approx(0.5)


def opposite_trials():
    """p-hat - p-bar of two trials is 3, 0.5, 0.5 and -3.2, -0.4, -0.4: together small at once."""
    rows = []
    for trial, gaps in ((1, (3.0, 0.5, 0.5)), (2, (-3.2, -0.4, -0.4))):
        p_hat = [1000.0, *(9.0 + gap for gap in gaps)]
        for k, value in enumerate(p_hat):
            row = dict.fromkeys(metrics.FRACTIONS, 0.1 + k / 5) | {"me_ppl": 50.0, "p_hat": value}
            if k:
                row |= {"p_bar": 9.0, "dp": abs(value - 9.0)}
            if k > 1:
                row |= {"dp2": abs(value - p_hat[k - 1])}
            keys = {"dataset": "d-eligible", "model": "m", "method": "MEMIT", "trial": trial}
            rows.append(keys | {"k": k, "n_requests": 4} | row)
    return pd.DataFrame(rows, columns=list(metrics.COLUMNS))


@pytest.mark.parametrize(("stop_row", "k"), [("mean", 1), ("trial", 2)])
def test_stop_row(stop_row, k):
    """G.1: the means over trials meet the rule where no trial does; everything goes by one k."""
    frame, rule = opposite_trials(), Rule(stop_row)
    means = averaging(rule)
    assert pick_table(frame, rule)["stop"].tolist() == [k, k]
    assert pick_table(frame, rule)["row_proposed"].tolist() == [k, k]
    assert pick_table(frame, rule)["proposed"].tolist() == [2, 2]  # their own, in either case
    assert at_stop(frame, means)["k_text"].tolist() == [str(k)]
    tables = {
        name: build(name, frame, Selection("d-eligible"), means, Words("d")).frame
        for name in ("iterative", "neighbor", "iterative_all", "stopping", "stopping_all")
    }
    assert tables["iterative"]["k"].iloc[-1] == tables["neighbor"]["k"].iloc[-1] == str(k)
    every = tables["iterative_all"]
    assert every.loc[every["colour"] == "green", "k"].tolist() == [str(k)]
    for name in ("stopping", "stopping_all"):
        proposed = tables[name]["rules"].str.contains("proposed")
        assert tables[name].loc[proposed, "k"].tolist() == [str(k)]

    requests = frame[[*metrics.RUN, "k", *metrics.REQUEST_METRICS]]
    requests = pd.concat([requests.assign(request=i) for i in range(4)])
    few = Resampling(seed=1, resamples=9, exchanges=9)
    around = intervals(requests, frame, rule=rule, zeros="keep", resampling=few)
    assert set(around.loc[around["at"] == "stop", "k"]) == {k}
    tested = differences(requests, frame, rule=rule, zeros="keep", resampling=few)
    assert set(tested["a_k"]) == {str(k)}
    data = Data(frame, requests, averaging=means)
    assert data.stops["d-eligible", "m", "MEMIT"].k == k
    assert {picked["proposed"] for picked in data.picks.values()} == {k}
    assert set(data.stop_of.values()) == {k}
    planned = run_rows([RunKey("d-eligible", "m", "MEMIT", trial) for trial in (1, 2)], frame, rule)
    assert [(row.k, row.met) for row in planned] == [(k, True)] * 2


def test_round_per_trial():
    """F.3: each trial's fractions are rounded before they are averaged."""
    rows = trials(0.5).assign(eff_acc=1 / 3)
    kept, rounded = (averaging(Rule("trial"), round_per_trial=n) for n in (None, 2))
    assert aggregate(rows, ("k",), kept)["eff_acc"][0] == pytest.approx(1 / 3)
    assert aggregate(rows, ("k",), rounded)["eff_acc"][0] == 0.33
