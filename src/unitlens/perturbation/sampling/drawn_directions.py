"""Units or directions that are ablated, each alone, on drawn samples of a batch."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from unitlens.perturbation.engine.effects import BasePass, Effect
from unitlens.perturbation.engine.perturbed_directions import Directions
from unitlens.perturbation.engine.steps import IsDue
from unitlens.perturbation.sampling.predicted_changes import Predictions, predict_changes
from unitlens.perturbation.session import Batch, Session


class DrawnDirections:
    """The ablation of units or directions on one batch.

    Parameters
    ----------
    session, batch
        The session and one of its batches.
    directions
        The units or directions, one entry per layer, with their replacements of this batch.
        Together they have all rows of a table.
    """

    def __init__(self, session: Session, batch: Batch, directions: Sequence[Directions]) -> None:
        self._session, self._batch, self._directions = session, batch, directions

    def predictions(self) -> Predictions:
        """Return the predictions of all rows of the table."""
        return predict_changes(self._session, self._batch, self._directions)

    def outputs(self, drawn: Tensor, is_due: IsDue) -> tuple[Tensor, Iterator[Effect]]:
        """Return the outputs of the unperturbed network, and the effects of drawn pairs."""
        base = self._session.engine.base_pass(self._batch.inputs)
        return base.logits, self._effects(base, drawn, is_due)

    def _effects(self, base: BasePass, drawn: Tensor, is_due: IsDue) -> Iterator[Effect]:
        chosen = [one.on_pairs(drawn[one.table_rows]) for one in self._directions]
        for effect in self._session.engine.each_alone(base, chosen, is_due=is_due):
            assert isinstance(effect, Effect)  # noqa: S101  no scores are given
            yield effect
