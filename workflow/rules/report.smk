"""From the tables to figures and a page.

REQUIRED INPUTS: <results>/tables.json
OUTPUTS: <results>/figures/{figure}.svg, <results>/report.html
"""


rule draw_figures:
    """Draw the figures that the configuration asks for, each with what it shows."""
    input:
        "<results>/tables.json",
    output:
        [
            report(
                f"{RESULTS}/figures/{figure}.svg",
                caption=f"../report/{figure}.rst",
                category="Figures",
                labels={"figure": figure.replace("_", " ")},
            )
            for figure in PLAN.config.figures
        ],
        findings="<results>/figures/figures.json",
    log:
        "<logs>/draw_figures.log",
    benchmark:
        "<benchmarks>/draw_figures.tsv"
    conda:
        "../../envs/analysis.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        results=subpath(input[0], parent=True),
        figures=as_json(PLAN.config.figures),
        code=code_digest("unitlens.figures.draw"),
    shell:
        "python -m unitlens draw-figures --figures {params.figures:q} --log {log:q}"
        " {params.results:q} {output.findings:q}"


rule write_report:
    """Write one page that works offline."""
    input:
        [f"{RESULTS}/figures/{figure}.svg" for figure in PLAN.config.figures],
        "<results>/figures/figures.json",
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
        mem_mb=2000,
    params:
        results=subpath(output[0], parent=True),
        code=code_digest("unitlens.report"),
    shell:
        "python -m unitlens write-report --log {log:q} {params.results:q} {output:q}"
