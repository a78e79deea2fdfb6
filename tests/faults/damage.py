"""Damage to one file of a finished results folder, and what the workflow then makes of it."""

from dataclasses import dataclass

from faults.fork_server import HUNG
from faults.readers import COMPONENTS, FILES
from faults.stages import OF_ALL, OF_NETWORK, run_stage

# From the best to the worst. What is removed and not looked for counts as refused.
OUTCOMES = ("right", "refused", "wrong", "traceback", "hang")
DAMAGES = ("flip", "truncate", "zero", "remove", "swap")


@dataclass(frozen=True)
class FileKind:
    """Files of a results folder that the same steps read.

    Attributes
    ----------
    name
        What they are, for the account.
    patterns
        Patterns of their paths in the results folder.
    chain
        Stages that read the files, and those that read what these write, in their order. A stage
        of one network is run for the network of the file.
    reads
        Ends of the names of ``readers.read_folder`` that come from these files.
    """

    name: str
    patterns: tuple
    chain: tuple
    reads: tuple = ()


_CURVES = ("unit-ablation", "cumulative-ablation", "noise-robustness")
KINDS = (
    FileKind(
        "dataset.json", ("datasets/*/dataset.json",), ("unit-ablation", "tabulate"), ("test",)
    ),
    FileKind("samples", ("datasets/*/*.safetensors",), ("unit-ablation", "tabulate"), ("test",)),
    FileKind("checkpoint.json", ("*/checkpoint.json",), (*_CURVES, "tabulate"), ("checkpoint",)),
    FileKind("weights", ("*/checkpoint.safetensors",), (*_CURVES, "tabulate"), ("checkpoint",)),
    FileKind("kept epochs", ("*/epoch-*/checkpoint.*",), ("cumulative-ablation", "tabulate")),
    FileKind("activations.json", ("*/t*/activations.json",), OF_NETWORK[:3], ("activations",)),
    FileKind("stores", ("*/t*/activations.zarr/**/*",), OF_NETWORK[:3], ("activations",)),
    FileKind("class_statistics.nc", ("*/t*/*.nc",), ("unit-measures", "tabulate")),
    FileKind("l1_norm.nc", ("*/l1_norm.nc",), ("unit-measures", "tabulate")),
    FileKind("unit_measures.nc", ("*/unit_measures.nc",), ("noise-robustness", "tabulate")),
    FileKind(
        "principal_components.nc",
        ("*/principal_components.nc",),
        ("cumulative-ablation", "tabulate"),
    ),
    FileKind("perturbations", ("*/*_ablation.nc", "*/noise_robustness.nc"), ("tabulate",)),
    FileKind("history.nc", ("*/history.nc",), ("tabulate",)),
    FileKind("plan.json", ("plan.json",), ("tabulate",)),
    FileKind("tables.json", ("tables.json",), OF_ALL[1:], ("tables",)),
    FileKind("tables", ("*.zarr/**/*", "checkpoints/*.zarr/**/*"), OF_ALL[1:], ("tables",)),
    FileKind("figures", ("figures/*.json", "figures/*.svg", "figures/*.rst"), OF_ALL[3:]),
    FileKind("paper", ("paper.csv", "paper.md", "beyond.md", "paper.json"), OF_ALL[3:]),
)


def files_of(results, kind):
    """Return the files of a kind."""
    found = (path for pattern in kind.patterns for path in results.glob(pattern))
    return sorted(path for path in found if path.is_file() and ".lock" not in path.name)


def damage_file(path, how, generator, peers):
    """Damage a file.

    Parameters
    ----------
    path
        The file, which other directories may share: it is never written in place.
    how
        One of :data:`DAMAGES`.
    generator
        Random generator.
    peers
        Files of the same kind, of which one takes the place of the file in a swap.

    Returns
    -------
    Whether the file is another one afterwards.
    """
    content = path.read_bytes()
    changed = bytearray(content)
    if how == "remove":
        path.unlink()
        return True
    if how == "swap":
        others = [peer for peer in peers if peer.read_bytes() != content]
        changed = generator.choice(others).read_bytes() if others else content
    elif how == "truncate":
        changed = changed[: generator.randrange(max(1, len(content)))]
    elif content:
        place = generator.randrange(len(content))
        if how == "flip":
            changed[place] ^= 1 << generator.randrange(8)
        else:
            end = min(len(content), place + generator.randrange(1, 65))
            changed[place:end] = bytes(end - place)
    if bytes(changed) == content:
        return False
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(changed)
    beside.replace(path)
    return True


class Aftermath:
    """What the readers and the steps after a damage say.

    Parameters
    ----------
    server
        The server of processes.
    made
        The undisturbed workflow.
    directory
        The directory with the damage.
    """

    def __init__(self, server, made, directory):
        self._server, self._made, self._directory = server, made, directory

    def outcome(self, kind, path, how):
        """Return what becomes of a damage, one of :data:`OUTCOMES`, and what is wrong, in words.

        Parameters
        ----------
        kind
            The kind of file.
        path
            The damaged file.
        how
            The damage. A table of another network is whole, so that its readers do not notice a
            swap; a step that joins it with other files does.
        """
        swapped = how == "swap" and path.suffix == ".nc"
        outcomes = [self._read([] if swapped else self._names(kind, path))]
        for stage in self._chain(kind, path):
            done = run_stage(self._server, self._directory, stage)
            if done.status != 0:
                outcomes.append(_told(done, stage))
                break
        else:
            outputs = stage.outputs
            outcomes.append(self._read([name for name in outputs if name in self._made.values]))
        return max(outcomes, key=lambda outcome: OUTCOMES.index(outcome[0]))

    def _network(self, path):
        parts = path.relative_to(self._directory / "results").parts
        known = [network for network in self._made.workflow.networks if network in parts[0]]
        kept = [name for name in self._made.workflow.networks if name == "/".join(parts[:2])]
        return (kept or known or [self._made.workflow.networks[0]])[0]

    def _chain(self, kind, path):
        network = self._network(path)
        stages = self._made.workflow.stages()
        return [
            stage
            for name in kind.chain
            for stage in stages
            if stage.name == name and stage.network in ("", network)
        ]

    def _names(self, kind, path):
        network = self._network(path)
        if kind.reads == ("tables",):
            return [name for name in self._made.values if name.startswith("tables/")]
        if path.suffix == ".nc":
            relative = path.relative_to(self._directory / "results" / network).with_suffix("")
            names = [f"{network}/{relative}"] if str(relative) in (*FILES, COMPONENTS) else []
        else:
            names = [
                name
                for name in self._made.values
                if name.startswith((network, "datasets/")) and name.endswith(kind.reads or "?")
            ]
        return names

    def _read(self, names):
        call = "faults.readers:read_folder"
        done = self._server.call(self._directory, call, "results", list(names), timeout=60)
        if done.value is None:
            kind = "hang" if done.status == HUNG else "traceback"
            return kind, f"the readers ended with {done.status}: {done.text}"
        refused = False
        for name, (kind, text) in done.value.items():
            if kind == "crash":
                return "traceback", f"{name}: {text}"
            if kind == "value" and text != self._made.values[name]:
                return "wrong", f"{name} is read as {text}"
            if kind == "refused" and len(text.splitlines()) != 1:
                return "traceback", f"{name} is refused in several lines: {text}"
            refused = refused or kind != "value"
        return ("refused", "") if refused else ("right", "")


def _told(done, stage):
    lines = done.text.strip().splitlines()
    if done.status == HUNG:
        return "hang", f"{stage.name}: {done.text}"
    if len(lines) == 1 and lines[0].startswith("unitlens: ") and "unexpected" not in lines[0]:
        return "refused", ""
    return "traceback", f"{stage.name} ended with {done.status}: {done.text}"
