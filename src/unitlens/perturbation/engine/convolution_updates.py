"""The convolution of one channel a row, subtracted from outputs."""

from typing import Any

from torch import Tensor
from torch.nn import functional

from unitlens.model.observation import select_samples


def subtract_convolved(
    rows: Tensor, maps: Tensor, weights: Tensor, places: Tensor, module: Any
) -> None:
    """Subtract from each row the convolution of its map with its weights, in place.

    All rows are updated at once: by a sum of products where the kernel has one position, else by a
    product of two matrices a row, its patches and its weights. The numbers of a row do not depend
    on the rows beside it.

    Parameters
    ----------
    rows
        Outputs of the module, (rows, out, positions ...).
    maps
        Map of each row, (rows, positions ...).
    weights
        Weights, (weights, out, 1, kernel ...).
    places
        Index of the weights of each row, (rows,).
    module
        The convolution, for its kernel, stride, padding and dilation.
    """
    of_rows = select_samples(weights, 0, places).flatten(2).to(rows.dtype)
    patches = _patches(maps.to(rows.dtype), module)
    if rows.is_contiguous():
        _subtract_products(rows.flatten(2), of_rows, patches)
        return
    channels_last = rows.movedim(1, -1)
    outputs = channels_last.flatten(1, -2)
    _subtract_products(outputs, patches.transpose(1, 2), of_rows.transpose(1, 2))
    if not channels_last.is_contiguous():  # then the outputs were copied
        channels_last.copy_(outputs.view_as(channels_last))


def _subtract_products(outputs: Tensor, ones: Tensor, others: Tensor) -> None:
    """Subtract the product of two matrices from each of some matrices, in place."""
    if ones.shape[-1] == 1:
        outputs.addcmul_(ones, others, value=-1)
    else:
        outputs.baddbmm_(ones, others, alpha=-1)


def _patches(maps: Tensor, module: Any) -> Tensor:
    """Return what each position of a kernel reads for each output, (rows, kernel, outputs)."""
    axes = len(module.kernel_size)
    padding = _padding(module)
    if any(padding):
        maps = functional.pad(maps, padding)
    windows = maps
    sizes = zip(module.kernel_size, module.stride, module.dilation, strict=True)
    for axis, (kernel, stride, dilation) in enumerate(sizes, 1):
        windows = windows.unfold(axis, dilation * (kernel - 1) + 1, stride)[..., ::dilation]
    kernel_first = windows.permute(0, *range(1 + axes, 1 + 2 * axes), *range(1, 1 + axes))
    return kernel_first.flatten(1 + axes).flatten(1, axes)


def _padding(module: Any) -> list[int]:
    """Return the zeros on each side of each axis, the last axis first, as ``pad`` takes them."""
    sides: list[int] = []
    sizes = zip(module.kernel_size, module.dilation, strict=True)
    for axis, (kernel, dilation) in reversed(list(enumerate(sizes))):
        if module.padding == "valid":
            sides += [0, 0]
        elif module.padding == "same":
            whole = dilation * (kernel - 1)
            sides += [whole // 2, whole - whole // 2]
        else:
            sides += [module.padding[axis]] * 2
    return sides
