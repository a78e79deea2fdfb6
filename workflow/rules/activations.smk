"""From a network to the activations of its units.

REQUIRED INPUTS: <results>/{run}/checkpoint.json, <results>/datasets/{dataset}/dataset.json
OUTPUTS: <results>/{network}/{split}/activations.json, <results>/{network}/l1_norm.nc

The stores themselves (activations.zarr) are not declared: Snakemake would remove them before a
job and after a failure, and a store is resumed shard by shard.

One job records a network, or as many as activations.parts of its measurements says, and one that
merges their parts.
"""


ruleorder: merge_activations > record_activations


rule record_activations:
    """Run a network over both splits and write every unit's activation."""
    input:
        checkpoint=get_checkpoint,
        dataset=get_dataset,
    output:
        train="<results>/{network}/train/activations.json",
        test="<results>/{network}/test/activations.json",
        norms="<results>/{network}/l1_norm.nc",
    log:
        "<logs>/record_activations/{network}.log",
    benchmark:
        "<benchmarks>/record_activations/{network}.tsv"
    wildcard_constraints:
        network=OF_SEVERAL_JOBS,
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("record_activations", 4000),
        runtime=get_minutes("record_activations"),
        gpu=0,
        gres="",
    params:
        network=subpath(output.train, ancestor=2),
        settings=get_settings("activations"),
        site=get_site("activations"),
        code=step_code("record_activations"),
    shell:
        "python -m unitlens record-activations --settings {params.settings:q} --site {params.site:q}"
        " --code {params.code}"
        " --threads {threads} --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q} {input.dataset:q} {params.network:q}"


rule record_part:
    """Run a network over its share of both splits and write a part of every layer's shards."""
    input:
        checkpoint=get_checkpoint,
        dataset=get_dataset,
    output:
        "<results>/{network}/parts/{part}-of-{of}.json",
    log:
        "<logs>/record_part/{network}/{part}-of-{of}.log",
    benchmark:
        "<benchmarks>/record_part/{network}/{part}-of-{of}.tsv"
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("record_part", 4000),
        runtime=get_minutes("record_part"),
        gpu=0,
        gres="",
    params:
        network=subpath(output[0], ancestor=2),
        settings=get_settings("activations"),
        site=get_site("activations"),
        code=step_code("record_activations"),
    shell:
        "python -m unitlens record-part --part {wildcards.part} --of {wildcards.of}"
        " --settings {params.settings:q} --site {params.site:q} --code {params.code} --threads {threads} --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q}"
        " {input.dataset:q} {params.network:q} {output:q}"


rule merge_activations:
    """Make stores of the parts of both splits, without reading or moving a shard."""
    input:
        parts=get_parts,
        checkpoint=get_checkpoint,
        dataset=get_dataset,
    output:
        train="<results>/{network}/train/activations.json",
        test="<results>/{network}/test/activations.json",
        norms="<results>/{network}/l1_norm.nc",
    log:
        "<logs>/merge_activations/{network}.log",
    benchmark:
        "<benchmarks>/merge_activations/{network}.tsv"
    wildcard_constraints:
        network=IN_PARTS,
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("merge_activations", 2000),
    params:
        network=subpath(output.train, ancestor=2),
        settings=get_settings("activations"),
        code=step_code("record_activations"),
        merging=code_digest("merge_activations"),
    shell:
        "python -m unitlens merge-activations --settings {params.settings:q} --code {params.code}"
        " --log {log:q} {input.dataset:q} {params.network:q}"
