import logging

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from unitlens.workflow.long_lines import LONGEST, CutFileLists

FILES = [f"results/run-{number:04d}/unit_measures.nc" for number in range(2000)]


def told(longest=LONGEST, **values):
    """Return a record after the filter has seen it."""
    record = logging.makeLogRecord({"event": LogEvent.JOB_INFO, **values})
    assert CutFileLists(longest).filter(record)
    return record


def test_many_files__are_cut_to_the_first_and_the_number_of_the_others():
    shown = told(input=FILES).input

    assert len(", ".join(shown)) < LONGEST + 20
    assert shown[:-1] == FILES[: len(shown) - 1]
    assert shown[-1] == f"and {len(FILES) - len(shown) + 1:,} more"


def test_reason__is_cut_part_by_part():
    reason = f"Missing output files: a.json; Input files updated by another job: {', '.join(FILES)}"
    shown = told(reason=f"{reason}; Code has changed since last execution").reason

    first, files, last = shown.split("; ")
    assert (first, last) == (
        "Missing output files: a.json",
        "Code has changed since last execution",
    )
    assert files.startswith(f"Input files updated by another job: {FILES[0]}, {FILES[1]}, ")
    assert len(files) < LONGEST + 20
    left_out = int(files.rsplit("and ")[1].removesuffix(" more").replace(",", ""))
    assert files.count(".nc") + left_out == len(FILES)


@pytest.mark.parametrize("longest", [len("a.nc, b.nc"), 1000])
def test_few_files__stay_as_they_are(longest):
    record = told(longest, input=["a.nc", "b.nc"], reason="Forced execution", output=[], log=None)

    assert record.input == ["a.nc", "b.nc"]
    assert record.reason == "Forced execution"
    assert (record.output, record.log) == ([], None)


def test_one_long_name__is_shown_whole():
    assert told(10, input=["a" * 30, "b"]).input == ["a" * 30, "and 1 more"]


def test_records_of_other_programs__are_not_touched():
    assert told(event=None, input=FILES).input == FILES
