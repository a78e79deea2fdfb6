"""The rule by which our results are compared with the paper's, as the page states it."""

from unitlens.hashed_files import hash_values

RULE = """\
* **Ours.** A result is a number of each network, averaged over networks; a statistic of units (a
  mode, a share, a quantile) is taken in each network first. The brackets hold the 95 % interval of
  Student's t over n networks, with n - 1 degrees of freedom. A difference between two groups of
  networks is that of networks of one seed where both groups have the same seeds (paired t), else
  Welch's. A correlation or a share over the settings of a sweep has an interval over the settings,
  which are independent while their networks are not; elsewhere the mean of a setting counts as one
  number.
* **Too few networks.** With fewer than three networks (or six settings) a row has no verdict. The
  brackets then hold the spread over orders, draws or units within the networks, which says nothing
  of other networks.
* **The paper's scatter.** A value of the paper is that of m networks (one where m is not known),
  which are taken to scatter as ours do. The difference between our mean and the paper's value then
  has the variance s\N{SUPERSCRIPT TWO} / n + s\N{SUPERSCRIPT TWO} / m, where s is the standard
  deviation between our networks, and n - 1 degrees of freedom. To this comes the reading error: .01
  for a value read off a figure, one unit of the last digit for a value given as "near" or "about".
* **Numbers.** A number **differs** where the 95 % interval of that difference lies wholly beyond
  the reading error. Else the number **agrees** if the row could have failed, and is **compatible**
  if not. A correlation that differs has the **same direction** where our interval lies on the side
  of 0 on which the paper's correlation surely is. A correlation over a known number k of pairs is
  surely on one side where Fisher's 95 % interval, tanh(artanh r \N{PLUS-MINUS SIGN}
  1.96 / sqrt(k - 3)), is.
* **Could the row have failed?** The power is the probability that the row would have come out as
  **differs** had a stated alternative been true, with our standard error and the noncentral t
  distribution (for a share over settings, the normal distribution). A row whose power is under .8
  could hardly have failed: it is compatible at most, and is not counted as an agreement.
* **Directions.** The sign of a difference or of a correlation is the **same direction** where our
  interval lies wholly on the paper's side of 0, **differs** where it lies wholly on the other side,
  and is **undecided** else. Where the paper finds a negative relation or none, the direction
  differs only where our interval lies wholly above 0. Where one group is compared with several
  others, the smallest of the differences counts.
* **Orders.** A strict fall over levels is the **same order** where each step from one level to the
  next is below 0 by a one-sided test at 5 % (all must hold, so that no correction is needed). It
  **differs** where some step is above 0 after Holm's correction, and is **undecided** else. Where
  the paper finds no strict order, a step that surely rises is the same order, and a strict fall
  differs. The power of an order is a lower bound.
* **Open questions** beyond the paper are answered **above 0** or **below 0** by t tests, whose p
  are adjusted by Holm for all open questions of `beyond.md`; at p above .05 they are **undecided**.
  Where all networks have the very same number, a sign test (p = 2 / 2^n) stands in for the t test,
  here and for directions and orders.
* **Suspected causes** are tested by extra experiments, each of which changes one thing. Each of
  their networks is compared with the network of the same seed (and level) in the main experiment. A
  number is **nearer**, **farther** or **as near**, by its distance from the paper's value plus or
  minus the reading error; **surely**, where that holds for all changes in the 95 % interval of at
  least three pairs (paired t). A network that is the very same in both experiments is left out.
* A result without a number of ours is **not measured**.
"""
# Of the words, wherever their lines break.
RULE_HASH = hash_values(" ".join(RULE.split()))
REMARKS = """\
What the rule above leaves unsaid. These remarks were written after the rule was fixed; they are no
part of its hash, and change no verdict.

* **Conclusions.** Where a deciding row is a correlation that differs in size, its side of 0
  decides. Conclusion 9 says that selective units are not more important: a correlation that is
  surely below 0 supports it, and only one that is surely above 0 contradicts it. The word
  "undecided" follows "could not be tested here" where deciding rows were measured, but are
  undecided or compatible. A conclusion is judged for each data set, or for each of two measures.
* **Correlations of the paper** over an unknown number of pairs (4b) are surely on the side of 0 on
  which they are read; their own scatter is not counted. The number n beside a correlation of the
  paper is that of maps or settings, or follows from the paper's p-value (7a: .288, 7d: .149).
* **Directions** state no power: the interval says whether a row could have failed. Where it
  excludes 0, an effect of the same size on the other side of 0 would have been found in at least
  half of the cases. A negative relation or none is the same direction unless our interval lies
  wholly above 0.
* **The smallest of several differences** has as lower end the smallest of their lower ends, and as
  upper end the smallest of their upper ends at the level that Bonferroni's correction gives. Both
  may be of another level than the difference itself.
* **The number m** of the paper's networks is 5 at either end of figure 3a and 4 in figures 6a and
  6b; of figure 4c it is 96 settings for the correlation and 2 halves without common settings for
  the shares. Elsewhere it is 1.
* **Grids.** All networks share the rounding of a mode to bins of width w, so that
  w\N{SUPERSCRIPT TWO} / 12 is added to the variance of the mean. For the epoch of the largest AUC
  the same is done with the distances between kept epochs.
* **Flat** up to the dropout fraction (5a) is a loss of at most .05. This limit is ours, and no
  reading of the paper.
* **The sign test** on five networks of the very same number gives p = .0625 and decides nothing.
"""
