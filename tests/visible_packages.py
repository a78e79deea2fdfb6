"""Programs that see a few installed packages alone, with those that these need."""

# The start of a program that finds the distributions VISIBLE alone, and what these need.
START = """
import re, sys
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from packaging.requirements import Requirement

def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()

there, waiting = set(), [canonical(Requirement(text).name) for text in VISIBLE]
while waiting:
    name = waiting.pop()
    if name not in there:
        there.add(name)
        try:
            needed = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:  # where a marker leaves it out
            continue
        waiting += [
            canonical(one.name) for one in needed if not one.marker or one.marker.evaluate()
        ]
hidden = {
    top
    for top, names in packages_distributions().items()
    if not there & set(map(canonical, names)) and top != "unitlens"
}

class VisibleFinder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            return None
        return PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [f for f in sys.meta_path if f is not PathFinder] + [VisibleFinder]
"""


def seeing_alone(distributions, code):
    """Return a program that finds some distributions alone, and what these need."""
    return f"VISIBLE = {list(distributions)!r}\n{START}{code}"
