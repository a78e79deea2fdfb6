"""The check, before anything runs, that each kept epoch of a plan has a batch of its own."""

from unitlens.catalogue.datasets import DATASETS
from unitlens.config.networks import DatasetSpec
from unitlens.errors import ConfigError
from unitlens.planning.plan import Plan
from unitlens.training.look_steps import count_steps, find_crowded_look


def check_looks(plan: Plan) -> None:
    """Check the kept epochs of the runs of a plan against the number of their batches.

    Where the size of the training set is not known, the training itself checks as it starts.

    Parameters
    ----------
    plan
        The plan of a configuration.

    Raises
    ------
    ConfigError
        Where two kept epochs of a run fall on one batch, or one falls on no batch inside its
        epoch. The message names the key.
    """
    for run in plan.runs.values():
        training, samples = run.spec.training, known_size(run.spec.dataset)
        if training is None or samples is None:
            continue
        steps = count_steps(samples, training.batch_size)
        crowded = find_crowded_look(training.checkpoints, steps)
        if crowded is not None:
            first, *others = run.experiments
            also = f" (with those of {', '.join(others)})" if others else ""
            raise ConfigError(f"experiments.{first}.training.checkpoints{also}: {crowded}")


def known_size(dataset: DatasetSpec) -> int | None:
    """Return the number of training samples of a data set; None where only its files tell it.

    Parameters
    ----------
    dataset
        The data set.
    """
    if dataset.train_samples is not None:
        return dataset.train_samples
    declared = DATASETS.get(dataset.name)
    return declared.samples["train"] if declared is not None and declared.samples else None
