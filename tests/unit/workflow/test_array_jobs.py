from types import SimpleNamespace

import pytest

from unitlens.errors import ConfigError
from unitlens.workflow.array_jobs import check_array_jobs


def workflow(arrays, *, nodes=10, rate=100, rules=("train", "train", "train", "tabulate")):
    names = [*rules, "write_plan"]
    jobs = [
        SimpleNamespace(rule=SimpleNamespace(name=name), is_local=name == "write_plan")
        for name in names
    ]
    return SimpleNamespace(
        executor_settings=SimpleNamespace(array_jobs=arrays),
        dag=SimpleNamespace(needrun_jobs=lambda: iter(jobs)),
        nodes=nodes,
        scheduling_settings=SimpleNamespace(max_jobs_per_timespan=SimpleNamespace(max_jobs=rate)),
    )


@pytest.mark.parametrize("arrays", ["all", "train", "tabulate; train", "tabulate,train"])
def test_limits_below_the_jobs__are_refused_with_arrays(arrays):
    with pytest.raises(ConfigError, match=r"jobs is 3, but 4 jobs .* give jobs at least that many"):
        check_array_jobs(workflow(arrays, nodes=3))
    with pytest.raises(
        ConfigError, match=r"max-jobs-per-timespan is 3, but 4 jobs are to be submitted"
    ):
        check_array_jobs(workflow(arrays, rate=3))


def test_limits_of_all_jobs__are_enough():
    check_array_jobs(workflow("all", nodes=4, rate=4))
    unlimited = workflow("all", nodes=None)
    unlimited.scheduling_settings.max_jobs_per_timespan = None
    check_array_jobs(unlimited)


def test_without_arrays__any_limit_will_do():
    check_array_jobs(workflow(None, nodes=1))
    check_array_jobs(workflow("tabulate", nodes=1))  # one job makes no array
    check_array_jobs(workflow("all", nodes=1, rules=("train", "tabulate")))
    other_executor = workflow(None, nodes=1)
    other_executor.executor_settings = None
    check_array_jobs(other_executor)
