"""The fewest bytes that an op can move: what it needs is read once, what it returns written once.

The unit is the element of an activation; per-channel vectors are left out. These are the lower
bounds ("one read") of the design's table; a kernel that makes two passes over a tensor that no
cache holds moves more.
"""

import math

Size = tuple[int, int, int, int]

PHASES = ("inference", "forward", "backward", "both")


def ideal_elements(
    op: str,
    phase: str,
    size: Size,
    low_channels: int = 0,
    mode: str = "concat",
    z_only: bool = False,
) -> int:
    """Elements read plus elements written.

    Args:
        op: name of one of the five ops.
        phase: "inference", "forward" (in training: as many), "backward" (all gradients wanted, that
            of alpha included), or "both" (forward and backward).
        size: (N, C, H, W) of the skip.
        low_channels: channels of ``low``, for the merges.
        mode: "concat" or "add", for the merges.
        z_only: nothing but ``z`` is wanted of an op that also returns its sum.
    """
    if phase == "both":
        return sum(
            ideal_elements(op, p, size, low_channels, mode, z_only) for p in ("forward", "backward")
        )
    n, c, h, w = size
    skip = math.prod(size)
    low = n * low_channels * (h // 2) * (w // 2)
    if op == "bn_relu":
        source, result, outputs = skip, skip, 1
    elif op.startswith("gated_residual"):
        source, result = 2 * skip, skip  # x and the branches
        outputs = 2 if op.endswith("bn_relu") and not z_only else 1
    else:
        source = skip + low
        result = skip + 4 * low if mode == "concat" else skip
        outputs = 2 if op.endswith("bn_relu") and not z_only else 1
    if phase != "backward":
        return source + outputs * result
    # One gradient arrives per output and one leaves per source. Kept from the forward: x for the
    # gradient of alpha, and for the norm the sum, which costs no more to read than to compute again
    # from the sources, and in a merge less the latter way.
    kept = source if op.endswith("bn_relu") else skip
    return outputs * result + kept + source
