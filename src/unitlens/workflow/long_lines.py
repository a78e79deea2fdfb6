"""Lines of Snakemake's log that name thousands of files are cut."""

import logging
from collections.abc import Sequence

LONGEST = 2000  # characters of a list of files
_COMMA = ", "
_LISTS = ("input", "output", "log")  # of a record of a job, each a list of files


class CutFileLists(logging.Filter):
    """Cuts the lists of files and the reason in records of jobs.

    A job that joins what was measured on thousands of networks has thousands of files. A list of
    more than `longest` characters is cut to its first files, and says how many more there are.
    What Snakemake does is not changed: each record is told after the decision.

    Parameters
    ----------
    longest
        Largest number of characters of one list.
    """

    def __init__(self, longest: int = LONGEST) -> None:
        super().__init__()
        self._longest = longest

    def filter(self, record: logging.LogRecord) -> bool:
        """Cut the lists of a record, and let each record pass."""
        values = vars(record)
        if getattr(record, "event", None) is None:
            return True
        for name in _LISTS:
            if isinstance(values.get(name), list | tuple):
                values[name] = self._cut([str(file) for file in values[name]])
        if isinstance(values.get("reason"), str):
            parts = values["reason"].split("; ")
            values["reason"] = "; ".join(_COMMA.join(self._cut(p.split(_COMMA))) for p in parts)
        return True

    def _cut(self, files: Sequence[str]) -> list[str]:
        """Return the first files of a list, and in place of the others a word of their number."""
        if sum(map(len, files)) + len(_COMMA) * (len(files) - 1) <= self._longest:
            return list(files)
        shown: list[str] = []
        length = 0
        for file in files:
            length += len(file) + len(_COMMA)
            if shown and length > self._longest:
                break
            shown.append(file)
        rest = len(files) - len(shown)
        return [*shown, f"and {rest:,} more"] if rest else shown
