"""From stored activations to the measures of every unit.

REQUIRED INPUTS: <results>/{network}/{split}/activations.json
OUTPUTS: <results>/{network}/{split}/class_statistics.nc, <results>/{network}/unit_measures.nc,
<results>/{network}/principal_components.nc
"""


rule class_statistics:
    """Read each store once: class moments and histograms of every unit."""
    input:
        "<results>/{network}/train/activations.json",
        "<results>/{network}/test/activations.json",
        get_record,
    output:
        train="<results>/{network}/train/class_statistics.nc",
        test="<results>/{network}/test/class_statistics.nc",
    log:
        "<logs>/class_statistics/{network}.log",
    benchmark:
        "<benchmarks>/class_statistics/{network}.tsv"
    wildcard_constraints:
        network=OF_SEVERAL_JOBS,
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("class_statistics", 2000),
        runtime=get_minutes("class_statistics"),
    params:
        network=subpath(output.train, ancestor=2),
        settings=get_settings("statistics"),
        code=step_code("class_statistics"),
    shell:
        "python -m unitlens class-statistics --settings {params.settings:q} --code {params.code}"
        " --threads {threads} --log {log:q} {params.network:q}"


rule unit_measures:
    """Selectivity, mutual information, variance and L1 norm from the class statistics."""
    input:
        norms="<results>/{network}/l1_norm.nc",
        train="<results>/{network}/train/class_statistics.nc",
        test="<results>/{network}/test/class_statistics.nc",
        record=get_record,
    output:
        "<results>/{network}/unit_measures.nc",
    log:
        "<logs>/unit_measures/{network}.log",
    benchmark:
        "<benchmarks>/unit_measures/{network}.tsv"
    wildcard_constraints:
        network=OF_SEVERAL_JOBS,
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("unit_measures", 2000),
        runtime=get_minutes("unit_measures"),
    params:
        network=subpath(output[0], parent=True),
        settings=get_settings("measures"),
        code=step_code("unit_measures"),
    shell:
        "python -m unitlens unit-measures --settings {params.settings:q} --code {params.code}"
        " --log {log:q} {params.network:q}"


rule principal_components:
    """Find the directions in which each layer's activations vary most."""
    input:
        "<results>/{network}/train/activations.json",
        "<results>/{network}/test/activations.json",
        get_record,
    output:
        "<results>/{network}/principal_components.nc",
    log:
        "<logs>/principal_components/{network}.log",
    benchmark:
        "<benchmarks>/principal_components/{network}.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("principal_components", 2000),
        runtime=get_minutes("principal_components"),
    params:
        network=subpath(output[0], parent=True),
        settings=get_settings("principal_components"),
        code=step_code("principal_components"),
    shell:
        "python -m unitlens principal-components --settings {params.settings:q}"
        " --code {params.code} --threads {threads} --log {log:q} {params.network:q}"
