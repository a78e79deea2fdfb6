"""From a small network to all that is measured on it, by one job.

REQUIRED INPUTS: <results>/{run}/checkpoint.json, <results>/datasets/{dataset}/dataset.json
OUTPUTS: those of record_activations, class_statistics, unit_measures, unit_ablation,
cumulative_ablation and noise_robustness

The files stay where they are until the job has seen which of them must be made again. What a file
must be made from stands in the file: Snakemake does not compare the settings.
"""


rule measure_network:
    """Do all steps of a network whose files are missing or do not fit."""
    input:
        checkpoint=get_checkpoint,
        dataset=get_dataset,
    output:
        # In the order in which they are made of each other, for Snakemake dates them in this order.
        train=update("<results>/{network}/train/activations.json"),
        test=update("<results>/{network}/test/activations.json"),
        norms=update("<results>/{network}/l1_norm.nc"),
        train_statistics=update("<results>/{network}/train/class_statistics.nc"),
        test_statistics=update("<results>/{network}/test/class_statistics.nc"),
        measures=update("<results>/{network}/unit_measures.nc"),
        units=update("<results>/{network}/unit_ablation.nc"),
        curves=update("<results>/{network}/cumulative_ablation.nc"),
        noise=update("<results>/{network}/noise_robustness.nc"),
    log:
        "<logs>/measure_network/{network}.log",
    benchmark:
        "<benchmarks>/measure_network/{network}.tsv"
    wildcard_constraints:
        network=OF_ONE_JOB,
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("measure_network", 4000),
        runtime=get_minutes("measure_network"),
        gpu=0,
        gres="",
    params:
        network=subpath(output.train, ancestor=2),
        steps=get_steps,
    shell:
        "python -m unitlens measure-network --steps {params.steps:q} --threads {threads} --gpu {resources.gpu} --gres={resources.gres:q}"
        " --log {log:q} {input.dataset:q} {params.network:q}"
