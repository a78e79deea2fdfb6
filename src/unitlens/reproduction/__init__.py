"""The paper's results beside ours: claims, evidence, a stated rule, and the page."""

from unitlens.reproduction.compare import compare_with_paper

__all__ = ["compare_with_paper"]
