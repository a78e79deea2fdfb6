"""From a network to what it loses when its units are perturbed.

REQUIRED INPUTS: <results>/{run}/checkpoint.json, <results>/datasets/{dataset}/dataset.json
OUTPUTS: <results>/{network}/unit_ablation.nc, <results>/{network}/cumulative_ablation.nc,
<results>/{network}/noise_robustness.nc

One job makes a table, or as many as `parts` of its section says, and one that joins their parts.
"""


ruleorder: merge_tables > unit_ablation
ruleorder: merge_tables > cumulative_ablation
ruleorder: merge_tables > noise_robustness


rule unit_ablation:
    """Ablate every unit, one at a time."""
    input:
        checkpoint=get_checkpoint,
        dataset=get_dataset,
        measures=get_measures("unit_ablation"),
    output:
        "<results>/{network}/unit_ablation.nc",
    log:
        "<logs>/unit_ablation/{network}.log",
    benchmark:
        "<benchmarks>/unit_ablation/{network}.tsv"
    wildcard_constraints:
        network=OF_SEVERAL_JOBS,
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("unit_ablation", 4000),
        runtime=get_minutes("unit_ablation"),
        gpu=0,
        gres="",
    params:
        network=subpath(output[0], parent=True),
        settings=get_settings("unit_ablation"),
        site=get_site("unit_ablation"),
        code=step_code("unit_ablation"),
    shell:
        "python -m unitlens unit-ablation --settings {params.settings:q} --site {params.site:q}"
        " --code {params.code} --threads {threads} --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q} {input.dataset:q} {params.network:q}"


rule cumulative_ablation:
    """Ablate more and more units, in random orders and in those of measures."""
    input:
        checkpoint=get_checkpoint,
        dataset=get_dataset,
        measures=get_measures("cumulative_ablation"),
        components=get_components,
    output:
        "<results>/{network}/cumulative_ablation.nc",
    log:
        "<logs>/cumulative_ablation/{network}.log",
    benchmark:
        "<benchmarks>/cumulative_ablation/{network}.tsv"
    wildcard_constraints:
        network=OF_SEVERAL_JOBS,
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("cumulative_ablation", 4000),
        runtime=get_minutes("cumulative_ablation"),
        gpu=0,
        gres="",
    params:
        network=subpath(output[0], parent=True),
        settings=get_settings("cumulative_ablation"),
        site=get_site("cumulative_ablation"),
        code=step_code("cumulative_ablation"),
    shell:
        "python -m unitlens cumulative-ablation --settings {params.settings:q} --site {params.site:q}"
        " --code {params.code} --threads {threads} --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q} {input.dataset:q} {params.network:q}"


rule noise_robustness:
    """Add noise to all units at once."""
    input:
        checkpoint=get_checkpoint,
        dataset=get_dataset,
        measures="<results>/{network}/unit_measures.nc",
    output:
        "<results>/{network}/noise_robustness.nc",
    log:
        "<logs>/noise_robustness/{network}.log",
    benchmark:
        "<benchmarks>/noise_robustness/{network}.tsv"
    wildcard_constraints:
        network=OF_SEVERAL_JOBS,
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("noise_robustness", 4000),
        runtime=get_minutes("noise_robustness"),
        gpu=0,
        gres="",
    params:
        network=subpath(output[0], parent=True),
        settings=get_settings("noise_robustness"),
        site=get_site("noise_robustness"),
        code=step_code("noise_robustness"),
    shell:
        "python -m unitlens noise-robustness --settings {params.settings:q} --site {params.site:q}"
        " --code {params.code} --threads {threads} --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q} {input.dataset:q} {params.network:q}"


rule perturb_part:
    """Perturb a network by a part of the units, orders or draws."""
    input:
        checkpoint=get_checkpoint,
        dataset=get_dataset,
        measures=get_perturbation(get_measures),
        components=get_components,
    output:
        "<results>/{network}/parts/{perturbation}/{part}-of-{of}.nc",
    log:
        "<logs>/perturb_part/{network}/{perturbation}/{part}-of-{of}.log",
    benchmark:
        "<benchmarks>/perturb_part/{network}/{perturbation}/{part}-of-{of}.tsv"
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("perturb_part", 4000),
        runtime=get_minutes("perturb_part"),
        gpu=0,
        gres="",
    params:
        network=subpath(output[0], ancestor=3),
        settings=get_perturbation(get_settings),
        site=get_perturbation(get_site),
        code=get_perturbation(get_code),
    shell:
        "python -m unitlens perturb-part --perturbation {wildcards.perturbation}"
        " --part {wildcards.part} --of {wildcards.of}"
        " --settings {params.settings:q} --site {params.site:q} --code {params.code} --threads {threads} --gpu {resources.gpu} --gres={resources.gres:q} --log {log:q}"
        " {input.dataset:q} {params.network:q} {output:q}"


rule merge_tables:
    """Join the tables of the parts of a perturbation, without a pass of the network."""
    input:
        checkpoint=get_checkpoint,
        parts=get_table_parts,
    output:
        "<results>/{table}.nc",
    log:
        "<logs>/merge_tables/{table}.log",
    benchmark:
        "<benchmarks>/merge_tables/{table}.tsv"
    wildcard_constraints:
        table=IN_TABLE_PARTS,
    conda:
        "../../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("merge_tables", 2000),
    params:
        network=subpath(output[0], parent=True),
        perturbation=subpath(output[0], basename=True, strip_suffix=".nc"),
        settings=get_perturbation(get_settings),
        code=get_perturbation(get_code),
        merging=code_digest("merge_tables"),
    shell:
        "python -m unitlens merge-tables --perturbation {params.perturbation}"
        " --settings {params.settings:q} --code {params.code} --log {log:q}"
        " {params.network:q} {input.parts:q}"
