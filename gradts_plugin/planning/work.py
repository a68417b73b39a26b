"""What work is counted in: instances trained on; everything else is a share of that.

The progress shows the time left by it, a plan the total.
"""

from __future__ import annotations

#: Share of a probe's time that its fine-tuning usually takes; it only smooths the bar.
FINE_TUNING_SHARE = 0.8

#: Time of a probed instance, and of an encoded or scored one, relative to a training step. That is
#: a forward and a backward pass; a backward pass takes twice a forward pass, and a probe's leaves
#: the parameters' gradients out.
PROBE_SHARE = 0.6

FORWARD_SHARE = 1 / 3

#: A fine-tuning scores at most so many dev instances.
QUICK_DEV = 256
