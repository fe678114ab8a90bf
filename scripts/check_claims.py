"""Each of the paper's claims against our metrics and against its own printed rows."""

from pathlib import Path

from modeledit.evaluation.aggregation import Averaging, read_metrics
from modeledit.evaluation.request_values import read_requests
from modeledit.io.files import finished
from modeledit.io.log import journal
from modeledit.paper.claims import check_claims
from modeledit.paper.published import as_metrics, read_tables

with journal(snakemake.log[0]) as log:
    claims = check_claims(
        read_metrics(snakemake.input.metrics),
        read_requests(snakemake.input.requests, snakemake.input.edits),
        small=snakemake.params.small,
        printed=as_metrics([6, 7, 8, 9], read_tables(Path(snakemake.input.tables).parent)),
        averaging=Averaging.of(snakemake.params.switches, snakemake.params.epsilon),
        names=snakemake.params.titles,
    )
    log.info("%s", claims.groupby(["scope", "verdict"]).size().to_string())
    with finished(Path(snakemake.output[0])) as path:
        claims.to_csv(path, index=False)
