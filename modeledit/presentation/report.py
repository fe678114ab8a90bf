"""The report: one HTML file with everything that a run of the pipeline has found.

It needs no network, no server and no other file: styles, scripts and figures are inside, numbers
that the page looks up are JSON. What a run did not make is reported as not run. The bytes depend on
the given files only.
"""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from modeledit.evaluation.aggregation import Averaging, by_run, pick_table, read_metrics
from modeledit.evaluation.behavior_metrics import BEHAVIOR_FRACTIONS, BEHAVIOR_METRICS
from modeledit.evaluation.metrics import COLLAPSED_ABOVE, FRACTIONS, RUN
from modeledit.io.files import read_json
from modeledit.io.frames import read_csv
from modeledit.paper import comparison
from modeledit.paper.claims import PRINTED
from modeledit.paper.judging import FAILS, HOLDS, IN_PART, NOT_RUN
from modeledit.presentation import TEMPLATES, VENDORED
from modeledit.presentation.findings import TITLES, findings, group_of
from modeledit.presentation.pages import html_environment
from modeledit.presentation.sequence_rows import SequenceRow, sequence_rows
from modeledit.presentation.single_edits import MAX_EDITS, RunFiles, build, number
from modeledit.presentation.typesetting import COLOURS
from modeledit.presentation.wording import describe_dataset, metric_words, small_model_note
from modeledit.study.config import planned_runs, planned_sequences
from modeledit.study.layout import RunKey
from modeledit.study.settings import Configuration
from modeledit.study.stopping import Rule
from modeledit.study.switches import Switches
from modeledit.study.validation import validate

# Columns of lists that hold a metric's value, in percent where the metric is a fraction.
VALUES = (
    "published", "ours", "difference", "sd", "low", "high", "mean", "mean_a", "mean_b", "value",
    "unedited",
)  # fmt: skip
TONES = {
    comparison.MATCH: "good",
    comparison.DIRECTION: "fair",
    comparison.DIFFERS: "bad",
    HOLDS: "good",
    IN_PART: "fair",
    FAILS: "bad",
}
PLURALS = {HOLDS: "hold", IN_PART: "hold in part", FAILS: "do not hold"}
SECTIONS = {
    "overview": "At a glance",
    "figures": "Figures",
    "edits": "Single edits",
    "tables": "Tables",
    "sequences": "Batches in sequence",
    "behavior": "What models say",
    "claims": "The paper’s claims",
    "comparison": "Published and reproduced",
    "statistics": "Statistics",
    "plan": "What was run",
    "provenance": "Provenance",
    "configuration": "Configuration",
}
OF_RUNS = ("overview", "edits", "claims", "comparison", "statistics")  # sections
LISTS = (  # sources that are CSV files, and on the page lists
    "intervals", "differences", "hardware", "sequences", "sequence_intervals",
    "sequence_comparison", "behavior", "behavior_tests",
)  # fmt: skip
# What of a published cell is listed: where it was run, and where it was not.
_CELL = ("table", "dataset", "model", "method", "k", "metric", "published", "verdict")
_COMPARED = (*_CELL, "ours", "difference", "sd", "low", "high", "tolerance", "reason")
STYLES = (VENDORED / "tabulator.min.css", TEMPLATES / "report.css")
LIBRARIES = tuple(VENDORED / f"{name}.min.js" for name in ("d3", "plot.umd", "tabulator"))
PARTS = tuple(
    TEMPLATES / name
    for name in ("report.js", "report_trajectories.js", "report_lists.js", "report_edits.js")
)


@dataclass(frozen=True)
class Sources:
    """The files that a report is made of; all but the configuration may be missing."""

    config: Path  # merged configuration, switches and models
    metrics: Path | None = None
    tables: Sequence[Path] = ()  # HTML fragments, with a CSV file of the same name beside each
    figures: Sequence[Path] = ()  # PNG, with a JSON record of the same name beside each
    claims: Path | None = None
    comparison: Path | None = None
    intervals: Path | None = None
    differences: Path | None = None
    hardware: Path | None = None
    sequences: Path | None = None
    sequence_intervals: Path | None = None
    sequence_comparison: Path | None = None
    behavior: Path | None = None
    behavior_tests: Path | None = None
    provenance: Path | None = None
    compiled: Path | None = None  # how the tables were typeset, in a line
    runs: Sequence[RunFiles] = ()  # for single edits


@dataclass(frozen=True)
class RunRow:
    """A planned run: the iterations done, the stopping picks, and the values at the stop.

    What a criterion picks is the run's own, None where it never fires; ``k`` is the stop by the
    rule, or the last iteration where it was not met. What follows ``done`` is None of a run that
    was not run.
    """

    dataset: str
    model: str
    method: str
    trial: int
    done: int = 0  # iterations
    proposed: int | None = None
    monotonic: int | None = None
    small_change: int | None = None
    k: int | None = None
    met: bool | None = None
    n_requests: float | None = None
    score_acc: float | None = None
    dp: float | None = None
    collapsed: bool | None = None

    @property
    def key(self) -> RunKey:
        return RunKey(self.dataset, self.model, self.method, self.trial)


def render(sources: Sources, max_edits: int = MAX_EDITS) -> str:
    """The report as HTML.

    At most ``max_edits`` edits of each run can be looked at one by one, before editing, after
    k = 1 and at the stop. Raises ValueError for bad metrics or scores.
    """
    text = sources.config.read_text(encoding="utf-8")
    settings = yaml.safe_load(text)
    config = validate(Configuration, settings["config"], str(sources.config), ("config",))
    models = settings["models"]
    switches = Switches(**settings["switches"])
    rule = Rule(switches.stop_row, config.stop.epsilon)
    metrics = None if sources.metrics is None else read_metrics(sources.metrics)
    runs = run_rows([run.key for run in planned_runs(config)], metrics, rule)
    sequences = sequence_rows(planned_sequences(config), sources.sequences)
    stops = {row.key: row.k if row.met else None for row in runs}
    single = build(sources.runs, switches, stops, max_edits)
    titles = {name: model["title"] for name, model in models.items()}
    claims = _read_claims(sources.claims)
    cells = None if sources.comparison is None else read_csv(sources.comparison)
    averaging = Averaging.of(switches, config.stop.epsilon)
    figures = [_figure(path, [*runs, *sequences], models) for path in sources.figures]
    scripts = _scripts()
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            name=config.name,
            config=config,
            models=models,
            overridden=config.switches,
            warning=small_model_note(
                sorted(model["title"] for model in models.values() if not model["comparable"])
            ),
            sections=_sections(runs, sequences, sources.behavior is not None),
            plan=config.runs,
            runs=runs,
            sequences=sequences,
            rule=rule,
            trajectories=[one for one in figures if one["kind"] == "trajectories"],
            findings=findings(metrics, claims, averaging, titles),
            claims=_claims(claims),
            tables=[_table(path) for path in sources.tables],
            figures=sorted(
                (one for one in figures if one["kind"] != "trajectories"), key=_place_of_figure
            ),
            comparison=_comparison(cells),
            lists=_lists(sources, cells),
            hardware=_used(sources.hardware),
            index=single.runs,
            rows=single.rows,
            blocks=single.blocks,
            max_edits=max_edits,
            compiled=sources.compiled.read_text(encoding="utf-8") if sources.compiled else "",
            provenance=None if sources.provenance is None else read_json(sources.provenance),
            configuration=text,
            colours=COLOURS,
            style=Markup("\n".join(path.read_text(encoding="utf-8") for path in STYLES)),
            scripts=[Markup(script) for script in scripts],
            digests=[_digest(script) for script in scripts],
        )
    )


def _scripts() -> list[str]:
    """What runs in the page: the libraries, each as it was published, then our own in one."""
    ours = "\n".join(path.read_text(encoding="utf-8") for path in PARTS)
    return [*(path.read_text(encoding="utf-8") for path in LIBRARIES), ours]


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _lists(sources: Sources, cells: pd.DataFrame | None) -> dict[str, Any]:
    """The page's lists by name: those of LISTS that are there, and the published cells in two."""
    found = {
        name: listing(read_csv(path))
        for name in LISTS
        if (path := getattr(sources, name)) is not None
    }
    if cells is not None:
        run = cells["ours"].notna()
        found["comparison"] = listing(cells.loc[run, list(_COMPARED)])
        found["comparison_rest"] = listing(cells.loc[~run, list(_CELL)])
    return found


def run_rows(planned: Sequence[RunKey], metrics: pd.DataFrame | None, rule: Rule) -> list[RunRow]:
    """One row per planned run; where it stops is said by ``rule``."""
    if metrics is None:
        return [RunRow(*run) for run in planned]
    measured = dict(by_run(metrics))
    chosen = pick_table(metrics, rule).set_index(list(RUN)).to_dict("index")
    rows = []
    for run in planned:
        if run not in chosen:
            rows.append(RunRow(*run))
            continue
        pick, steps = chosen[run], measured[run].set_index("k")
        k = int(pick["stop"])
        at = steps.to_dict("index")[k]
        rows.append(
            RunRow(
                *run,
                done=int(steps.index.max()),
                proposed=_whole(pick["proposed"]),
                monotonic=_whole(pick["monotonic"]),
                small_change=_whole(pick["small_change"]),
                k=k,
                met=bool(pick["met"]),
                n_requests=float(at["n_requests"]),
                score_acc=float(at["score_acc"]),
                dp=float(at["dp"]),
                collapsed=bool(at["me_ppl"] > COLLAPSED_ABOVE),
            )
        )
    return rows


def _sections(
    runs: Sequence[RunRow], sequences: Sequence[SequenceRow], observed: bool
) -> dict[str, str]:
    """Titles of the sections that a study of these has; `observed` says that behavior was."""
    left_out = set() if runs else set(OF_RUNS)
    if not sequences:
        left_out.add("sequences")
    if not observed:
        left_out.add("behavior")
    return {name: title for name, title in SECTIONS.items() if name not in left_out}


def _whole(k: Any) -> int | None:
    """A k of `pick_table`, whose missing values are pandas'."""
    return None if pd.isna(k) else int(k)


def listing(frame: pd.DataFrame) -> dict[str, Any]:
    """A CSV file's frame for the page's lists: columns, rows, and the tones of verdicts.

    Values of metrics that are fractions become percentages; a missing value is None.
    """
    if "metric" in frame.columns:
        fractions = [*FRACTIONS, *BEHAVIOR_FRACTIONS]
        scale = frame["metric"].isin(fractions).map({True: 100.0, False: 1.0})
        values = {name: frame[name] * scale for name in VALUES if name in frame.columns}
        frame = frame.assign(**values, metric=frame["metric"].map(_words))
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False, name=None)]
    return {
        "columns": [str(name) for name in frame.columns],
        "rows": rows,
        "tones": TONES,
    }


def caption(record: Mapping[str, Any]) -> str:
    """What a figure shows, from the record beside it; empty for a figure that is not known."""
    label = record.get("label") or "one edit"
    if record.get("figure") == "qualitative":
        return (
            f"{label}: the likeliest next token and its probability, for the edit, paraphrases and "
            "neighbors, from stage to stage (paper, Figure 1)."
        )
    if record.get("figure") == "algorithms":
        return (
            "Where each algorithm adds what OPTIMIZATION finds, and which matrices SPREAD writes "
            "(paper, Figure 2)."
        )
    if record.get("figure") == "perplexity_stages":
        end = "until" if record["met"] else "within the budget, which did not suffice for"
        scale = "Box-Cox transformed" if record["scale"] == "boxcox" else "logarithmic"
        return (
            f"{label}: perplexity of the new object before editing and after OPTIMIZATION and "
            f"SPREAD of each iteration, {end} |Δp| ≤ {record['epsilon']:g} for this edit; the axis "
            f"is {scale} (paper, Figure 3)."
        )
    if record.get("figure") == "underedit":
        missed = record["n_underedit"]
        some = f" and for the {missed} that iteration 1 missed"
        return (
            f"Efficacy accuracy and |Δp| by iteration, for all {record['n_all']} edits"
            f"{some if missed else '; iteration 1 missed none'} (paper, Figure 4)."
        )
    if record.get("figure") == "neighbor_count":
        counts = ", ".join(str(n) for n in record["n_neighbors"])
        return (
            f"{record['algorithm']} with {counts} neighbors in the loss: accuracies at the stop; "
            "bars are standard deviations over trials."
        )
    if record.get("figure") == "sequence":
        return (
            f"Batches edited one after another; efficacy and specificity are {record['measure']}. "
            "By the number of edits: efficacy of everything edited so far, and of the batches "
            "before the last, specificity, "
            "ME-PPL, and how far the edited matrix that moved most is from the unedited one; last, "
            "efficacy after the last batch by where in the sequence a fact was edited. Bands: 95% "
            "over requests; grey: the unedited model; a cross: the model collapsed."
        )
    if record.get("figure") == "behavior":
        return (
            "What models say by themselves: open markers after k = 1, filled ones at the stop, "
            "with 95% intervals over requests; dashed: the unedited model."
        )
    if record.get("figure") == "stages":
        return (
            f"{record['algorithm']} with both stages repeated, with SPREAD alone (the targets of "
            "k = 1 are kept), and with OPTIMIZATION alone (the targets are optimised further and "
            "written once), by iteration."
        )
    if record.get("figure") == "null_space":
        return (
            "Eigenvalues of the covariance of the keys, smallest first. A dot: where the null "
            "space that AlphaEdit writes into ends; beside each layer the share of directions in "
            "it, and the share of the mean squared key that an update still reaches."
        )
    return ""


# --------------------------------------------------------------------------------------------
# Parts of the page


def _table(path: Path) -> dict[str, Any]:
    beside = path.with_suffix(".csv")
    return {
        "html": Markup(path.read_text(encoding="utf-8")),
        "csv": _data_uri(beside, "text/csv") if beside.is_file() else None,
        "name": beside.name,
        "kind": path.stem.rpartition(".")[2],
    }


def _figure(
    path: Path, runs: Sequence[RunRow | SequenceRow], models: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    beside = path.with_suffix(".json")
    record = read_json(beside) if beside.is_file() else {}
    name = record.get("figure", "")
    # {dataset}.{model}.{method}.{figure}, {model}.{figure}, or the figure's name alone.
    where = path.stem.removesuffix(name).removesuffix(".")
    if name == "null_space" and where in models:
        where = models[where]["title"]
    for run in runs:
        start = f"{run.dataset}.{run.model}."
        if f"{where}.".startswith(start):
            place = f"{models[run.model]['title']}, {describe_dataset(run.dataset)}"
            of = where.removeprefix(start[:-1]).removeprefix(".")
            where = f"{of} on {place}" if of else place
            break
    return {
        "id": f"fig-{path.stem.replace('.', '-')}",
        "image": _data_uri(path, "image/png"),
        "where": where.replace("batches_of_", "batches of "),
        "alt": ": ".join(filter(None, (where, name.replace("_", " ")))) or path.stem,
        "caption": caption(record),
        "kind": name,
        "wide": name in ("qualitative", "algorithms", "behavior"),
        "data": {"where": where, "record": record} if name == "trajectories" else None,
    }


def _place_of_figure(figure: Mapping[str, Any]) -> int:
    """What is looked at first comes first; the schematic of the algorithms comes last."""
    return {"qualitative": 0, "algorithms": 2}.get(figure["kind"], 1)


def _comparison(cells: pd.DataFrame | None) -> dict[str, Any] | None:
    """How many published cells were run and how many not; of each table by verdict."""
    if cells is None:
        return None
    run = int(cells["ours"].notna().sum())
    return {"run": run, "rest": len(cells) - run, "summary": comparison.summary(cells)}


def _used(path: Path | None) -> dict[str, Any] | None:
    """Sums and peaks over all jobs that edited, None where there were none."""
    if path is None:
        return None
    frame = read_csv(path)
    if frame.empty:
        return None
    numbers = frame[["seconds", "peak_device_gb", "peak_host_gb", "energy_kwh"]].astype(float)
    return {
        "jobs": len(frame),
        "devices": sorted(frame["device"].dropna().unique()),
        "hours": numbers["seconds"].sum() / 3600,
        "device_gb": numbers["peak_device_gb"].max(),
        "host_gb": numbers["peak_host_gb"].max(),
        "kwh": numbers["energy_kwh"].sum(min_count=1),
    }


def _read_claims(path: Path | None) -> pd.DataFrame | None:
    return None if path is None else pd.read_csv(path, dtype=str, keep_default_na=False)


def _claims(frame: pd.DataFrame | None) -> dict[str, Any] | None:
    """Claims with their verdicts by scope: by group those that were judged here, then the rest.

    A scope in which no claim could be judged is left out, but for a claim that has no other.
    """
    if frame is None:
        return None
    silent_scopes = {
        str(scope) for scope, own in frame.groupby("scope") if set(own["verdict"]) == {NOT_RUN}
    }
    judged: dict[str, list[list[dict]]] = {}
    silent = []
    for _, rows in frame.groupby("id", sort=False):
        ours = rows[rows["scope"] != PRINTED]
        shown = rows[~rows["scope"].isin(silent_scopes)].to_dict("records")
        if (ours["verdict"] != NOT_RUN).any():
            judged.setdefault(TITLES[group_of(rows["section"].iloc[0])], []).append(shown)
        else:
            silent.append(shown or rows.to_dict("records"))
    return {"judged": judged, "silent": silent}


def _words(metric: str) -> str:
    """eff_acc as "efficacy accuracy"; perplexities keep the names of their columns."""
    if metric in BEHAVIOR_METRICS:
        return BEHAVIOR_METRICS[metric].heading
    if metric not in FRACTIONS:
        return metric
    return metric_words(metric)


def _cell(value: Any) -> Any:
    """A value for JSON; numbers as in `single_edits.number`."""
    return value if isinstance(value, str | bool) else number(value, 6)


# --------------------------------------------------------------------------------------------
# The page


def _environment() -> jinja2.Environment:
    environment = html_environment()
    # `tojson` escapes <, > and &, so no text can end the script element it stands in.
    environment.policies["json.dumps_kwargs"] = {
        "separators": (",", ":"),
        "ensure_ascii": False,
        "allow_nan": False,
    }
    environment.filters |= {
        "dataset": describe_dataset,
        "number": _printed,
        "percent": lambda value: "–" if _missing(value) else f"{100 * value:.2f}",
        "plural": lambda verdict, n: verdict if n == 1 else PLURALS[verdict],
        "tone": lambda verdict: TONES.get(verdict, ""),
    }
    return environment


def _printed(value: Any, digits: int = 4) -> str:
    if _missing(value):
        return "–"
    if isinstance(value, float) and math.isinf(value):
        return "∞"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.{digits}g}"


def _missing(value: Any) -> bool:
    return value is None or pd.isna(value)


def _data_uri(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
