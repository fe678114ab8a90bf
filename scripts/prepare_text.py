"""Articles for the covariance, and texts for ME-PPL: held-out sentences, or the published ones."""

import json
from pathlib import Path

from modeledit.data.readers import read_me_ppl
from modeledit.data.wikipedia import excerpt_path, read_articles, split_articles, utterances
from modeledit.io.files import finished
from modeledit.io.log import journal

HELD_OUT = 0.35  # of the articles: enough for 50 sentences, one per article

with journal(snakemake.log[0]) as log:
    text, seed = snakemake.params.text, snakemake.params.seed
    articles = read_articles(excerpt_path())
    train, held_out = split_articles(articles, HELD_OUT, seed)
    if len(train) < text["covariance_articles"]:
        raise ValueError(
            f"text.covariance_articles = {text['covariance_articles']}: the excerpt offers "
            f"{len(train)} articles for it; ask for at most that many"
        )
    if published := snakemake.input.get("perplexity"):
        sentences = read_me_ppl(Path(published))
    else:
        sentences = utterances(held_out, text["perplexity_texts"], seed)
    texts = {
        snakemake.output.covariance: [a.text for a in train[: text["covariance_articles"]]],
        snakemake.output.perplexity: sentences,
    }
    for path, lines in texts.items():
        log.info("%d texts into %s", len(lines), path)
        with finished(Path(path)) as temporary:
            written = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            temporary.write_text(written, encoding="utf-8")
