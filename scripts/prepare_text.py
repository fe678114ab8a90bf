"""Articles for the covariance, and texts for ME-PPL: held-out sentences, or the published ones."""

import logging
from pathlib import Path

from modeledit.data.readers import read_me_ppl
from modeledit.data.wikipedia import excerpt_texts
from modeledit.io.files import optional_path, write_texts
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.study.settings import Text

log = logging.getLogger("modeledit")


def prepare_text(
    text: Text, seed: int, published: Path | None, covariance: Path, perplexity: Path
) -> None:
    """Write the texts of the `covariance` and of ME-PPL, those of the file `published` if given."""
    articles, sentences = excerpt_texts(text, seed)
    if published:
        sentences = read_me_ppl(published)
    for path, texts in ((covariance, articles), (perplexity, sentences)):
        log.info("%d texts into %s", len(texts), path)
        write_texts(path, texts)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        prepare_text(
            Text(**snakemake.params.text),
            snakemake.params.seed,
            optional_path(snakemake.input.get("perplexity")),
            Path(snakemake.output.covariance),
            Path(snakemake.output.perplexity),
        )
