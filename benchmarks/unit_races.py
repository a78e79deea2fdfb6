"""Ablation of single units, against forward hooks and against Captum."""

import numpy as np
import torch

import unitlens as ul
from needed_work import Work, reached
from peers import ablate_by_captum, ablate_by_hooks, captum_mask
from races import BATCHES, SEED, Numbers, Race, agreement
from unitlens.seeds import seeded

PERTURBATIONS = (1, 2, 4, 8)  # Captum's
TRIAL_UNITS = 8


class UnitRace(Race):
    """Ablation of single units."""

    def _table(self, samples):
        return ul.unit_ablation(
            self.model, self.subject.dataset, units=self.size.units, samples=samples, seed=SEED
        )

    def first_call(self):
        table = self._table(max(1, self.samples // 40))
        columns = (table[name].values.tolist() for name in ("layer", "channel"))
        self._classes = table.sizes["class"]
        self.units = list(zip(*columns, strict=True))

    def ours(self):
        table = self._table(None)
        by_class = np.bincount(self.labels.numpy(), minlength=table.sizes["class"])
        hits = np.rint(np.nan_to_num(table.class_accuracy_drop.values) * by_class)
        return Numbers(table.loss_increase.values, hits, table.attrs["baseline_loss"], self.samples)

    def prepare_peer(self):
        order = seeded(SEED, "peer").permutation(len(self.units))
        self._rows = np.sort(order[: self._part(len(self.units))])
        self._mine = [self.units[row] for row in self._rows]
        super().prepare_peer()

    def agreement(self, ours, theirs):
        return agreement(ours.rows(self._rows), theirs)

    def needed_macs(self):
        work = Work(self.model, self.inputs)
        counts = reached(self.model, self.inputs, self.widths, batch=64)
        costs = {layer: work.behind_one(layer) for layer in self.widths}
        ablations = sum(int(counts[layer][channel]) * costs[layer] for layer, channel in self.units)
        return self.samples * work.total + ablations


class UnitsByHooks(UnitRace):
    def prepare_peer(self):
        super().prepare_peer()
        self.peer_factor = (1 + len(self.units)) / (1 + len(self._mine))

    def _trial(self, batch):
        unit = [self.units[len(self.units) // 2]]
        self._ablate(self.inputs[:batch], self.labels[:batch], unit, batch)
        return batch

    def _ablate(self, inputs, labels, units, batch):
        return ablate_by_hooks(
            self.model, inputs, labels, units, classes=self._classes, batch=batch
        )

    def peer(self):
        sums = self._ablate(self.inputs, self.labels, self._mine, self._best).numpy()
        changes = sums[1:] - sums[0]
        return Numbers(
            changes[..., 0].sum(1) / self.samples,
            -changes[..., 1],
            sums[0, :, 0].sum() / self.samples,
            self.samples,
        )


class UnitsByCaptum(UnitRace):
    def prepare_peer(self):
        super().prepare_peer()
        batch, perturbations = self._best
        self.peer_note = f"batches of {batch}, perturbations_per_eval={perturbations}"
        self.peer_factor = self._passes(self.units) / self._passes(self._mine)

    def _candidates(self):
        pairs = ((batch, number) for batch in super()._candidates() for number in PERTURBATIONS)
        return [pair for pair in pairs if pair[0] * pair[1] <= BATCHES[0]]

    def _passes(self, units):
        """Return how many passes Captum makes: one a feature, and two of the network as it is."""
        return sum(len(torch.unique(mask)) + 2 for mask in self._masks(units).values())

    def _masks(self, units):
        channels = {layer: [c for name, c in units if name == layer] for layer in self.widths}
        return {
            layer: captum_mask(mine, self.widths[layer], self._axes[layer])
            for layer, mine in channels.items()
            if mine
        }

    def _trial(self, candidate):
        batch, perturbations = candidate
        layer = list(self.widths)[len(self.widths) // 2]
        units = [unit for unit in self.units if unit[0] == layer][: TRIAL_UNITS - 1]
        ablate_by_captum(
            self.model, self.inputs[:batch], self.labels[:batch], self._masks(units),
            batch=batch, perturbations=perturbations,
        )  # fmt: skip
        return batch

    def peer(self):
        batch, perturbations = self._best
        found = ablate_by_captum(
            self.model, self.inputs, self.labels, self._masks(self._mine),
            batch=batch, perturbations=perturbations,
        )  # fmt: skip
        sums = np.array([float(found[layer][channel]) for layer, channel in self._mine])
        return Numbers(sums / self.samples, None, float("nan"), self.samples)
