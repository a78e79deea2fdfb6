"""Perturbed forward passes, exact, at a fraction of a pass each.

`engine` runs many perturbations as the rows of one batch. Parts of it:

`resumption` finds the operations that a perturbation reaches, and runs those alone; `readers`
updates the outputs of dense and convolutional operations instead of running them;
`perturbed_directions` holds what is perturbed, units or directions; `chains` ablates nested sets
without computing ablated channels; `effects` holds the outcomes, and the dense heads that are left
to the compiled kernels of `fused` and `fused_kernels`; `shortcut_checks` compares each of these
shortcuts with plain passes before it is taken; `batch_memory` keeps memory within the limit.
"""
