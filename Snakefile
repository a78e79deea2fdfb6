"""The workflow, started from the top of the repository; workflow/Snakefile is the workflow."""


include: "workflow/Snakefile"


# The default target of an included file does not count.
if workflow.modifier.is_main_snakefile():
    workflow.default_target = "all"
