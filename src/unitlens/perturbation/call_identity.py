"""The identity of a call: hashes of its network, data, settings and code.

Parts of one call are joined, and a call goes on from saved sums, only where these are equal.
"""

import copy
import functools
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
import xxhash
from torch import Tensor, nn

from unitlens.hashed_files import hash_values
from unitlens.model.devices import describe_device
from unitlens.model.inputs import AnyInputs, tensors_in
from unitlens.perturbation.partial_calls import KeptSums, PartialCall
from unitlens.provenance.digests import function_digest

# What a text of an object tells of this process alone.
_ADDRESS = re.compile(r"<code object .*?>| at 0x[0-9a-fA-F]+")


class CallIdentity:
    """The identity of a call; its data are seen batch by batch.

    Parameters
    ----------
    call
        The call.
    model
        The network, as the user gave it.

    Attributes
    ----------
    call
        The call.
    memory_bytes
        Memory limit of the call.
    devices
        Descriptions of the devices that the sums were computed on.
    """

    memory_bytes: float = 0.0

    def __init__(self, call: PartialCall, model: nn.Module) -> None:
        self.call = call
        network, self._settings = xxhash.xxh3_128(), xxhash.xxh3_128()
        self._data, self._reference = _SampleHash(), _SampleHash()
        _add_network(network, model)
        self._network = network.hexdigest()
        self._code = function_digest(f"unitlens.perturbation.{call.function}", call.function)
        self._batches = ""
        self.devices: list[str] = []
        self.add_setting(call.function, dict(call.arguments))

    def add_setting(self, *values: Any) -> None:
        """Take values into account that determine the result."""
        for value in values:
            _add(self._settings, value)

    def see(self, inputs: AnyInputs, targets: Tensor) -> None:
        """Take a batch of the scored samples into account."""
        self._data.add(inputs, targets)

    def see_reference(self, inputs: AnyInputs, targets: Tensor) -> None:
        """Take a batch of the reference into account."""
        self._reference.add(inputs, targets)

    def note_arithmetic(self, batch_size: int, memory_bytes: float, device: torch.device) -> None:
        """Note what moves the last digits of sums, since it sets what is computed at once."""
        self.memory_bytes = memory_bytes
        self.add_devices([describe_device(device)])
        self._batches = f"{batch_size} samples per batch, memory_gb {memory_bytes / 1e9:g}"
        if device.type != "cpu":
            self._batches += f", device {device.type}"

    def add_devices(self, devices: Sequence[str]) -> None:
        """Add devices on which earlier sums were computed."""
        self.devices = [*dict.fromkeys([*devices, *self.devices])]

    def of_preparation(self, name: str) -> "CallIdentity":
        """Return the identity of work that comes before the pass over the scored samples.

        The work has a file of sums of its own, which stays when the work is done.

        Parameters
        ----------
        name
            Name of the work.
        """
        other = copy.copy(self)
        other._data = _SampleHash()  # noqa: SLF001  of its own class
        path = self.call.path
        kept = None if path is None else KeptSums(path.with_name(f"{path.name}.{name}"))
        function = f"{name} of {self.call.function}"
        other.call = replace(self.call, function=function, checkpoint=kept)
        return other

    @property
    def data_hash(self) -> str:
        """Hash of the scored samples that were seen."""
        return self._data.digest()

    @property
    def arithmetic(self) -> str:
        """What moves the last digits of numbers, in words."""
        threads = torch.get_num_threads()
        return (
            f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {threads} "
            f"threads, {self._batches}"
        )

    def before_data(self) -> dict[str, str]:
        """Return the hashes that are known before data are read."""
        return {
            "network_hash": self._network,
            "settings_hash": hash_values([self._settings.hexdigest(), self._reference.digest()]),
            "code_hash": self._code,
        }

    def attributes(self) -> dict[str, object]:
        """Return the attributes of a table: the devices, and of a part what it is a part of."""
        attributes: dict[str, object] = {"device": "; ".join(self.devices)}
        if self.call.part is None:
            return attributes
        number, parts = map(int, self.call.part)
        return {
            **attributes,
            "part": number,
            "parts": parts,
            **self.before_data(),
            "data_hash": self.data_hash,
            "arithmetic": self.arithmetic,
        }


class _SampleHash:
    """A hash of samples in their order, in whichever batches they come."""

    def __init__(self) -> None:
        self._totals: list[Any] = []  # one a tensor of a sample

    def add(self, inputs: AnyInputs, targets: Tensor) -> None:
        tensors = (*tensors_in(inputs), targets)
        if not self._totals:
            forms = [f"{tensor.dtype}{tuple(tensor.shape[1:])}" for tensor in tensors]
            self._totals = [xxhash.xxh3_128(form.encode()) for form in forms]
        for total, tensor in zip(self._totals, tensors, strict=True):
            _add_numbers(total, tensor)

    def digest(self) -> str:
        return hash_values([total.hexdigest() for total in self._totals])


def _add_network(total: Any, model: nn.Module) -> None:
    _add_text(total, f"{type(model).__module__}.{type(model).__qualname__} {model}")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        _add_text(total, name)
        _add(total, tensor)


def _add_text(total: Any, text: str) -> None:
    total.update(f"{_ADDRESS.sub('', text)}\0".encode())


def _add_numbers(total: Any, tensor: Tensor) -> None:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    if len(flat) == 1:  # contiguous with any stride, but bytes are viewed along a stride of 1
        flat = flat.clone(memory_format=torch.contiguous_format)
    total.update(flat.view(torch.uint8).numpy())


def _add(total: Any, value: Any) -> None:
    """Add a value to a hash: numbers and arrays by their content, functions by their code."""
    if isinstance(value, Tensor):
        _add_text(total, f"{value.dtype}{tuple(value.shape)}")
        _add_numbers(total, value)
    elif isinstance(value, np.ndarray):
        _add_text(total, f"{value.dtype}{value.shape}")
        by_text = value.dtype.hasobject
        total.update(repr(value.tolist()).encode() if by_text else value.tobytes())
    elif isinstance(value, xr.DataArray):
        _add(total, [value.dims, value.values])
        _add(total, {str(name): array.values for name, array in value.coords.items()})
    elif isinstance(value, Mapping):  # of xarray, too
        _add(total, list(value.items()))
    elif isinstance(value, list | tuple):
        _add_text(total, f"{len(value)} values")
        for entry in value:
            _add(total, entry)
    elif isinstance(value, set | frozenset):
        _add(total, sorted(map(repr, value)))
    elif isinstance(value, nn.Module):
        _add_network(total, value)
    elif callable(value):
        _add_function(total, value)
    else:
        _add_text(total, f"{type(value).__name__} {value!r}")


def _add_function(total: Any, function: Any, within: tuple[int, ...] = ()) -> None:
    """Add a function by its code, its defaults and what it closes over, or an object by its state.

    Parameters
    ----------
    total
        The hash.
    function
        The function, or an object that can be called.
    within
        Functions whose closures are being added: a function may close over itself.
    """
    if id(function) in within:
        return
    if isinstance(function, functools.partial):
        _add(total, [function.func, function.args, function.keywords])
        return
    _add_text(total, f"{type(function).__name__} {getattr(function, '__qualname__', '')}")
    code = getattr(function, "__code__", None)
    if code is None:
        _add_text(total, repr(function))
        _add(
            total,
            {name: v for name, v in vars(function).items() if not callable(v)}
            if hasattr(function, "__dict__")
            else None,
        )
        return
    total.update(code.co_code)
    _add_text(total, repr((code.co_consts, code.co_names)))
    _add(total, function.__defaults__)
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a name that is not bound yet
            content = cell.cell_contents
            if hasattr(content, "__code__"):
                _add_function(total, content, (*within, id(function)))
            else:
                _add(total, content)
