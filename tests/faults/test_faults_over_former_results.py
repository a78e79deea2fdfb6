"""A stage that replaces results of other settings meets a fault: the former values, or the new.

The fault hits the same code as over an empty folder, so of the reads a seeded share is met here.
"""

import pytest

from faults.faulted_stages import READING, WRITING, Case, stage_of
from faults.stages import ALL, OF_ALL, OF_NETWORK

pytestmark = pytest.mark.slow

# A network and a data set of other settings have other folders.
STAGES = ("record-activations", *OF_NETWORK, *OF_ALL)
WRITES = dict.fromkeys(WRITING, ("fail", "stop"))
SHARE_OF_TABULATE = 300 if ALL else 1
SHARE_OF_WRITES = None if ALL else 1
SHARE_OF_READS = 60


@pytest.mark.parametrize("name", sorted(STAGES))
def test_a_stage_over_former_results__is_read_as_before_or_as_after(
    server, undisturbed, measured_anew, tmp_path, record_property, name
):
    stage = stage_of(measured_anew, name)
    case = Case(server, measured_anew, stage, tmp_path / "case", undisturbed.values)
    share = SHARE_OF_TABULATE if name == "tabulate" else SHARE_OF_WRITES
    mets = [case.meet(WRITES, share)]
    if ALL:
        mets.append(case.meet(READING, SHARE_OF_READS))
    for met in mets:
        record_property("account", met.account(f"{name}, over former results"))
        assert not met.complaints, str(met)
        assert met.faults
