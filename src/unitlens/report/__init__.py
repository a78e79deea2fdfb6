"""The page that tells what was trained, what was measured and what came out."""

from unitlens.report.page import write_report

__all__ = ["write_report"]
