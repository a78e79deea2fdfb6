"""The command line: one subcommand for each rule of the workflow, and a few for people."""
