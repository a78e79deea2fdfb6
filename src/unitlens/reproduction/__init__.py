"""Comparison with the paper: claims, evidence, a rule for verdicts, and a page."""
