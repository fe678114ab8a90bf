# From the raw scores of batches edited one after another to what holds and what is forgotten.
# Needs: the requests of a trial, unedited scores; scores, state and norms of every batch.
# Makes: metrics and per-request values of each sequence; of all sequences sequences.csv,
# sequence_intervals.csv and sequence_comparison.csv; a table for each dataset, figures.

from modeledit.paper.published import SEQUENCE_MODELS
from modeledit.study.config import ELIGIBLE


include: "../inputs/sequence_results.smk"


ruleorder: render_sequences > render_table


rule sequences:
    input:
        of_sequences("sequences.csv"),
        of_sequences("sequence_intervals.csv"),
        of_sequences("sequence_comparison.csv"),
        [] if CONFIG.partial else STUDY.every_kept_matrix(),


rule evaluate_sequence:
    input:
        requests=asked(STUDY.requests, "dataset", "model", "trial"),
        unedited=FILES.unedited_scores,
        scores=every_batch("scores.parquet"),
        states=every_batch("state.json"),
        norms=every_batch("norms.csv"),
        # so that whatever is asked for, requests that do not fill all batches are refused
        batches=[] if CONFIG.partial else FILES.sequence("batches.csv"),
    output:
        metrics=FILES.sequence("metrics.csv"),
        requests=FILES.sequence("request_metrics.parquet"),
    log:
        FILES.log(f"{layout.SEQUENCE}/metrics"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("evaluate_sequence", "evaluation"),
        batches=batches_of,
        n_batches=count_of,
        switches=SWITCHES,
    message:
        "Metrics of {wildcards.method} in batches of {wildcards.size} on {wildcards.dataset}, {wildcards.model},"
        " trial {wildcards.trial}"
    script:
        "../../scripts/evaluate_sequence.py"


rule aggregate_sequences:
    input:
        metrics=reported_sequences("metrics.csv"),
        requests=reported_sequences("request_metrics.parquet"),
    output:
        sequences=FILES.overall("sequences.csv"),
        intervals=FILES.overall("sequence_intervals.csv"),
    log:
        FILES.log("sequences"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("aggregate_sequences", "evaluation"),
        seed=CONFIG.seed,
        zeros=SWITCHES.score_zeros,
    message:
        "Gathering the metrics of all sequences, with intervals over requests"
    script:
        "../../scripts/aggregate_sequences.py"


rule compare_sequences:
    input:
        sequences=FILES.overall("sequences.csv"),
        intervals=FILES.overall("sequence_intervals.csv"),
        anchors=project("modeledit/paper/printed/sequences.csv"),
    output:
        FILES.overall("sequence_comparison.csv"),
    log:
        FILES.log("sequence_comparison"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("compare_sequences", "paper", "evaluation"),
        sources={name: d.source for name, d in CONFIG.datasets.items()},
        epsilon=CONFIG.stop.epsilon,
        switches=SWITCHES,
    message:
        "Setting published numbers of sequential editing beside ours"
    script:
        "../../scripts/compare_sequences.py"


rule render_sequences:
    input:
        sequences=FILES.overall("sequences.csv"),
        comparison=FILES.overall("sequence_comparison.csv"),
        templates=templates("frame.tex.j2"),
    output:
        tex=FILES.table("{dataset}.sequence", "tex"),
        csv=FILES.table("{dataset}.sequence", "csv"),
        md=FILES.table("{dataset}.sequence", "md"),
        html=report(
            FILES.table("{dataset}.sequence", "html"),
            caption="../report/table.rst",
            category="Tables",
            subcategory="{dataset}",
            labels={"table": "sequence"},
        ),
    log:
        FILES.log("tables/{dataset}.sequence"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("render_sequences", "presentation", "evaluation"),
        titles=SETTINGS.titles,
        small=small_models(),
        epsilon=CONFIG.stop.epsilon,
        switches=SWITCHES,
    message:
        "Table of the sequences on {wildcards.dataset}"
    script:
        "../../scripts/render_sequences.py"


rule draw_sequence:
    input:
        sequences=FILES.overall("sequences.csv"),
        intervals=FILES.overall("sequence_intervals.csv"),
        templates=templates("paper.mplstyle"),
    output:
        figure=report(
            FILES.figure("{dataset}.{model}.batches_of_{size}.sequence", "png"),
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{dataset}",
            labels={
                "figure": "batches in sequence",
                "of": "batches of {size}, {model}",
            },
        ),
        pdf=FILES.figure("{dataset}.{model}.batches_of_{size}.sequence", "pdf"),
        record=FILES.figure("{dataset}.{model}.batches_of_{size}.sequence", "json"),
    log:
        FILES.log("figures/{dataset}.{model}.batches_of_{size}.sequence"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("draw_sequence", "presentation/figures", "evaluation"),
        measure=measure_of,
        titles=SETTINGS.titles,
        small=small_models(),
        epsilon=CONFIG.stop.epsilon,
        switches=SWITCHES,
    message:
        "Batches of {wildcards.size} in sequence on {wildcards.dataset}, {wildcards.model}"
    script:
        "../../scripts/draw_sequence.py"
