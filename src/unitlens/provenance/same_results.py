"""Code that is known to compute the same bits as code of an earlier version."""

# Digest of the code of a rule as it is written now, to the digest of earlier code that makes the
# same files, bit for bit, or files that lack only what a later rule works out from them exactly:
# what that code has made is not made again. A further change of the rule's code has a digest that
# is not named here, and counts. test_provenance.py holds that each digest here is that of today's
# code: after a change, write the new digest where the results of before still come out bit for
# bit, and remove the entry where they do not.
SAME_RESULTS = {
    # train of 0.8.0, which kept networks after whole epochs only
    "8b7e2688cb74": "b8606ea81666",
    # record_activations of 0.8.0, which kept no moments of elements; the step that reads them
    # computes what it lacks (docs/decisions/0022-moments-of-elements.md)
    "0ac25c46f131": "625f6f7ff33e",
    # unit_ablation of 0.8.0, without the intervals of accuracy drops, which tabulate adds
    "a4cdcf6536c2": "4f7359f3419c",
}
