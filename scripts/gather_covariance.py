"""Gather the second moments of the keys of all edited layers in one pass."""

from pathlib import Path

from modeledit.data.wikipedia import read_sample, sample_articles
from modeledit.editing.covariance_files import gather
from modeledit.io.files import read_json, read_texts
from modeledit.io.log import journal
from modeledit.io.matrices import write_matrices
from modeledit.lm.device import prepare_device
from modeledit.lm.model import load_model
from modeledit.study.config import FAST_TOKENS

with journal(snakemake.log[0]) as log:
    params, output = snakemake.params, Path(snakemake.output.covariance)
    compute = params.compute
    device = prepare_device(compute["device"], snakemake.threads, compute["deterministic"])
    folder, paths = Path(snakemake.input.model), [Path(path) for path in snakemake.input.text]
    model, tokenizer = load_model(folder, device)
    recipe = params.recipe | {"base": read_json(folder / "prepared.json")["weights_sha256"]}
    length, most_tokens = recipe["max_length"], None
    context = model.model.config.max_position_embeddings
    if recipe["source"] == "embedded":
        texts = read_texts(paths[0])
    else:
        count = int(recipe["articles"]) if recipe["source"] == "recompute" else None
        texts = sample_articles(paths, count, int(recipe["seed"]))
    if recipe["source"] == "fast":
        most_tokens = FAST_TOKENS * model.down_weight(params.layers[0]).shape[1]
        log.warning("source fast: %d tokens only, a rough covariance", most_tokens)
    unfinished = output.with_suffix(".partial.safetensors")
    sums = gather(
        model,
        tokenizer,
        lambda n: texts[n:] if recipe["source"] == "embedded" else read_sample(paths, texts[n:]),
        params.layers,
        context if length == "context" else int(length),
        recipe,
        unfinished,
        params.every,
        most_tokens,
        len(texts),
    )
    log.info("%d tokens of %d texts", sums.tokens, sums.texts)
    matrices = {f"layer{layer}": matrix.numpy() for layer, matrix in sums.moments().items()}
    write_matrices(output, matrices, recipe | {"tokens": str(sums.tokens)})
    unfinished.unlink(missing_ok=True)
