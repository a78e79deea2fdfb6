"""What the classes of a unit's page are: whose samples, and by which labels."""

import numpy as np
import xarray as xr

from unitlens.explorer.unit_source import UnitSource

TRAINING = "train"


def activation_classes(source: UnitSource, column: xr.DataArray | None) -> str:
    """Return the line that says what the classes of the activations of a unit are.

    Parameters
    ----------
    source
        Where the numbers come from: activations with labels, or class statistics.
    column
        The activations of the unit, with the coordinate ``label``; None without a store.
    """
    if column is not None:
        return f"Activations: {column.size} samples{_of(source.split)}, {_labels(column)}."
    count = 0 if source.statistics is None else int(source.statistics["count"].sum())
    trained = " that the network was trained on" if _permuted(source, source.split) else ""
    return f"Activations: {count} samples{_of(source.split)}, by their labels{trained}."


def sample_classes(column: xr.DataArray | None) -> str:
    """Return the sentence that says which label stands under each sample; empty without labels.

    Parameters
    ----------
    column
        The activations of a unit; None without a store.
    """
    if column is None or "label" not in column.coords:
        return ""
    if "true_label" not in column.coords:
        return "The class is the label."
    if (column["label"].values == column["true_label"].values).all():
        return "The class is the true label."
    return "The label is that of training; the true one follows where it differs."


def damage_classes(source: UnitSource, damage: xr.Dataset) -> str:
    """Return the line that says what the classes of the damage without a unit are.

    Parameters
    ----------
    source
        Where the numbers come from.
    damage
        Table of units, with damage by class.
    """
    samples, split, value = ablation_facts(damage)
    line = f"Damage: {f'{samples} samples' if samples else 'the samples'}{_of(split)}"
    line += " over which the unit was ablated" + (f" (clamped to {value})" if value else "")
    if not _permuted(source, split):
        return f"{line}, by their labels."
    return (
        f"{line}, by the labels that the network was trained on, {100 * source.corruption:g} % of "
        "which were permuted: the samples of one such class show all classes. A unit can therefore "
        "respond to the images of one class, and damage another: the label that the network "
        "memorised for some of these images."
    )


def ablation_facts(units: xr.Dataset) -> tuple[int, str, str]:
    """Return over how many samples units were ablated, of which split, and clamped to what.

    Parameters
    ----------
    units
        Table of units. Where it does not say so: 0 samples, and empty words.
    """
    for prefix in ("unit_ablation_", ""):
        samples = units.attrs.get(f"{prefix}samples")
        if samples is not None:
            split, value = (str(units.attrs.get(f"{prefix}{n}", "")) for n in ("split", "value"))
            return int(samples), split, value
    return 0, "", ""


def _permuted(source: UnitSource, split: str) -> bool:
    return source.corruption > 0 and split == TRAINING


def _of(split: str) -> str:
    return f" of {split}" if split else ""


def _labels(column: xr.DataArray) -> str:
    """Tell which labels the classes of activations are."""
    if "true_label" not in column.coords:
        return "by their labels"
    differ = float(np.mean(column["label"].values != column["true_label"].values))
    if not differ:
        return "by their true labels"
    return (
        f"by the labels that the network was trained on; {differ:.0%} of these are not the true "
        "label, which stands under each sample"
    )
