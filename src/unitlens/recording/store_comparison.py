"""What a store holds, compared with what a network and a data set give now.

Weights and classes of modules do not tell a network: an attribute, a redefined ``forward`` or
another version of a library changes what the network puts out. Nor do a few samples tell a data
set.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unitlens.recording.forward_passes import Columns, Recording
from unitlens.recording.output_tolerance import Tolerance, as_numbers
from unitlens.recording.stored_rows import Rows, StoredRows, make_rows
from unitlens.seeds import seeded
from unitlens.store.description import StoreDescription
from unitlens.store.format.layout import MAP, layer_arrays

PROBES = 16
MAP_PROBES = 2


class StoreComparison:
    """A comparison of stores with one recording.

    What the network puts out for the probes and the labels of the data set are kept: a second
    comparison reads the store alone.

    Parameters
    ----------
    recording
        The network and its data, ready to run.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._probes: tuple[Rows, Columns] | None = None
        self._labels: NDArray[np.int64] | None = None

    def find_difference(self, path: Path, description: StoreDescription) -> str | None:
        """Return where a network and its data differ from what a store holds, in words.

        All labels are compared, and for :data:`PROBES` seeded samples, the first and the last among
        them, the activations of every recorded layer, the predictions and the losses. Of feature
        maps :data:`MAP_PROBES` samples are compared. Samples whose shards are missing, not complete
        or damaged are left out.

        Parameters
        ----------
        path
            The store, finished or begun, with the contents of the recording.
        description
            Description of the store.

        Returns
        -------
        The first difference beyond rounding; None where there is none.
        """
        stored = StoredRows(path, description)
        difference = self._other_label(stored)
        if difference is not None:
            return difference
        return self._other_value(stored)

    def _other_label(self, stored: StoredRows) -> str | None:
        """Return the first sample whose label differs, in words."""
        if not stored.complete_rows("label").any():
            return None
        true_labels = self._recording.true_labels
        if self._labels is None:
            self._labels = self._recording.all_labels()
        present, then = stored.read("label", np.arange(len(self._labels)))
        other = present[self._labels[present] != then]
        if other.size:
            self._labels = self._recording.confirmed(self._labels, other)
        true = self._labels if true_labels is None else true_labels
        for name, now in (("label", self._labels), ("true_label", true)):
            present, then = stored.read(name, np.arange(len(now)))
            other = np.flatnonzero(now[present] != then)
            if other.size:
                sample = present[other[0]]
                return (
                    f"sample {sample} has the {name.replace('_', ' ')} {now[sample]}, had "
                    f"{then[other[0]]} (and {other.size} of {len(present)} differ)"
                )
        return None

    def _other_value(self, stored: StoredRows) -> str | None:
        names = self._names(stored)
        held = np.logical_or.reduce([stored.complete_rows(name) for name in names["samples"]])
        if not held.any():
            return None
        if self._probes is None or not held[self._probes[0]].any():
            samples = self._choose(np.flatnonzero(held))
            self._probes = samples, self._run(samples, self._recording.batch_size)
        samples, columns = self._probes
        found = self._compare(stored, names, samples, columns)
        if found is None:
            return None
        # A network may compute with its whole batch: then the batches of the recording decide.
        batch = self._recorded_batch(stored, found[0])
        if batch is None or np.array_equal(batch, samples):
            return found[1]
        columns = self._run(batch, len(batch))
        found = self._compare(stored, names, batch, columns)
        return None if found is None else found[1]

    def _names(self, stored: StoredRows) -> dict[str, dict[str, str]]:
        """Return the arrays that are compared, with their reductions: of all samples, and maps."""
        recording = self._recording
        reductions = recording.contents.reductions
        activations = {
            f"{layer.name}/{name}": reduction
            for layer in recording.layers
            for name, reduction in layer_arrays(layer, reductions).items()
        }
        maps = {name: MAP for name in stored.arrays if name.endswith(f"/{MAP}")}
        scores = {"prediction": "prediction", "loss": "loss"}
        return {"samples": {**activations, **scores}, "maps": maps}

    def _choose(self, held: Rows) -> Rows:
        """Return the probes among the samples that a store holds, ascending."""
        drawn = seeded(0, "stored rows").choice(held, min(PROBES, len(held)), replace=False)
        maps = self._recording.contents.maps
        with_maps = maps.samples if maps is not None else ()
        mapped = np.intersect1d(held, np.array(with_maps, np.int64))[:MAP_PROBES]
        return np.unique(np.concatenate([held[[0, -1]], drawn, mapped])).astype(np.int64)

    def _recorded_batch(self, stored: StoredRows, sample: int) -> Rows | None:
        """Return the samples that were recorded in one batch with a sample.

        None where the batch may be too large for the device of this recording.
        """
        conditions, recording = stored.description.conditions, self._recording
        size = int(conditions["batch_size"])
        if size > recording.batch_size and conditions["device"] != recording.device.type:
            return None
        return recording.batch_of(sample, size)

    def _run(self, samples: Rows, batch_size: int) -> Columns:
        """Run samples, and return their columns as one."""
        passes = self._recording.columns(samples, "comparing", batch_size=batch_size)
        parts = [columns for _, columns in passes]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _compare(
        self, stored: StoredRows, names: dict[str, dict[str, str]], samples: Rows, columns: Columns
    ) -> tuple[int, str] | None:
        """Return the first sample that differs, and the difference in words."""
        tolerance = self._tolerance(stored, columns)
        contents = self._recording.contents
        for name, reduction in {**names["samples"], **names["maps"]}.items():
            array = stored.arrays[name]
            numbers = contents.samples_of(array)
            held, rows = make_rows(array, samples, numbers)
            present, then = stored.read(name, rows)
            if not present.size:
                continue
            # The columns of maps hold the samples with maps alone.
            now = columns[name][present]
            of = held[present]
            place = tolerance.find(reduction, now, then, columns["logits"][of])
            if place is not None:
                sample = int(samples[of[place[0]]])
                return sample, _tell(name, sample, place, now, then)
        return None

    def _tolerance(self, stored: StoredRows, columns: Columns) -> Tolerance:
        recording = self._recording
        devices = {stored.description.conditions["device"], recording.device.type}
        return Tolerance(
            stored=recording.contents.dtype,
            computed=recording.network.dtype,
            on_gpu=devices != {"cpu"},
            largest_logit=float(np.abs(as_numbers(columns["logits"])).max(initial=0)),
        )


def _tell(
    name: str, sample: int, place: tuple[int, ...], now: NDArray[Any], then: NDArray[Any]
) -> str:
    values = f"{now[place]:.6g}, was {then[place]:.6g}"
    if "/" not in name:
        return f"the {name} of sample {sample} is {values}"
    layer = name.rpartition("/")[0]
    return (
        f"its layer '{layer}' puts out other values for sample {sample} (unit {place[1]}: {values})"
    )
