"""From everything about each network to the tables of all.

REQUIRED INPUTS: everything measured on each network
OUTPUTS: <results>/tables.json, beside units.zarr, runs.zarr, curves.zarr, noise.zarr,
history.zarr and correlations.zarr, each also as Parquet
"""


localrules:
    write_plan,


rule write_plan:
    """Write what the tables must be made of, for a command line is too short for many networks."""
    output:
        "<results>/plan.json",
    log:
        "<logs>/write_plan.log",
    params:
        plan=lambda wildcards: hash_values(plan_values(PLAN)),
    run:
        write_json(Path(output[0]), plan_values(PLAN))


rule tabulate:
    """Join everything about runs and units into the final tables."""
    input:
        files=get_tables,
        plan="<results>/plan.json",
    output:
        kept_where_shared("<results>/tables.json"),
        packed=where_stored("<results>/tables.tar"),
    log:
        "<logs>/tabulate.log",
    benchmark:
        "<benchmarks>/tabulate.tsv"
    conda:
        "../../envs/analysis.yaml"
    # One process reads a small experiment whole; the files of many networks are read by several.
    threads: 4
    resources:
        mem_mb=get_memory("tabulate", 4000),
    params:
        code=code_digest("tabulate"),
    shell:
        "python -m unitlens tabulate --plan {input.plan:q} --code {params.code} --threads {threads} --log {log:q} "
        + (
            pack("{output[0]:q}", "{output.packed:q}", TABLES)
            if STORED
            else "{output:q}"
        )


if STORED:

    # Its outputs are folders: of jobs on other machines, the storage plugin for S3 (0.3) misses these.
    localrules:
        unpack_tables,

    rule unpack_tables:
        """Unpack the tables where they lie, so that they can be read there.

        Snakemake removes what is there before: jobs that read the tables come first.
        """
        input:
            packed="<results>/tables.tar",
            readers="<results>/report.html",
        output:
            [directory(f"{RESULTS}/{table}") for table in TABLE_FOLDERS],
            [f"{RESULTS}/{table}" for table in TABLE_FILES],
        shell:
            unpack("{input.packed:q}")
