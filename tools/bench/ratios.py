# SPDX-License-Identifier: Apache-2.0
"""What paired measurements say: a geometric mean and its 95 % interval."""
import math
import statistics

# Two-sided 95 % points of Student's t for 1, 2, 3, ... degrees of freedom.
T95 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
       2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
       2.052, 2.048, 2.045, 2.042]


def interval(ratios):
    """Geometric mean and 95 % interval of the mean; no interval from one ratio."""
    logs = [math.log(r) for r in ratios]
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return math.exp(mean), None, None
    t = T95[min(len(logs) - 1, len(T95)) - 1]
    half = t * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def ratio_text(pairs):
    """Of pairs (ours, peer's) of one round each."""
    mean, low, high = interval([a / b for a, b in pairs])
    return "%.2f%s" % (mean, "" if low is None else " (%.2f..%.2f)" % (low, high))
