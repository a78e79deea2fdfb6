"""Outputs of a network: which tensor of a container is read, and containers as rows of numbers."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from unitlens.errors import ArgumentError, ModelError, one_line
from unitlens.memory_errors import lacks_memory
from unitlens.model.graph import find_logits
from unitlens.model.inputs import map_structure, tensors_in

OutputChoice = str | int | Callable[[Any], Any] | None


def entry(output: Any, key: str | int) -> Any:
    """Return an entry of an output by its key, attribute or place; None where there is none."""
    if isinstance(output, Mapping):
        if isinstance(key, str):
            return output.get(key)
        values = [*output.values()]
        return values[key] if -len(values) <= key < len(values) else None
    if isinstance(key, str):
        return getattr(output, key, None)
    if not isinstance(output, tuple | list):
        return None
    return output[key] if -len(output) <= key < len(output) else None


def keys_of(output: Any) -> list[str | int]:
    """Return the keys of a container, or the places of its entries."""
    if isinstance(output, Mapping):
        return list(output)
    return list(range(len(output))) if isinstance(output, tuple | list) else []


class OutputReader:
    """Reads the tensor that is scored or recorded from each output of a network.

    Parameters
    ----------
    choice
        Key or place of an entry, or a function of the output. None: what :func:`find_logits` finds.
    whole
        Whether outputs that are containers are read as a whole: the tensors of all entries are laid
        side by side as rows of numbers, one row a sample, and :meth:`restore` returns the
        container.
    """

    def __init__(self, choice: OutputChoice = None, *, whole: bool = False) -> None:
        self.choice, self._whole = choice, whole
        self._template: Any = None

    @property
    def name(self) -> str | int:
        """The choice in words, for the attributes of a result."""
        if callable(self.choice):
            return getattr(self.choice, "__name__", type(self.choice).__name__)
        return "" if self.choice is None else self.choice

    def __call__(self, output: Any) -> Tensor:
        """Return the tensor of an output.

        Raises
        ------
        ModelError
            Where the output has no such entry, or none or several tensors could be meant.
        """
        chosen = self.chosen(output)
        if isinstance(chosen, Tensor):
            self._template = None
            return chosen
        if self._whole:
            return self._pack(chosen)
        if chosen is None and self.choice is None and len(_shapes(output)) > 1:
            raise ModelError(ask_which(output, _shapes(output)))
        if self.choice is None:
            raise no_tensor(output)
        raise ModelError(f"output={self.name!r} gives {_described(chosen)}, but must give a tensor")

    def chosen(self, output: Any) -> Any:
        """Return what is chosen of an output: a tensor, or a container.

        Raises
        ------
        ModelError
            Where the output has no such entry, or the function fails.
        """
        if callable(self.choice):
            try:
                return self.choice(output)
            except Exception as error:
                if lacks_memory(error):
                    raise
                raise ModelError(
                    f"the function output={self.name} cannot read the model's output, "
                    f"{_described(output)} ({type(error).__name__}: {one_line(error)})"
                ) from error
        if self.choice is None:
            return output if self._whole else find_logits(output)
        found = entry(output, self.choice)
        if found is None:
            known = ", ".join(map(repr, keys_of(output))) or "no entries"
            raise ModelError(
                f"output is {self.choice!r}, but the model puts out {_described(output)} with "
                f"{known}; name one of them, or leave output away"
            )
        return found

    def node(self, output: Any) -> fx.Node | None:
        """Return the node of the chosen tensor in the output of a graph; None where none is one."""
        if self._whole:
            return output if self.choice is None and isinstance(output, fx.Node) else None
        if isinstance(output, fx.Node) and isinstance(output.target, type):
            names = getattr(output.target, "_fields", ())  # of a named tuple, else a data class
            output = {**dict(zip(names, output.args, strict=False)), **output.kwargs}
        if callable(self.choice):
            try:  # a function that takes an entry gives its node
                found = self.choice(output)
            except Exception:  # noqa: BLE001  it computes with tensors, or reads attributes
                return None
        else:
            found = find_logits(output) if self.choice is None else entry(output, self.choice)
        return found if isinstance(found, fx.Node) else None

    def restore(self, rows: Tensor) -> Any:
        """Return the container of some rows that this reader has laid out, or the rows themselves.

        Parameters
        ----------
        rows
            Rows of numbers, (samples, numbers), of the latest output.
        """
        if self._template is None:
            return rows
        template, spans = self._template
        parts = iter(
            rows[:, start:stop].reshape(len(rows), *shape).to(dtype)
            for start, stop, shape, dtype in spans
        )
        filled = map_structure(lambda leaf: next(parts) if leaf is _SLOT else leaf, template[1])
        return template[0](filled)

    def _pack(self, output: Any) -> Tensor:
        if isinstance(output, list | tuple) and any(isinstance(e, Mapping) for e in output):
            raise no_tensor(output)  # a dictionary for each sample, as of a detection model
        samples = max((len(t) for t in _tensors_of(output) if t.dim()), default=0)
        tensors: list[Tensor] = []

        def take(leaf: Any) -> Any:
            if not (isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == samples):
                return None  # it has no row for each sample
            tensors.append(leaf)
            return _SLOT

        template = map_structure(take, _plain(output))
        if not tensors:
            raise no_tensor(output)
        dtypes = {tensor.dtype for tensor in tensors}
        common = dtypes.pop() if len(dtypes) == 1 else torch.float64  # exact up to 2**53
        spans, start = [], 0
        for tensor in tensors:
            width = tensor[:1].numel() if len(tensor) else 0
            spans.append((start, start + width, tensor.shape[1:], tensor.dtype))
            start += width
        self._template = (_rebuilder(output), template), spans
        return torch.cat([t.reshape(samples, -1).to(common) for t in tensors], dim=1)


class _Slot:
    """The place of a tensor in a container."""


_SLOT = _Slot()


def _plain(output: Any) -> Any:
    return dict(output) if isinstance(output, Mapping) else output


def _rebuilder(output: Any) -> Callable[[Any], Any]:
    """Return a function that makes a mapping of the class of the output from a dictionary."""
    if not isinstance(output, Mapping) or type(output) is dict:
        return lambda filled: filled
    kind: Any = type(output)
    return lambda filled: kind(**{key: value for key, value in filled.items() if value is not None})


def _tensors_of(output: Any) -> list[Tensor]:
    return tensors_in(_plain(output))


def _shapes(output: Any) -> dict[str | int, tuple[int, ...]]:
    """Return the shapes of the tensors of a container by their keys."""
    entries = {key: entry(output, key) for key in keys_of(output)}
    return {key: tuple(e.shape) for key, e in entries.items() if isinstance(e, Tensor)}


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    return f"a {type(output).__name__}"


def no_tensor(output: Any) -> ModelError:
    """Return the error of an output in which no tensor has a row for each sample."""
    return ModelError(
        f"the model puts out {_described(output)}, but must put out a tensor with a row for each "
        "sample; give output=, a function of the model's output that returns such a tensor"
    )


def ask_which(output: Any, shapes: Mapping[str | int, tuple[int, ...]]) -> str:
    """Return the message that asks which of several tensors of an output is meant."""
    listed = ", ".join(f"{key!r} of shape {shape}" for key, shape in shapes.items())
    first = next(iter(shapes))
    return (
        f"the model puts out a {type(output).__name__} with the tensors {listed}, and several "
        f"could be meant; name one, for instance output={first!r}, or give a function of the output"
    )


def choose_logits(output: Any, labels: Tensor | None, classes: int | None) -> OutputReader:
    """Return the reader of the logits of an output, where nothing is chosen.

    Parameters
    ----------
    output
        An output for a few samples.
    labels
        Labels of these samples; None where there are no classes.
    classes
        Number of classes that the data set states, if any.

    Returns
    -------
    The reader of the output itself where it is a tensor; of a container, of its entry ``logits`` or
    ``out``, else of the only tensor that fits the labels: one row a sample, and a column for each
    class.

    Raises
    ------
    ModelError
        Where several tensors fit, or there are several and none fits.
    """
    if find_logits(output) is not None:
        return OutputReader()
    shapes = _shapes(output)
    if labels is None or not shapes:
        return OutputReader()  # it asks which, or says that there is none
    least = max(2, int(labels.max()) + 1) if len(labels) else 2
    fitting = {
        key: shape
        for key, shape in shapes.items()
        if len(shape) == 2
        and shape[0] == len(labels)
        and (shape[1] == classes if classes else shape[1] >= least)
        and entry(output, key).is_floating_point()
    }
    if len(fitting) == 1:
        return OutputReader(next(iter(fitting)))
    raise ModelError(ask_which(output, fitting or shapes))


def check_choice(choice: OutputChoice) -> None:
    """Raise ArgumentError where `output` is no key, place or function."""
    if choice is None or callable(choice) or isinstance(choice, str):
        return
    if isinstance(choice, bool) or not isinstance(choice, int):
        raise ArgumentError(
            f"output is {choice!r}, but must be a key such as 'logits', a place such as 0, or a "
            "function of the model's output"
        )


def classes_last(output: Tensor, targets: Tensor) -> Tensor:
    """Return an output with the classes on its last axis.

    Parameters
    ----------
    output
        Shape (samples, positions ..., classes) or (samples, classes, positions ...).
    targets
        Shape (samples, positions ...).

    Raises
    ------
    ArgumentError
        Where the shape of the output is neither, or could be both.
    """
    last = output.shape[:-1] == targets.shape
    second = (*output.shape[:1], *output.shape[2:]) == tuple(targets.shape)
    if last and second:
        raise ArgumentError(
            f"the output has the shape {tuple(output.shape)}, so that its classes could lie on "
            "axis 1 or on the last axis; give a function as output that adds a class, such "
            "as torch.nn.functional.pad with -inf"
        )
    if not last and not second:
        raise ArgumentError(
            f"the output has the shape {tuple(output.shape)} and the targets "
            f"{tuple(targets.shape)}, but positions='samples' needs logits of shape (samples, "
            "positions, classes) or (samples, classes, positions); give a function as output that "
            "brings the logits to this shape"
        )
    return output if last else output.movedim(1, -1)
