"""Time ablation and noise against peers that must give the same numbers.

    python benchmarks/perturbation.py --data ROOT [--only mlp-captum --only mlp-hooks ...]

ROOT holds MNIST and CIFAR-10 in torchvision's layout, and Imagenette in the folder
imagenette-subset (random images stand in where it is absent). Networks are lightly trained first,
so that their units are zero as often as real ones.

Both sides work on the same data in float32, on the same threads, in turn, and who goes first
changes each time; medians count. The peers are Captum's LayerFeatureAblation and tight loops of
forward hooks (peers.py), with the batch size that a trial finds to be the fastest. Numbers must
agree (races.py says how closely), or the exit status is 1. GFLOP/s count the multiply-adds that the
work needs whoever computes it (needed_work.py), twice, over the seconds of unitlens; beside it
stands what a product of two matrices reaches here.

The full work is long, nearly all of it the peers'. `--peer-share .05` times them on a part of their
passes, which cost the same each, and scales up. `--size .1` makes the work itself smaller (fewer
samples; of ResNet-50, fewer units), for a quick look: the ratios are others then. Nothing else
should run on the machine.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

import subjects
import unitlens
from joint_races import CurveRace, NoiseRace
from measuring import alternate, matmul_gflops, seconds
from races import Size
from unit_races import UnitsByCaptum, UnitsByHooks


@dataclass(frozen=True)
class Case:
    """One row: work, peer, how many times as fast is asked for, and how often both sides run."""

    work: str
    against: str
    asked: float
    subject: Callable
    race: type
    size: Size
    repeats: int


MLP_UNITS = "every unit of 784-512-512-10"
CONVNET_UNITS = "every unit of the 11-layer convnet, width 1/4"
HOOKS, CAPTUM = "forward hooks", "Captum"

CASES = {
    "mlp-captum": Case(
        MLP_UNITS, CAPTUM, 150, subjects.mlp, UnitsByCaptum, Size(10_000), repeats=1
    ),
    "mlp-hooks": Case(MLP_UNITS, HOOKS, 80, subjects.mlp, UnitsByHooks, Size(10_000), repeats=1),
    "convnet-hooks": Case(
        CONVNET_UNITS, HOOKS, 6, subjects.convnet, UnitsByHooks, Size(1000), repeats=1
    ),
    "convnet-captum": Case(
        CONVNET_UNITS, CAPTUM, 8, subjects.convnet, UnitsByCaptum, Size(1000), repeats=1
    ),
    "resnet50-hooks": Case(
        "units of ResNet-50", HOOKS, 2.5, subjects.resnet, UnitsByHooks, Size(32, 256), repeats=1
    ),
    "mlp-cumulative": Case(
        "cumulative ablation of 784-512-512-10", HOOKS, 4, subjects.mlp, CurveRace,
        Size(10_000), repeats=3,
    ),
    "convnet-cumulative": Case(
        "cumulative ablation of the convnet's last three layers", HOOKS, 4, subjects.convnet,
        CurveRace, Size(1000, last=3), repeats=3,
    ),
    "convnet-noise": Case(
        "noise on the convnet", HOOKS, 1, subjects.convnet, NoiseRace, Size(1000), repeats=3
    ),
}  # fmt: skip


def run(name, subject, size, *, share=1.0, repeats=None, matmul):
    """Run a case, print how it goes, and return its row of the table."""
    case = CASES[name]
    race = case.race(subject, size, share)
    first, _ = seconds(race.first_call)
    race.prepare_peer()
    scaled = f", timed on a part of its passes x {race.peer_factor:.1f}"
    note = race.peer_note + (scaled if race.peer_factor > 1 else "")
    print(f"{name}: {case.work}, {subject.text}", flush=True)
    print(f"  first call, on a small part: {first:.2f} s; {case.against}: {note}", flush=True)
    ours, peer = alternate(race.ours, race.peer, repeats or case.repeats)
    agreed = race.agreement(ours.result, peer.result)
    row = {
        "case": name,
        "work": f"{case.work}, {subject.text}",
        "against": case.against,
        "asked": case.asked,
        "reached": peer.median * race.peer_factor / ours.median,
        "unitlens_seconds": ours.median,
        "unitlens_spread": ours.spread,
        "first_call_seconds": first,
        "peer_seconds": peer.median * race.peer_factor,
        "peer_spread": peer.spread,
        "peer_factor": race.peer_factor,
        "peer_note": note,
        "needed_macs": race.needed_macs(),
        "peak_memory_mb": ours.peak_mb,
        "matmul_gflops": matmul,
        "equal": agreed.equal,
        "differences": agreed.text,
    }
    row["gflops"] = 2 * row["needed_macs"] / ours.median / 1e9
    _tell(row)
    return row


def _tell(row):
    print(f"  numbers {'agree' if row['equal'] else 'DIFFER'}: {row['differences']}")
    print(
        f"  unitlens {row['unitlens_seconds']:.2f} s (spread {row['unitlens_spread']:.0%}), "
        f"{row['against']} {row['peer_seconds']:.2f} s (spread {row['peer_spread']:.0%}): "
        f"{row['reached']:.1f}x, asked {row['asked']:g}x"
    )
    memory = "unknown" if row["peak_memory_mb"] is None else f"{row['peak_memory_mb']:.0f} MB"
    print(
        f"  needed multiply-adds {row['needed_macs']:.3g}: {row['gflops']:.0f} GFLOP/s, a matrix "
        f"product {row['matmul_gflops']:.0f}; memory grew by {memory}",
        flush=True,
    )


def table(rows):
    """Return the rows as a table in Markdown."""
    head = (
        "work", "against", "asked", "reached", "unitlens s", "peer s", "GFLOP/s of needed work",
        "matmul GFLOP/s", "memory MB", "equal?",
    )  # fmt: skip
    lines = [head, ("---",) * len(head)]
    for row in rows:
        star = "*" if row["peer_factor"] > 1 else ""
        memory = "" if row["peak_memory_mb"] is None else f"{row['peak_memory_mb']:.0f}"
        lines.append(
            (
                row["work"], row["against"], f"{row['asked']:g}x", f"{row['reached']:.1f}x",
                f"{row['unitlens_seconds']:.2f}", f"{row['peer_seconds']:.1f}{star}",
                f"{row['gflops']:.0f}", f"{row['matmul_gflops']:.0f}", memory,
                "yes" if row["equal"] else "NO",
            )
        )  # fmt: skip
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if any(row["peer_factor"] > 1 for row in rows):
        text += "\n\n\\* timed on a part of its passes, and scaled up by their number"
    return text


def parsed():
    """Return the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="root of the data sets, torchvision's layout")
    parser.add_argument("--only", action="append", choices=CASES, help="a case; may be repeated")
    parser.add_argument("--size", type=float, default=1.0, help="share of samples or units")
    parser.add_argument("--peer-share", type=float, default=1.0, help="of the peers' passes")
    parser.add_argument("--repeats", type=int, help="of both sides; default: 3, or 1 if long")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    return parser.parse_args()


def main():
    """Run the cases, print the table; exit with 1 if numbers differ."""
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    print(
        f"unitlens {unitlens.__version__}, torch {torch.__version__}, {arguments.threads} threads"
    )
    rows = []
    for name in arguments.only or CASES:
        case = CASES[name]
        size = case.size if arguments.size == 1 else case.size.reduced(arguments.size)
        subject = case.subject(arguments.data, size.samples)
        row = run(
            name, subject, size, share=arguments.peer_share, repeats=arguments.repeats,
            matmul=matmul_gflops(),
        )  # fmt: skip
        rows.append(row)
    print(f"\n{table(rows)}")
    if arguments.json:
        about = {
            "torch": torch.__version__,
            "machine": platform.machine(),
            "threads": arguments.threads,
            "size": arguments.size,
        }
        arguments.json.write_text(json.dumps({**about, "cases": rows}, indent=2) + "\n")
    if not all(row["equal"] for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
