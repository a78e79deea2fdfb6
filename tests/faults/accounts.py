"""Tables of what was tried, at the end of a run of the tests."""


def find_rows(reports):
    """Return the rows that tests have recorded, of the reports of their calls."""
    return [
        value
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == "account"
    ]


def format_tables(rows):
    """Return a text table of each kind of row, with the sums in its last line."""
    lines = []
    for table in sorted({row["table"] for row in rows}):
        own = [row for row in rows if row["table"] == table]
        columns = [name for name in own[0] if name not in ("table", "of")]
        sums = {"of": "all", **{name: sum(row[name] for row in own) for name in columns}}
        width = max(len(row["of"]) for row in [*own, sums])
        lines.append(f"{table:{width}}" + "".join(f"{name:>12}" for name in columns))
        for row in [*own, sums]:
            cells = "".join(f"{row[name]:>12}" for name in columns)
            lines.append(f"{row['of']:{width}}{cells}")
        lines.append("")
    return lines
