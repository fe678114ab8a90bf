# Models.
# Needs: a package that carries the weights (pinned by sha256), a local folder, or the model hub.
# Makes: resources/models/{model}/, a float32 safetensors copy with its digests in prepared.json.


rule prepare_model:
    input:
        source=model_source_file,
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
        runtime=60,
    params:
        source=model_source,
        expected=model_shape,
    message:
        "Preparing a float32 safetensors copy of {wildcards.model}"
    script:
        "../../scripts/prepare_model.py"
