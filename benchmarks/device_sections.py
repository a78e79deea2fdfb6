"""Sections of benchmarks/device.py: each returns rows with a measured value and what is wanted."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import xarray as xr
from torch.nn import functional
from torch.utils.data import TensorDataset

import unitlens as ul
from device_measuring import row, timed
from device_networks import NETWORKS, make, sized
from device_speed import curves, noise, speed
from device_training import training_times
from unitlens.data.items import ItemForm
from unitlens.memory_errors import lacks_memory
from unitlens.model.devices import describe_device
from unitlens.perturbation.session import Settings, open_session

VALUES = ("zero", "mean", "position_mean", "class_mean", "resample")
BOUNDS = {"float64": 1e-9, "float32": 1e-5, "tf32": None, "bfloat16": None}


def ceilings(device, size):
    """Speed of copies, matrix products and convolutions."""
    number = sized(8192, size, 256)
    square = torch.randn(number, number, device=device)
    taken = timed(square.clone, device)
    rows = [row("copy", 2 * square.nbytes / taken / 1e9, "GB/s")]
    maps = torch.randn(sized(256, size), 128, 32, 32, device=device)
    weight = torch.randn(128, 128, 3, 3, device=device)
    flop = {"matrix product": 2 * number**3, "convolution": 2 * maps.numel() * 128 * 9}
    for precision in ("ieee", "tf32", "bfloat16"):
        if precision == "tf32" and device.type != "cuda":
            continue
        half = precision == "bfloat16"
        cast = [tensor.bfloat16() if half else tensor for tensor in (square, maps, weight)]
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        actions = {
            "matrix product": lambda c=cast: c[0] @ c[0],
            "convolution": lambda c=cast: functional.conv2d(c[1], c[2], padding=1),
        }
        for name, action in actions.items():
            reached = flop[name] / timed(action, device) / 1e12
            rows.append(row(f"{name}, {precision}", reached, "TFLOP/s"))
    return rows


def structure(device, size):
    """Whether a network has the same layers, trace and resumed passes as on the CPU."""
    rows = []
    for name in NETWORKS:
        found = []
        for place in (torch.device("cpu"), device):
            model, inputs, labels = make(name, size, 12)
            settings = Settings(None, None, 0, 100, place, 1.0, "top1", None, None, ItemForm())
            dataset = TensorDataset(inputs, labels)
            with open_session(model.to(place), dataset, settings, "units") as session:
                engine = session.engine
                plans = {
                    layer: sorted(str(node) for node in plan.readers)
                    for layer, plan in engine._resumptions.items()  # noqa: SLF001
                }
                layers = [(layer.name, layer.units) for layer in session.layers]
                found.append((layers, plans, session.network.program is None, engine.is_chain))
        rows.append(row(f"{name}: differs from the CPU's", int(found[0] != found[1]), "", 0))
    return rows


def calls(dataset, layers):
    """Return each function of the library that runs a network, by its name."""
    reference = {"reference": dataset}
    ones = xr.ones_like(ul.unit_ablation(layers, dataset)["loss_increase"])
    directions = [
        ul.random_directions(layer, directions=2, seed=1) for _, layer in ones.groupby("layer")
    ]
    found = {
        f"unit ablation, {value}": lambda model, value=value, **more: ul.unit_ablation(
            model, dataset, value=value, **(reference if value != "zero" else {}), **more
        )
        for value in VALUES
    }
    return found | {
        "unit ablation, first order": lambda model, **more: ul.unit_ablation(
            model, dataset, first_order=True, **more
        ),
        "unit ablation, drawn pairs": lambda model, **more: ul.unit_ablation(
            model, dataset, rate=0.3, **more
        ),
        "group ablation": lambda model, **more: ul.group_ablation(
            model, dataset, [[0, 1], [2, 3]], **more
        ),
        "direction ablation": lambda model, **more: ul.direction_ablation(
            model, dataset, directions, **more
        ),
        "cumulative ablation": lambda model, **more: ul.cumulative_ablation(
            model, dataset, orders=2, points=4, **more
        ),
        "noise": lambda model, **more: ul.noise_robustness(
            model, dataset, [0.5, 1.0], variance=ones, draws=2, **more
        ),
    }


def difference(found, expected):
    """Return the largest difference of numbers, relative to the largest number of a variable."""
    worst = 0.0
    for name, array in expected.data_vars.items():
        if array.dtype.kind != "f" or name.endswith("_se"):
            continue
        largest = max(float(abs(array).max()), 1e-12)
        worst = max(worst, float(abs(found[name] - array).max()) / largest)
    return worst


def correctness(device, size):
    """Differences from the CPU's numbers in float64, by network, function and precision."""
    rows = []
    for name in NETWORKS:
        model, inputs, labels = make(name, size / 4, sized(200, size, 24))
        dataset = TensorDataset(inputs, labels)
        for what, call in calls(dataset, model).items():
            exact = call(model, precision="float64")
            for precision, bound in BOUNDS.items():
                if precision == "tf32" and device.type != "cuda":
                    continue
                asked = None if precision == "float32" else precision
                taken = call(model.to(device), precision=asked)
                model.to("cpu")
                error = difference(taken, exact)
                if "drawn" in what and precision == "float32":
                    bound = None  # another rounding may draw another pair
                rows.append(row(f"{name}, {what}, {precision}", error, "relative", bound))
    return rows


def recorded(device, size):
    """Differences of recorded activations and statistics from the CPU's, and their speed."""
    rows = []
    for name in ("convnet", "mlp"):
        model, inputs, labels = make(name, size, sized(2000, size, 50))
        dataset = TensorDataset(inputs, labels)
        stored = []
        with tempfile.TemporaryDirectory() as folder:
            for place in ("cpu", device):
                start = time.perf_counter()
                ul.record_activations(model, dataset, f"{folder}/{place}", device=place)
                taken = time.perf_counter() - start
                stored.append(ul.open_activations(f"{folder}/{place}"))
            layers = [node for node in stored[0].leaves if "activation" in node.variables]
            worst = max(
                float(abs(stored[1][node.path]["activation"] - node["activation"]).max())
                / max(float(abs(node["activation"]).max()), 1e-12)
                for node in layers
            )
        bare = timed(lambda m=model, i=inputs: _bare_passes(m, i, device), device, least=0.0)
        rows.append(row(f"recording, {name}: differs from the CPU's", worst, "relative", 1e-5))
        rows.append(row(f"recording, {name}: time / bare passes", taken / bare, "x"))
    return rows


def _bare_passes(model, inputs, device):
    model.to(device)
    with torch.inference_mode():
        for batch in inputs.split(256):
            model(batch.to(device)).cpu()
    model.to("cpu")


def repeated(device, size):
    """Whether a second call gives the same bits."""
    rows = []
    for name in ("convnet", "mlp"):
        model, inputs, labels = make(name, size / 4, sized(200, size, 24))
        dataset = TensorDataset(inputs, labels)
        model.to(device)
        for what, call in calls(dataset, model).items():
            same = call(model).identical(call(model))
            rows.append(row(f"{name}, {what}: other bits again", int(not same), "", None))
    return rows


def trained(device, size):
    """Whether a killed training ends in the same weights, and its speed against a bare loop."""
    ours, bare, differs = training_times(device, size)
    wanted = 0 if device.type == "cpu" else None  # the promise is for CPUs
    return [
        row("killed and resumed: other weights than undisturbed", int(differs), "", wanted),
        row("an epoch, with its two scores", ours, "s"),
        row("an epoch / an epoch of a bare loop without scores", ours / bare, "x"),
    ]


def memory(device, size):
    """Peak of a GPU's memory against the limit, and what too little memory leads to."""
    if device.type != "cuda":
        return []
    rows = []
    for limit in (0.25, 1.0, 4.0):
        model, inputs, labels = make("convnet", size, sized(2000, size, 64))
        dataset, model = TensorDataset(inputs, labels), model.to(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        ul.unit_ablation(model, dataset, units_per_layer=8, memory_gb=limit)
        peak = (torch.cuda.max_memory_allocated(device) - before) / 1e9
        rows.append(row(f"peak / memory_gb={limit}", peak / limit, "", 1.0))
    free = torch.cuda.mem_get_info(device)[0]
    held = torch.empty(int(free * 0.98), dtype=torch.uint8, device=device)
    model, inputs, labels = make("convnet", 1.0, 2000)
    try:
        ul.unit_ablation(model.to(device), TensorDataset(inputs, labels), memory_gb=free / 1e9)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        rows.append(row(f"used-up memory: {str(error)[:80]}", int(not lacks_memory(error)), "", 0))
    del held
    return rows


def shared(device, size):
    """Samples a second of eight processes at once, against one."""
    code = (
        "import sys, time, torch; sys.path.insert(0, sys.argv[1]); import unitlens as ul;"
        "from device_networks import make; from torch.utils.data import TensorDataset;"
        "model, inputs, labels = make('mlp', float(sys.argv[3]), int(sys.argv[4]));"
        "model.to(sys.argv[2]); data = TensorDataset(inputs, labels);"
        "ul.unit_ablation(model, data, memory_gb=1, samples=8); start = time.time();"
        "ul.unit_ablation(model, data, memory_gb=1); print(time.time() - start)"
    )
    given = [str(Path(__file__).parent), str(device), str(size), str(sized(5000, size, 64))]
    seconds = {}
    for number in (1, 8):
        command = [sys.executable, "-c", code, *given]
        jobs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(number)]
        seconds[number] = max(float(job.communicate()[0].split()[-1]) for job in jobs)
    return [row("8 jobs at once: as fast as one after another", 8 * seconds[1] / seconds[8], "x")]


def about(device, size):
    """What the device is."""
    return [row(f"{describe_device(device)}, PyTorch {torch.__version__}, size {size}", 1)]


SECTIONS = {
    section.__name__: section
    for section in (
        *(about, ceilings, structure, correctness, repeated, recorded, trained),
        *(speed, curves, noise, memory, shared),
    )
}
