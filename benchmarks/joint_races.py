"""Cumulative ablation and noise, against forward hooks."""

import numpy as np
import torch
import xarray as xr

import unitlens as ul
from needed_work import Work
from peers import edited, pass_with_masks, pass_with_noise
from races import SEED, Numbers, Race
from unitlens.seeds import seeded

NOISE_BATCHES = (960, 512, 256, 128, 64)  # whole blocks of the noise


class CurveRace(Race):
    """Cumulative ablation in random orders, against masks by hooks."""

    def __init__(self, subject, size, share=1.0):
        super().__init__(subject, size, share)
        self._peer_orders = self._part(size.orders)
        units = sum(self.widths.values())
        self._ablated = np.unique(np.round(np.linspace(0, units, size.points)).astype(int))

    def _curves(self, samples):
        return ul.cumulative_ablation(
            self.model, self.subject.dataset, layers=self.layers, samples=samples, seed=SEED,
            orders=self.size.orders, points=self.size.points,
        )  # fmt: skip

    def first_call(self):
        self._curves(max(1, self.samples // 40))

    def ours(self):
        curves = self._curves(None)
        hits = np.rint(curves.accuracy.values * self.samples)
        return Numbers(curves.loss.values, hits, curves.attrs["baseline_loss"], self.samples)

    def _sets(self, orders):
        """Return which units each set leaves, {layer: (sets, units)}: none, all, the inner ones."""
        units = sum(self.widths.values())
        rows = [np.ones(units), np.zeros(units)]
        for number in range(orders):
            sequence = seeded(SEED, "order", number).permutation(units)
            for count in self._ablated[1:-1]:
                rows.append(np.ones(units))
                rows[-1][sequence[:count]] = 0
        edges = np.cumsum(list(self.widths.values()))[:-1]
        return dict(zip(self.widths, np.split(np.array(rows), edges, axis=1), strict=True))

    def _masks(self, orders):
        kept = self._sets(orders)
        shaped = {
            layer: torch.as_tensor(rows, dtype=torch.float32).reshape(
                *rows.shape, *[1] * (self._axes[layer] - 2)
            )
            for layer, rows in kept.items()
        }
        number = len(next(iter(kept.values())))
        return [{layer: rows[place] for layer, rows in shaped.items()} for place in range(number)]

    def prepare_peer(self):
        self._trial_mask = self._masks(1)[-1:]
        super().prepare_peer()
        inner = len(self._ablated) - 2
        self.peer_factor = (self.size.orders * inner + 2) / (self._peer_orders * inner + 2)

    def _trial(self, batch):
        pass_with_masks(
            self.model, self.inputs[:batch], self.labels[:batch], self._trial_mask, batch=batch
        )
        return batch

    def peer(self):
        masks = self._masks(self._peer_orders)
        sums = pass_with_masks(self.model, self.inputs, self.labels, masks, batch=self._best)
        none, every, inner = sums[0], sums[1], sums[2:].reshape(self._peer_orders, -1, 2)
        ends = (end.expand(self._peer_orders, 1, 2) for end in (none, every))
        first, last = ends
        curves = torch.cat([first, inner, last], dim=1).numpy()
        baseline = float(none[0]) / self.samples
        return Numbers(curves[..., 0] / self.samples, curves[..., 1], baseline, self.samples)

    def needed_macs(self):
        work = Work(self.model, self.inputs)
        kept = {layer: rows.mean(1) for layer, rows in self._sets(self.size.orders).items()}
        ablated = {layer: shares[1:] for layer, shares in kept.items()}  # but the empty set
        return self.samples * (work.total + work.behind_sets(list(self.widths), ablated))


class NoiseRace(Race):
    """Noise on all layers at once, against hooks that add the same noise."""

    batches = NOISE_BATCHES

    def __init__(self, subject, size, share=1.0):
        super().__init__(subject, size, share)
        self._peer_draws = self._part(size.draws)
        self._scales = np.linspace(0.1, 1.0, size.scales)
        self._variances = self._measure_variances()

    def _measure_variances(self):
        """Return the variance of each unit's mean over positions, {layer: (units,)}."""
        found = {layer: [] for layer in self.widths}

        def keep(layer, output):
            found[layer].append(output.reshape(*output.shape[:2], -1).mean(2))

        edits = {layer: lambda output, name=layer: keep(name, output) for layer in self.widths}
        with torch.inference_mode(), edited(self.model, edits) as run:
            for rows in self.inputs.split(64):
                run(rows)
        return {layer: torch.cat(kept).var(0, correction=0) for layer, kept in found.items()}

    def _noise(self, samples):
        layer = np.repeat(list(self.widths), list(self.widths.values()))
        channel = np.concatenate([np.arange(width) for width in self.widths.values()])
        variance = xr.DataArray(
            torch.cat(list(self._variances.values())).numpy(),
            coords={"layer": ("unit", layer), "channel": ("unit", channel)},
            dims="unit",
        )
        return ul.noise_robustness(
            self.model, self.subject.dataset, self._scales, variance=variance, samples=samples,
            draws=self.size.draws, seed=SEED, per="unit",
        )  # fmt: skip

    def first_call(self):
        self._noise(max(1, self.samples // 40))

    def ours(self):
        noise = self._noise(None)
        hits = np.rint(noise.accuracy.values * self.samples)
        return Numbers(noise.loss.values, hits, noise.attrs["baseline_loss"], self.samples)

    def _pass(self, rows, batch, scales, draws):
        layers = {
            layer: (variance.sqrt(), self._axes[layer])
            for layer, variance in self._variances.items()
        }
        return pass_with_noise(
            self.model, self.inputs[rows], self.labels[rows], layers,
            scales=scales, draws=draws, seed=SEED, batch=batch,
        )  # fmt: skip

    def _trial(self, batch):
        self._pass(slice(batch), batch, self._scales[:1], 1)
        return batch

    def prepare_peer(self):
        super().prepare_peer()
        self.peer_note += "; the noise is drawn in the time of both sides"
        self.peer_factor = self.size.draws / self._peer_draws

    def peer(self):
        sums = self._pass(slice(None), self._best, self._scales, self._peer_draws).numpy()
        means = sums[..., 0] / self.samples
        return Numbers(means, sums[..., 1], float("nan"), self.samples)

    def needed_macs(self):
        work = Work(self.model, self.inputs)
        behind = work.behind_all(next(iter(self.widths)))
        return self.samples * (work.total + self.size.draws * self.size.scales * behind)
