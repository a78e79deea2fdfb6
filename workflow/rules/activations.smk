"""From a network to the activations of its units.

REQUIRED INPUTS: <results>/{run}/checkpoint.json, <results>/datasets/{dataset}/dataset.json
OUTPUTS: <results>/{network}/{split}/activations.json, <results>/{network}/l1_norm.nc

The stores themselves (activations.zarr) are not declared: Snakemake would remove them before a
job and after a failure, and a store is resumed shard by shard.
"""


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
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        network=subpath(output.train, ancestor=2),
        settings=as_json(MEASUREMENTS.activations),
        code=code_digest("unitlens.recording", "unitlens.networks.weights"),
    shell:
        "python -m unitlens record-activations --settings {params.settings:q} --code {params.code}"
        " --threads {threads} --log {log:q} {input.dataset:q} {params.network:q}"
