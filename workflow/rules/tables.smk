"""From everything about each network to the tables of all.

REQUIRED INPUTS: everything measured on each network
OUTPUTS: <results>/tables.json, beside units.zarr, runs.zarr, curves.zarr, noise.zarr,
history.zarr and correlations.zarr, each also as Parquet
"""


rule tabulate:
    """Join everything about runs and units into the final tables."""
    input:
        get_tables,
    output:
        "<results>/tables.json",
    log:
        "<logs>/tabulate.log",
    benchmark:
        "<benchmarks>/tabulate.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=4000,
    params:
        networks=as_json(get_networks()),
        measured=as_json(PLAN.files_of_experiments()),
        code=code_digest("tabulate"),
    shell:
        "python -m unitlens tabulate --networks {params.networks:q}"
        " --measured {params.measured:q} --log {log:q} {output:q}"
