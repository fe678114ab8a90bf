"""Fact editing in language models: the library behind the workflow (no Snakemake inside)."""
