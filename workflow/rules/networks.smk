"""From a configuration to trained networks.

REQUIRED INPUTS: none beside the files that the data sets are read from.
OUTPUTS: <results>/datasets/{dataset}/dataset.json, <results>/{run}/checkpoint.json
"""


rule prepare_dataset:
    """Check and convert a data set once, so that no other job parses it."""
    input:
        get_nothing,
    output:
        kept_where_shared("<results>/datasets/{dataset}/dataset.json"),
        packed=where_stored("<results>/datasets/{dataset}/prepared.tar"),
    log:
        "<logs>/prepare_dataset/{dataset}.log",
    benchmark:
        "<benchmarks>/prepare_dataset/{dataset}.tsv"
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("prepare_dataset", 4000),
    params:
        spec=get_dataset_spec,
        data=Untracked(PLAN.config.data),
        download=Untracked("--download" if PLAN.config.download else ""),
        declared=lambda wildcards: repr(
            DATASETS.get(PLAN.datasets[wildcards.dataset].name)
        ),
        code=code_digest("prepare_dataset"),
        user=lambda wildcards: user_code_digest(PLAN.datasets[wildcards.dataset].name),
    shell:
        "python -m unitlens prepare-dataset --spec {params.spec:q} --data {params.data:q}"
        " {params.download} --code {params.code} --user-code={params.user} --log {log:q} "
        + (
            pack("{output[0]:q}", "{output.packed:q}", PREPARED)
            if STORED
            else "{output:q}"
        )


rule train:
    """Train one network, or take it as its weights file has it; a killed training resumes.

    A finished network stays where it is until the job has seen that it must be another one.
    """
    input:
        dataset=get_dataset,
        weights=get_weights,
    output:
        record=kept_where_shared("<results>/{run}/checkpoint.json"),
        weights=kept_where_shared("<results>/{run}/checkpoint.safetensors"),
        history=kept_where_shared("<results>/{run}/history.nc"),
        kept=where_stored("<results>/{run}/kept_epochs.tar"),
    log:
        "<logs>/train/{run}.log",
    benchmark:
        "<benchmarks>/train/{run}.tsv"
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("train", 4000),
        runtime=get_minutes("train"),
        gpu=0,
        gres="",
    params:
        identity=get_identity,
        spec=get_run_spec,
        failed=PLAN.config.failed_runs,
        code=code_digest("train"),
        user=lambda wildcards: user_code_digest(
            PLAN.runs[wildcards.run].spec.model.name
        ),
        kept=get_kept_epochs,
    shell:
        "python -m unitlens train --spec {params.spec:q} --code {params.code}"
        " --user-code={params.user} --failed-runs {params.failed} --threads {threads} --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q} {input.dataset:q} "
        + (
            pack("{output.record:q}", "{output.kept:q}", "{params.kept}")
            if STORED
            else "{output.record:q}"
        )


if STORED:

    rule unpack_epoch:
        """Unpack the network of a kept epoch."""
        input:
            "<results>/{run}/kept_epochs.tar",
        output:
            "<results>/{run}/{epoch}/checkpoint.json",
            "<results>/{run}/{epoch}/checkpoint.safetensors",
        wildcard_constraints:
            epoch=r"epoch-\d{4}(?:\.\d+)?",
        shell:
            unpack("{input:q}", "{wildcards.epoch}")
