# What the rules of published files and models ask: inputs, parameters, resources.

from modeledit.fetch.folder import model_files


def published_source(wildcards):
    """Where a published file lies and what its sha256 is."""
    return asdict(DOWNLOADS[wildcards.file])


def source_of_model(wildcards):
    """Where a model comes from; plain data, which a cache between workflows can take a digest of."""
    return asdict(STUDY.source(wildcards.model))


def shape_of_model(wildcards):
    """Family and size of a model, as its description says; plain data too."""
    return asdict(SETTINGS.models[wildcards.model].shape)


def source_files(wildcards):
    """The files that a model is prepared from; of a folder, whatever may be read of it."""
    path = STUDY.source_path(wildcards.model)
    if path is None or not Path(path).is_dir():
        return path or []
    return [str(file) for file in model_files(Path(path))]


def source_state(wildcards):
    """Sizes and times of these files: a copy may be older than what it takes the place of."""
    path = STUDY.source_path(wildcards.model)
    files = model_files(Path(path)) if path and Path(path).is_dir() else []
    stats = {file.name: file.stat() for file in files}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def model_access(wildcards):
    """The early word that a gated model may be fetched; nothing for others."""
    gated = source_of_model(wildcards).get("gated")
    return layout.ACCESS.format(**wildcards) if gated else []
