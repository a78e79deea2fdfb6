"""The Snakemake workflow that comes with the package: its files, its beginning, its start."""
