"""What happens to a network's loss and accuracy when its units are ablated or made noisy.

All functions here are exact, leave the model as it was, and take these arguments:

model
    A network that takes one tensor and puts out logits (samples, classes), or whatever `score`
    can score; where it puts out a container, its entry or attribute ``logits`` or ``out``, else
    its first tensor. It is run in eval mode.
dataset
    Map-style data set of (input, label): the labels that the network is scored against; of
    (input, target) where `score` is a function.
layers
    Names of layers, or how many of the last layers (``LastLayers(last=3)``); all if None.
value
    What a unit is clamped to after the nonlinearity.

    ``"zero"``
        0, for every sample and position.
    ``"mean"``
        Its mean over the samples and positions of `reference`, for every sample and position.
    ``"position_mean"``
        Its mean over the samples of `reference` at each position; as ``"mean"`` where a layer has
        no positions. Inputs must all give activations of one shape.
    ``"class_mean"``
        Its mean over positions and over those samples of `reference` that have the label of the
        sample that is scored. Targets must be classes, and `reference` have each that is scored.
    ``"resample"``
        Its whole activation, position by position, on another sample of `reference`: one partner
        for each sample, the same for all units, by `seed`, the sample's place in its data set and
        the number of samples of `reference`. Where that is `dataset` (None, or the same object),
        a seeded permutation of the data set is a single cycle, and a sample's partner the one that
        follows it, so never the sample itself; else the samples in order take those of a seeded
        permutation of `reference`, again from its start when they are used up. A second pass a
        batch computes the partners' activations.
    an array
        One value for each unit of the chosen layers, for every sample and position: in their
        order, or a DataArray matched by layer and channel.
reference
    Data set for means and partners, usually the training set; `dataset` if None.
samples
    Size of a seeded subset of the data set; all of it if None.
seed
    Of all that is drawn at random.
batch_size
    Samples a batch at most; fewer are taken to stay within `memory_gb` and the caches of a CPU.
device
    Where to compute. The model is moved there and back. Written for GPUs, but untested on one.
memory_gb
    What all values, and copies of weights that save time, may take at once, in 10^9 bytes: the
    peak of memory stays below it, beside the model, the data set and the results. Batches get
    smaller for it, and what copies weights is left out. A single sample with a single
    perturbation is run whatever it takes, and to begin with three samples are.
precision
    What the network computes in.

    None
        Its own type.
    ``"float64"``
        Parameters and buffers are brought to float64 for the time of the call: a check of what
        rounding does. It needs memory for the copies.
    ``"bfloat16"``
        Parameters are in float32, and passes run under ``torch.autocast`` to bfloat16, which has
        three digits. For hardware that is fast in it; what computes with weights itself is left
        out, so on others it is slower. Data sets and scores are not cast.
score
    ``"top1"``: cross-entropy in nats, and a hit where the largest logit is the label's (the first
    of equal ones). ``"top5"``: the same loss, and a hit where the label is among the five largest
    logits (of equal ones, the smaller classes come first); for six classes and more. Or a
    function of outputs and targets that returns loss and hit of every sample, two tensors of shape
    (samples,). It is given what the model puts out, samples on axis 0, and the data set's second
    elements as one tensor (numbers, arrays or tensors, stacked; plain floats as float64), and must
    score each sample by itself: rows may come from any number of perturbations, in any order.
    Accuracy is the mean of the hits. Integer targets of shape (samples,) are classes.

Directions of a layer have forms and bases of their own:
:mod:`unitlens.perturbation.given_directions`, :mod:`unitlens.perturbation.bases`.

Every result carries the attributes ``samples``, ``seed``, ``layers``, ``score``, ``precision``,
``baseline_loss`` and ``baseline_accuracy`` (of the network as it is, on the same samples) and, for
ablations, ``value``.

They raise ``ArgumentError`` where an argument breaks its rule, ``LayerError`` where a layer does
not exist, and ``ModelError`` where the model cannot be run or does not put out logits.
"""
