"""Sample the context templates of a model once; every edit and iteration reuses them."""

from pathlib import Path

from modeledit.io.files import write_json
from modeledit.io.log import journal
from modeledit.lm.contexts import generate_contexts
from modeledit.lm.device import prepare_device
from modeledit.lm.model import load_model

with journal(snakemake.log[0]):
    compute = snakemake.params.compute
    device = prepare_device(compute["device"], snakemake.threads, compute["deterministic"])
    model, tokenizer = load_model(Path(snakemake.input.model), device)
    seed = snakemake.params.seed
    templates = {
        name: generate_contexts(model.model, tokenizer, lengths, seed)
        for name, lengths in snakemake.params.sets.items()
    }
    write_json(Path(snakemake.output[0]), {"seed": seed, "templates": templates})
