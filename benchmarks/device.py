"""What unitlens does on a device, and how fast: numbers against the CPU's, speed, memory.

    python benchmarks/device.py --limit 540 --out device

Needs PyTorch and what `pip install unitlens` brings, and no data. Sections run one after another,
each as a process with a time limit of its own. A section that fails or takes too long is told as
such, and the others go on. `device.json` and `device.md` in the folder `--out` hold what is known
so far. `--device cpu --size 0.02` tries the script itself on any machine.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

SECTIONS = (
    *("about", "ceilings", "structure", "correctness", "repeated", "recorded", "trained"),
    *("speed", "curves", "noise", "memory", "shared"),
)


def run_section(name, device, size, limit):
    """Run a section as a process, and return its rows, or why there are none."""
    command = [sys.executable, __file__, "--section", name, "--device", device]
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [*command, "--size", str(size)],
            capture_output=True, text=True, timeout=max(limit, 1), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"section": name, "rows": [], "failed": f"it took more than {limit:.0f} s"}
    taken = time.monotonic() - begun
    if done.returncode != 0:
        last = (done.stderr.strip() or "it ended without a word").splitlines()[-1]
        return {"section": name, "rows": [], "failed": last, "seconds": taken}
    rows = json.loads(done.stdout.splitlines()[-1])
    return {"section": name, "rows": rows, "failed": "", "seconds": taken}


def table(sections):
    """Return the sections as Markdown."""
    lines = ["| section | what | value | wanted | holds |", "| --- | --- | --- | --- | --- |"]
    for section in sections:
        if section["failed"]:
            lines.append(f"| {section['section']} | failed: {section['failed']} | | | no |")
        for one in section["rows"]:
            wanted = "" if one["wanted"] is None else f"at most {one['wanted']:g}"
            holds = {None: "", True: "yes", False: "no"}[one["holds"]]
            value = f"{one['value']:.3g} {one['unit']}".strip()
            lines.append(f"| {section['section']} | {one['what']} | {value} | {wanted} | {holds} |")
    return "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--limit", type=float, default=540, help="seconds of all sections")
    parser.add_argument("--size", type=float, default=1.0, help="share of widths and of samples")
    parser.add_argument("--out", default="device", help="folder of device.json and device.md")
    parser.add_argument("--sections", nargs="+", default=SECTIONS, metavar="NAME")
    parser.add_argument("--section", help=argparse.SUPPRESS)  # runs it here
    given = parser.parse_args(arguments)
    if given.section:
        import torch

        from device_sections import SECTIONS as FUNCTIONS

        print(json.dumps(FUNCTIONS[given.section](torch.device(given.device), given.size)))
        return
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    sections, end = [], time.monotonic() + given.limit
    for number, name in enumerate(given.sections):
        left = end - time.monotonic()
        share = left / max(1, (len(given.sections) - number) / 2)  # twice an equal share at most
        sections.append(run_section(name, given.device, given.size, min(left, share)))
        (out / "device.json").write_text(json.dumps(sections, indent=1) + "\n")
        (out / "device.md").write_text(table(sections))
    print(table(sections))


if __name__ == "__main__":
    main()
