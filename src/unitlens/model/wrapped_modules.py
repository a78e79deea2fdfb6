"""Models that other tools have wrapped: their own modules are found, or the model is refused."""

import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.nn.parameter import is_lazy

from unitlens.errors import ModelError

# Class of a wrapper, by its module and name, and the attribute that holds the wrapped module. A
# wrapper computes what its module does.
_WRAPPERS = {
    ("torch._dynamo.eval_frame", "OptimizedModule"): "_orig_mod",
    ("torch.nn.parallel.data_parallel", "DataParallel"): "module",
    ("torch.nn.parallel.distributed", "DistributedDataParallel"): "module",
    ("torch.optim.swa_utils", "AveragedModel"): "module",
    (
        "torch.distributed.algorithms._checkpoint.checkpoint_wrapper",
        "CheckpointWrapper",
    ): "_checkpoint_wrapped_module",
    ("lightning.fabric.wrappers", "_FabricModule"): "_forward_module",
    ("lightning_fabric.wrappers", "_FabricModule"): "_forward_module",
}
# A nonlinearity in the graph of a scripted module.
_NONLINEARITY = re.compile(
    r"aten::(\w*(relu|elu|silu|sigmoid|tanh|mish|hardswish|softplus|softshrink)|clamp)\w*\("
)
_SHARDED = "FullyShardedDataParallel"


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside the wrappers of a model, the model itself where it has none.

    Wrappers are those of ``torch.compile``, ``DataParallel``, ``DistributedDataParallel``,
    ``AveragedModel``, activation checkpointing and Lightning's Fabric. A wrapper that has hooks or
    a ``forward`` of its own stays.

    Parameters
    ----------
    model
        The model.

    Raises
    ------
    ModelError
        Where the model is no ``torch.nn.Module`` whose modules can be read, or lacks its weights.

    Examples
    --------
    >>> relu = nn.ReLU()
    >>> unwrap(nn.DataParallel(relu)) is relu
    True
    """
    _refuse_others(model)
    inner = _wrapped(model)
    while inner is not None:
        model = inner
        inner = _wrapped(model)
    _refuse_unreadable(model)
    return model


@contextmanager
def plain_modules(model: nn.Module) -> Iterator[None]:
    """Take the wrappers off the modules inside of a model, and have no module compiled or fused.

    Encoder layers of ``torch.nn`` run operation by operation, not in one fused operation that hides
    their units. After the block all is as before.

    Parameters
    ----------
    model
        The model, which is no wrapper itself.
    """
    with ExitStack() as stack:
        for parent in list(model.modules()):
            for name, child in list(parent._modules.items()):  # noqa: SLF001  as setattr may refuse
                if child is not None and _wrapped(child) is not None:
                    stack.callback(parent._modules.__setitem__, name, child)  # noqa: SLF001
                    parent._modules[name] = unwrap(child)  # noqa: SLF001
        for module in model.modules():
            compiled = vars(module).get("_compiled_call_impl")
            if compiled is not None:  # of Module.compile()
                stack.callback(setattr, module, "_compiled_call_impl", compiled)
                module._compiled_call_impl = None  # noqa: SLF001
        fused = torch.backends.mha.get_fastpath_enabled()
        stack.callback(torch.backends.mha.set_fastpath_enabled, fused)
        torch.backends.mha.set_fastpath_enabled(value=False)
        if "torch._dynamo" in sys.modules:  # else nothing is compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            config: Any = sys.modules["torch._dynamo"].config
            stack.enter_context(config.patch(error_on_nested_fx_trace=False))
        yield


def _wrapped(model: nn.Module) -> nn.Module | None:
    """Return the module that a wrapper holds, None where the model is no wrapper."""
    for kind in type(model).__mro__:
        attribute = _WRAPPERS.get((kind.__module__, kind.__qualname__))
        if attribute is None:
            continue
        hooked = model._forward_hooks or model._forward_pre_hooks  # noqa: SLF001
        inner = getattr(model, attribute, None)
        changed = type(model).forward is not getattr(kind, "forward", None)
        return inner if isinstance(inner, nn.Module) and not hooked and not changed else None
    return None


def _refuse_others(model: object) -> None:
    """Raise ModelError for what is no module of torch."""
    if isinstance(model, nn.Module):
        return
    name = type(model).__name__
    if isinstance(model, type):
        problem, remedy = f"the class {model.__name__}", "make a network of it, as in Net()"
    elif name == "ExportedProgram":
        problem, remedy = "an ExportedProgram", "give the module that was exported"
    elif isinstance(model, dict):
        problem = f"a dictionary ({name}), such as a state dict or a checkpoint"
        remedy = "build the network, load the weights by load_state_dict, and give the network"
    elif callable(model):
        problem, remedy = f"a {name}", "give the module that it calls"
    else:
        problem, remedy = f"a {name}", "give the network itself"
    raise ModelError(f"the model is {problem}, but must be a torch.nn.Module; {remedy}")


def _refuse_unreadable(model: nn.Module) -> None:
    """Raise ModelError for a module whose activations or weights cannot be read."""
    name = type(model).__name__
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError(
            f"the model is a TorchScript module ({name}), inside of which no activation can be "
            "read; give the torch.nn.Module that was scripted, traced or frozen"
        )
    if _is_exported(model):
        raise ModelError(
            "the model is an exported program, whose operations are no longer those of its "
            "modules; give the torch.nn.Module that was exported"
        )
    if _SHARDED in {kind.__name__ for kind in type(model).__mro__}:
        raise ModelError(
            f"the model is sharded ({name}), so that no process has its weights; gather the "
            "weights, load them into the plain torch.nn.Module, and give that"
        )
    for path, module in model.named_modules():
        if _hides_units(module):
            raise ModelError(
                f"the module '{path}' is scripted or exported ({type(module).__name__}), so its "
                "units cannot be read; put the torch.nn.Module that it was made of in its place"
            )
        own = [*module._parameters.values(), *module._buffers.values()]  # noqa: SLF001
        if any(is_lazy(tensor) for tensor in own if tensor is not None):
            raise ModelError(
                f"the module '{path}' ({type(module).__name__}) is lazy and has no weights yet; "
                "run the model once on a batch of inputs, as in model(inputs)"
            )
        if any(tensor.is_meta for tensor in own if tensor is not None):
            raise ModelError(
                f"the weights of '{path}' ({type(module).__name__}) are on the device 'meta', so "
                "they have no values; make the model on the CPU and load its weights"
            )


def _hides_units(module: nn.Module) -> bool:
    """Tell whether a module runs nonlinearities that are no operations of torch any more."""
    if isinstance(module, torch.jit.ScriptModule):
        return _NONLINEARITY.search(str(getattr(module, "inlined_graph", ""))) is not None
    return _is_exported(module)


def _is_exported(model: nn.Module) -> bool:
    if type(model).__module__.startswith("torch.export"):
        return True
    return isinstance(model, fx.GraphModule) and any(
        isinstance(node.target, torch._ops.OpOverload)  # noqa: SLF001
        for node in model.graph.nodes
    )
