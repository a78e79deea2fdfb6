"""Mean scores over the scored samples: of the unperturbed network, and of its variants."""

from typing import ClassVar

import torch
from torch import Tensor

from unitlens.perturbation.scores import Floats
from unitlens.perturbation.session import Batch, Session


class Baseline:
    """Mean loss and mean hit of the unperturbed network, summed batch by batch."""

    summed: ClassVar[tuple[str, ...]] = ("_loss", "_hits", "_samples")

    def __init__(self) -> None:
        self._loss = self._hits = 0.0
        self._samples = 0

    def add(
        self, session: Session, batch: Batch, logits: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Score a batch, add the scores, and return the loss and hit of each sample.

        Parameters
        ----------
        session, batch
            The session and one of its batches.
        logits
            Output of the unperturbed network on the batch; computed if None.
        """
        if logits is None:
            logits = session.engine.logits(batch.inputs)
        losses, hits = session.score(logits, batch.targets)
        samples = session.indices[batch.positions]
        session.doubts.see(
            session.network, session.score.as_logits(logits, batch.targets), losses, samples
        )
        self._loss += float(losses.sum())
        self._hits += float(hits.sum())
        self._samples += len(losses)
        return losses, hits

    def attributes(self) -> dict[str, float]:
        """Return the means as attributes of a result."""
        return {
            "baseline_loss": self._loss / self._samples,
            "baseline_accuracy": self._hits / self._samples,
        }


class VariantScores:
    """Mean loss and mean hit of variants of the network that are scored on the same samples.

    Parameters
    ----------
    session
        The session.
    variants
        Number of variants.
    """

    summed: ClassVar[tuple[str, ...]] = ("_losses", "_hits")

    def __init__(self, session: Session, variants: int) -> None:
        self._session = session
        self._losses, self._hits = torch.zeros(
            (2, variants), dtype=torch.float64, device=session.device
        )

    def add(self, variants: slice, logits: Tensor, batch: Batch) -> None:
        """Score the outputs (variants, samples, ...) of some variants on a batch, and add them."""
        losses, hits = self._session.score.of_variants(logits, batch.targets)
        self._losses[variants] += losses.sum(1)
        self._hits[variants] += hits.sum(1)

    def means(self) -> dict[str, Floats]:
        """Return ``accuracy`` and ``loss``, each of shape (variants,)."""
        means = torch.stack([self._hits, self._losses]).cpu().numpy() / self._session.samples
        return dict(zip(("accuracy", "loss"), means, strict=True))
