"""Digests of the code of steps in earlier versions, whose files are as good as those of now.

The digest of a step's code changes with every edit of what the step computes with. Where an edit
changes no number of files that are finished, the digest of the version before stands here, and the
files stay as they are. Whoever edits a step again either shows that the files of the versions here
still hold what the step would write, or takes their digests out.
"""

# Step to digests as `unitlens.planning.network_steps.step_code` gave them.
EARLIER_CODE: dict[str, tuple[str, ...]] = {
    # 0.8.0: equal stores, without the file of the moments of elements, which is not missed: the
    # step that reads it computes what it lacks (docs/decisions/0022-moments-of-elements.md).
    "record_activations": ("625f6f7ff33e",),
}


def is_as_good(step: str, stated: str, now: str) -> bool:
    """Tell whether a file that states a digest is as good as one of the code of now.

    Parameters
    ----------
    step
        The step that made the file.
    stated
        Digest that the file states.
    now
        Digest of the step's code.

    Examples
    --------
    >>> step, (earlier, *_) = "record_activations", EARLIER_CODE["record_activations"]
    >>> [is_as_good(step, stated, "1f") for stated in ("1f", earlier, "2e")]
    [True, True, False]
    """
    return stated == now or stated in EARLIER_CODE.get(step, ())
