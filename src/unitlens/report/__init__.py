"""The report page: what was trained, what was measured, and the results."""
