"""What Snakemake writes of the job that joins many networks."""

import copy
import re

from workflow_runs import SMALL, snakemake

from unitlens.workflow.long_lines import LONGEST


def test_log__of_many_networks_has_no_endless_line(tmp_path):
    config = copy.deepcopy(SMALL)
    config["experiments"]["memo"] |= {"sweep": {}, "seeds": list(range(40))}

    done = snakemake(tmp_path, "--dry-run", "results/tables.json", config=config)

    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) < LONGEST + 100
    job = done.stdout.partition("\nrule tabulate:")[2]
    (files,) = re.findall(r"^ +input: (.+), and ([\d,]+) more$", job, re.MULTILINE)
    # Of each network: 3 tables and the curves of a kept epoch, measures and the record; one plan.
    assert len(files[0].split(", ")) + int(files[1].replace(",", "")) == 40 * 6 + 1
    assert re.search(r"reason: .*updated by another job: .*, and [\d,]+ more$", job, re.MULTILINE)
