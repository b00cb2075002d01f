"""The fewest elements that an op can move: it reads each input once and writes each result once.

Only activations are counted. The per-channel vectors are small beside them. A kernel that passes
twice over a tensor larger than the cache moves more than this lower bound.
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
        phase: "inference", "forward" (of a training step; it moves as many), "backward" (with all
            gradients, that of alpha included), or "both" (forward and backward).
        size: shape (N, C, H, W) of the skip, or of ``x`` where the op is no merge.
        low_channels: channels of ``low``, for the merges.
        mode: "concat" or "add", for the merges.
        z_only: only ``z`` is needed, of an op that also returns the sum before the norm.
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
    # The backward pass reads one gradient per output and writes one per source. It also reads x for
    # the gradient of alpha. The backward of the norm needs the sum, which is computed again from the
    # sources: in a merge that reads fewer elements than the stored sum has.
    kept = source if op.endswith("bn_relu") else skip
    return outputs * result + kept + source
