"""How the data set comes into the processes that read its items: inherited, or pickled."""

import io
import pickle
import threading
import types
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unitlens.errors import DatasetError, one_line

# Libraries whose open files lose their place, or crash, where two processes use them at once.
_FILE_LIBRARIES = {"h5py", "lmdb", "sqlite3", "tables", "netCDF4", "av", "decord"}
_WITHOUT_FILES = (
    Tensor, np.ndarray, type, types.ModuleType, types.BuiltinFunctionType, torch.dtype,
)  # fmt: skip


class OpenFileError(Exception):
    """A data set holds a file or a connection that is open."""


@dataclass(frozen=True)
class WorkerCopy:
    """A data set on its way into a process.

    Attributes
    ----------
    dataset
        The data set, where a forked process inherits it; else None.
    pickled
        The pickled data set, where it is not inherited.
    dtype
        torch's default dtype, which a new interpreter does not know.
    """

    dataset: Any
    pickled: bytes | None
    dtype: torch.dtype

    def open(self) -> Any:
        """Return the data set, in the process that reads its items."""
        torch.set_default_dtype(self.dtype)
        return self.dataset if self.pickled is None else pickle.loads(self.pickled)  # noqa: S301


def copy_for_workers(dataset: Any, *, forked: bool) -> WorkerCopy:
    """Prepare a data set for the processes that read its items.

    A forked process inherits the data set, unless the data set holds an open file: processes would
    share the place in the file, and read wrong bytes. Any other data set is pickled.

    Parameters
    ----------
    dataset
        The data set.
    forked
        Whether the processes are forked.

    Raises
    ------
    DatasetError
        Where the data set can be neither inherited nor pickled.
    """
    reason = _find_open_file(dataset) if forked else None
    if forked and reason is None:
        return WorkerCopy(dataset, None, torch.get_default_dtype())
    try:
        return WorkerCopy(None, pickled(dataset), torch.get_default_dtype())
    except Exception as error:
        what = f"the data set ({type(dataset).__qualname__}) cannot be read by workers"
        if reason is not None:
            raise DatasetError(
                f"{what}, for it holds {reason}, which processes cannot share; open the file anew "
                "in each __getitem__ without keeping it, or set workers to 0"
            ) from error
        raise DatasetError(
            f"{what}, for it cannot be pickled ({one_line(error)}); define its class and functions "
            "at the top level of a module and keep no open files, or set workers to 0"
        ) from error


def pickled(value: Any) -> bytes:
    """Pickle a value; of a tensor that is a view, only the numbers of the view."""
    stream = io.BytesIO()
    _CompactPickler(stream, protocol=5).dump(value)
    return stream.getvalue()


class _CompactPickler(pickle.Pickler):
    """A pickler of dense tensors by their bytes: torch's own takes the storage behind a view."""

    def reducer_override(self, value: Any) -> Any:
        dense = type(value) is Tensor and value.layout == torch.strided
        if not dense or value.device.type != "cpu" or value.is_quantized:
            return NotImplemented
        plain = value.detach().resolve_conj().resolve_neg().contiguous()
        raw = plain.reshape(-1).view(torch.uint8).numpy()
        return _make_tensor, (raw, value.dtype, tuple(value.shape))


def _make_tensor(raw: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if not raw.size:
        return torch.empty(shape, dtype=dtype)
    return torch.from_numpy(raw).view(dtype).reshape(shape)


def _find_open_file(dataset: Any) -> str | None:
    """Return which open file a data set holds, in words."""
    try:
        _FileFinder(_Nowhere(), protocol=5).dump(dataset)
    except OpenFileError as error:
        return str(error)
    except RecursionError:  # too deep to look through
        return None
    return None


class _Nowhere:
    def write(self, _: Any) -> None:
        """Write nothing."""


class _FileFinder(pickle.Pickler):
    """A pickler that goes through all that an object refers to, and raises at an open file."""

    def reducer_override(self, value: Any) -> Any:
        if value is int:
            return NotImplemented
        if isinstance(value, _WITHOUT_FILES):
            return int, ()
        _refuse_open_file(value)
        return int, (), _parts(value)  # the third is gone through once, also in a cycle


def _refuse_open_file(value: Any) -> None:
    library = type(value).__module__.partition(".")[0]
    in_memory = isinstance(value, io.BytesIO | io.StringIO)
    is_file = isinstance(value, io.IOBase) and not in_memory and not value.closed
    if is_file or library in _FILE_LIBRARIES:
        name = getattr(value, "name", None)
        named = f" '{name}'" if isinstance(name, str) else ""
        raise OpenFileError(f"an open file{named} ({type(value).__qualname__})")
    if isinstance(value, types.GeneratorType | threading.Thread):
        raise OpenFileError(f"a running {type(value).__name__}")


def _parts(value: Any) -> list[Any]:
    """Return what an object refers to."""
    if isinstance(value, types.FunctionType):
        return [cell.cell_contents for cell in value.__closure__ or ()]
    attributes = getattr(value, "__dict__", None)
    if attributes:
        items = list(value.items() if isinstance(value, dict) else value if _is_list(value) else ())
        return [dict(attributes), items]
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - an object that cannot be pickled may still be inherited
        return []
    parts = reduced[1:] if isinstance(reduced, tuple) else ()
    return [list(part) if hasattr(part, "__next__") else part for part in parts]


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset)
