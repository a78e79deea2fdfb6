"""From the tables to figures and a page.

REQUIRED INPUTS: <results>/tables.json
OUTPUTS: <results>/figures/{figure}.svg and .rst, <results>/paper.csv, <results>/paper.md,
<results>/beyond.md, <results>/explorer.html, <results>/report.html
"""


rule draw_figures:
    """Draw the figures that the configuration asks for, each with what it shows."""
    input:
        "<results>/tables.json",
        packed=where_stored("<results>/tables.tar"),
    output:
        [
            report(
                f"{RESULTS}/figures/{figure}.svg",
                # A relative path would be looked up beside this file.
                caption=str(Path(RESULTS).absolute() / f"figures/{figure}.rst"),
                category="Figures",
                labels={"figure": figure.replace("_", " ")},
            )
            for figure in PLAN.config.figures
        ],
        captions=[f"{RESULTS}/figures/{figure}.rst" for figure in PLAN.config.figures],
        findings="<results>/figures/figures.json",
        pictures=PICTURES,
    log:
        "<logs>/draw_figures.log",
    benchmark:
        "<benchmarks>/draw_figures.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("draw_figures", 2000),
    params:
        results=subpath(input[0], parent=True),
        figures=json.dumps(PLAN.config.figures),
        code=code_digest("draw_figures"),
    shell:
        UNPACK_TABLES
        + "python -m unitlens draw-figures --figures {params.figures:q} --code {params.code} --log {log:q}"
        " {params.results:q} {output.findings:q}"


rule compare_with_paper:
    """Set the results of the paper beside ours, with a verdict each by a stated rule."""
    input:
        "<results>/tables.json",
        "<results>/figures/figures.json",
        DRAWINGS + PICTURES + CAPTIONS,
        RECORDS,
        packed=where_stored("<results>/tables.tar"),
        # On a disk that jobs share; elsewhere the file must be where the job looks for it.
        earlier=[] if STORED else list(PLAN.config.earlier_comparisons),
    output:
        table="<results>/paper.csv",
        record="<results>/paper.json",
        page=report(
            "<results>/paper.md", caption="../report/paper.rst", category="Page"
        ),
        beyond="<results>/beyond.md",
    log:
        "<logs>/compare_with_paper.log",
    benchmark:
        "<benchmarks>/compare_with_paper.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("compare_with_paper", 2000),
    params:
        results=subpath(input[0], parent=True),
        claims=json.dumps(PLAN.config.paper),
        causes=json.dumps(PLAN.config.suspected_causes),
        command=get_command(),
        earlier=" ".join(
            f"--earlier {quote(file)}" for file in PLAN.config.earlier_comparisons
        ),
        protocol=protocol_hash(PLAN.config),
        code=code_digest("compare_with_paper"),
    shell:
        UNPACK_TABLES
        + "python -m unitlens compare-with-paper --claims {params.claims:q} --code {params.code}"
        " --causes {params.causes:q} --command {params.command:q} --protocol {params.protocol}"
        " {params.earlier} --log {log:q} {params.results:q} {output.table:q}"


rule save_explorer:
    """Write one page of all units, and of those that matter most, that works offline."""
    input:
        "<results>/tables.json",
        packed=where_stored("<results>/tables.tar"),
        prepared=where_stored(*map(prepared_files, PLAN.datasets)),
        records=RECORDS,
        statistics=OF_UNITS,
    output:
        "<results>/explorer.html",
    log:
        "<logs>/save_explorer.log",
    benchmark:
        "<benchmarks>/save_explorer.tsv"
    conda:
        "../../envs/explorer.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("save_explorer", 4000),
    params:
        results=subpath(input[0], parent=True),
        code=code_digest("save_explorer"),
    shell:
        UNPACK_TABLES
        + UNPACK_PREPARED
        + "python -m unitlens save-explorer --code {params.code} --log {log:q}"
        " {params.results:q} {output:q}"


rule write_report:
    """Write one page that works offline."""
    input:
        [f"{RESULTS}/figures/{figure}.svg" for figure in PLAN.config.figures],
        "<results>/figures/figures.json",
        paper="<results>/paper.csv" if PLAN.config.compared else [],
        tables=where_stored("<results>/tables.json"),
        packed=where_stored("<results>/tables.tar"),
        figures=PICTURES + CAPTIONS,
        comparison=COMPARISON,
        explorer="<results>/explorer.html" if PLAN.config.explorer else [],
    output:
        report("<results>/report.html", caption="../report/page.rst", category="Page"),
    log:
        "<logs>/write_report.log",
    benchmark:
        "<benchmarks>/write_report.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=get_memory("write_report", 2000),
    params:
        results=subpath(output[0], parent=True),
        paper=lambda wildcards, input: (
            f"--paper {quote(str(input.paper))}" if PLAN.config.compared else ""
        ),
        explorer=lambda wildcards, input: (
            f"--explorer {quote(str(input.explorer))}" if PLAN.config.explorer else ""
        ),
        code=code_digest("write_report"),
    shell:
        UNPACK_TABLES
        + "python -m unitlens write-report --code {params.code} --log {log:q} {params.paper}"
        " {params.explorer} {params.results:q} {output:q}"
