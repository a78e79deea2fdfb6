"""The n-th operation on a file fails, or is the last of the process; then the stage runs again.

Every operation of every stage is met, where UNITLENS_FAULTS says so. Of the step tabulate, which
writes thousands of files, every operation is met in a workflow of few tables, and a seeded share
in that of all tables.
"""

import pytest

from faults.faulted_stages import EFFECTS, Case, stage_of
from faults.stages import ALL, OF_ALL, OF_NETWORK

pytestmark = pytest.mark.slow

STAGES = ("prepare-dataset", "train", "record-activations", *OF_NETWORK, *OF_ALL)
PARTS = ("merge-activations", "merge-tables", "perturb-part", "record-part")
# Kinds of operations that one test meets, so that several processes share the work.
GROUPS = {kind: {kind: effects} for kind, effects in EFFECTS.items()} if ALL else {"any": EFFECTS}
SHARE = None if ALL else 1
SHARE_OF_TABULATE = 150 if ALL else 1  # of a group


def meet(case, group, share, name, record_property):
    met = case.meet(GROUPS[group], share)
    record_property("account", met.account(f"{name}, {group}"))
    assert not met.complaints, str(met)
    assert met.faults or not met.operations


@pytest.mark.parametrize("group", sorted(GROUPS))
@pytest.mark.parametrize("name", sorted(STAGES))
def test_a_stage_that_meets_a_fault__ends_in_the_undisturbed_values(
    server, undisturbed, tmp_path, record_property, name, group
):
    case = Case(server, undisturbed, stage_of(undisturbed, name), tmp_path / "case")
    share = SHARE_OF_TABULATE if name == "tabulate" else SHARE
    meet(case, group, share, name, record_property)


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_tables_that_meet_a_fault__end_in_the_undisturbed_values(
    server, few_tables, tmp_path, record_property, group
):
    case = Case(server, few_tables, stage_of(few_tables, "tabulate"), tmp_path / "case")
    meet(case, group, SHARE, "tabulate of few tables", record_property)


@pytest.mark.parametrize("group", sorted(GROUPS))
@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_meets_a_fault__ends_in_the_undisturbed_values(
    server, in_parts, tmp_path, record_property, name, group
):
    case = Case(server, in_parts, stage_of(in_parts, name), tmp_path / "case")
    meet(case, group, SHARE, name, record_property)
