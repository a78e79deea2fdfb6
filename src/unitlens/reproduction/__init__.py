"""The paper's results beside ours: claims, later questions, evidence, a rule, and the page."""
