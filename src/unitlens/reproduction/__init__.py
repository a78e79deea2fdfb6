"""The paper's results beside ours: claims, later questions, evidence, a rule, and the page."""

from unitlens.reproduction.compare import compare_with_paper

__all__ = ["compare_with_paper"]
