"""What the kernels share: the tile of an activation that a program works on, and the formulas.

An activation is channels x pixels, the pixels of the whole batch counted through: ``p`` in [0,
N*H*W). A tile is BLOCK_C channels x BLOCK_Q positions, with the axis that is contiguous in memory
last: (channels, positions) for contiguous tensors, (positions, channels) for channels_last; one
body serves both. A position is a pixel, or where a half-size tensor takes part the CHILDREN pixels
that are visited in turn, so that each of its values is read, or summed, in one program:

    CHILDREN 1   the pixel itself
    CHILDREN 2   contiguous: one column in a pair of rows; neighbouring positions share a low pixel
    CHILDREN 4   channels_last: the 2x2 pixels over one low pixel

Sizes come as ``units * DIV`` with DIV a power of two known at compile time: the compiler then sees
the alignment and emits 128-bit accesses, without a specialisation per size. For the same reason the
image of a pixel is found from its position, whose numbers are consecutive.
"""

import triton
import triton.language as tl


@triton.jit
def channels_of(tile, BLOCK_C: tl.constexpr, LAST: tl.constexpr):
    c = tile * BLOCK_C + tl.arange(0, BLOCK_C)
    if LAST:
        return c[None, :]
    else:
        return c[:, None]


@triton.jit
def begin(
    channels, plane, count,
    DIV: tl.constexpr, LAST: tl.constexpr, WIDE: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sizes from their units; the program's channels, its group of position tiles, and how many
    groups there are.

    DIV belongs to the axis that is contiguous in memory. Channel tiles of one group run next to
    each other: in channels_last they read the same pixels. WIDE counts in 64 bits, for activations
    of about 2**31 values and more: units that fit into 32 bits may stand for sizes that do not.
    """
    if WIDE:
        channels, plane, count = channels.to(tl.int64), plane.to(tl.int64), count.to(tl.int64)
    if LAST:
        channels *= DIV
    else:
        plane *= DIV
        count *= DIV
    tiles = tl.cdiv(channels, BLOCK_C)
    pid = tl.program_id(0)
    group = pid // tiles
    if WIDE:
        group = group.to(tl.int64)
    c = channels_of(pid % tiles, BLOCK_C, LAST)
    return channels, plane, count, c, group, tl.num_programs(0) // tiles


@triton.jit
def positions_of(start, BLOCK_Q: tl.constexpr, LAST: tl.constexpr):
    q = start + tl.arange(0, BLOCK_Q)
    if LAST:
        return q[:, None]
    else:
        return q[None, :]


@triton.jit
def offset_of(p, image, c, channels, plane, LAST: tl.constexpr):
    """Where channel c of pixel p of an image lies; images have ``plane`` = H*W pixels."""
    if LAST:
        return p * channels + c
    else:
        return p + image * ((channels - 1) * plane) + c * plane


@triton.jit
def pixel_of(q, child, width, CHILDREN: tl.constexpr):
    """The pixel that position q visits as its given child; ``width`` = W."""
    if CHILDREN == 1:
        return q
    elif CHILDREN == 2:
        return q + (q // width + child) * width
    else:
        return 2 * q + (q // (width // 2) + child // 2) * width + child % 2


@triton.jit
def low_tile(
    index, c, count, side, channels, low_plane,
    CONCAT: tl.constexpr, LAST: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Where the low values under the index-th tile of positions lie, and which exist.

    One per position in channels_last; one per two positions in a contiguous tensor.
    """
    if LAST:
        p = positions_of(index * BLOCK_Q, BLOCK_Q, LAST)
        inside = p < count
    else:
        p = positions_of(index * (BLOCK_Q // 2), BLOCK_Q // 2, LAST)
        inside = p < count // 2
    if CONCAT:
        at = offset_of(p, p // low_plane, c - side, channels - side, low_plane, LAST)
        return at, inside & (c >= side) & (c < channels)
    else:
        return offset_of(p, p // low_plane, c, channels, low_plane, LAST), inside & (c < channels)


@triton.jit
def spread(low, LAST: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_Q: tl.constexpr):
    """Low values as one per position."""
    if LAST:
        return low
    else:
        pairs = tl.broadcast_to(low[:, :, None], (BLOCK_C, BLOCK_Q // 2, 2))
        return tl.reshape(pairs, (BLOCK_C, BLOCK_Q))


@triton.jit
def gather(d, LAST: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_Q: tl.constexpr):
    """The other way: what the positions over one low value have, summed."""
    if LAST:
        return d
    else:
        return tl.sum(tl.reshape(d, (BLOCK_C, BLOCK_Q // 2, 2)), 2)


@triton.jit
def row_sum(tile, LAST: tl.constexpr):
    """Sum over the positions of a tile, one value per channel, in a fixed order."""
    return tl.sum(tile, 0 if LAST else 1, keep_dims=True)


@triton.jit
def per_channel(pointer, c, inside, default, ACC: tl.constexpr):
    """A vector's values at c, or the default where there is no vector."""
    if pointer is None:
        return tl.full(c.shape, default, ACC)
    else:
        return tl.load(pointer + c, mask=inside, other=default).to(ACC)


@triton.jit
def gate_of(alpha, c, inside, SHARED: tl.constexpr, ACC: tl.constexpr):
    return per_channel(alpha, c * 0 if SHARED else c, inside, 1.0, ACC)


# The formulas of csrc/math.h. The pre-activation is one explicit fma, so that backward's ReLU mask
# is computed bit for bit as forward's.


@triton.jit
def open_of(gate, inside, LAST: tl.constexpr):
    """Where x is read: not where its gate is closed, unless that would break packs of channels."""
    return inside if LAST else inside & (gate != 0)


@triton.jit
def reciprocal_std(var, eps: tl.constexpr):
    wide = var + eps
    if wide.dtype == tl.float64:
        return 1.0 / tl.sqrt(wide)
    else:
        return tl.rsqrt(wide)  # within 2 units in the last place, and no subroutine, hence no stack


@triton.jit
def pre_activation(y, mean, scale, shift):
    return tl.fma(y - mean, scale, shift)


@triton.jit
def relu(pre):
    """NaN passes through, as in torch.relu."""
    return tl.where(pre <= 0, 0.0, pre)


@triton.jit
def relu_grad(dz, pre):
    return tl.where(pre <= 0, 0.0, dz)


@triton.jit
def norm_grad(dz, y, mean, scale, shift, mean_g, slope, RELU: tl.constexpr):
    """Gradient of relu(batch_norm(y)) to y; mean_g and slope are zero in evaluation."""
    g = relu_grad(dz, pre_activation(y, mean, scale, shift)) if RELU else dz
    return scale * (g - mean_g - (y - mean) * slope)


@triton.jit
def norm_of(mean, var, weight, bias, c, inside, eps: tl.constexpr, ACC: tl.constexpr):
    """mean, scale and shift of the channels c."""
    m = per_channel(mean, c, inside, 0.0, ACC)
    rstd = reciprocal_std(per_channel(var, c, inside, 1.0, ACC), eps)
    scale = rstd * per_channel(weight, c, inside, 1.0, ACC)
    return m, scale, per_channel(bias, c, inside, 0.0, ACC)


# The moments of a tile, exact whatever the mean: each position keeps a running mean and sum of
# squared deviations of what it visits (Welford), and the positions are merged at the end (Chan et
# al. 1979).


@triton.jit
def visit(value, valid, mean, m2, visits):
    """Adds a value to each valid position; ``visits`` counts this one, and is the same for all."""
    share = tl.full((1, 1), 1.0, mean.dtype) / visits
    delta = tl.where(valid, value - mean, 0.0)
    mean += delta * share
    m2 += delta * (value - mean)
    return mean, m2


@triton.jit
def merged(count, mean, m2, AXIS: tl.constexpr):
    """Count, mean and m2 of sets merged along an axis; the second sum takes out the first's
    rounding.
    """
    total = tl.sum(count, AXIS, keep_dims=True)
    centre = tl.sum(count * mean, AXIS, keep_dims=True) / total
    deviation = tl.where(count > 0, mean - centre, 0.0)
    rest = tl.sum(count * deviation, AXIS, keep_dims=True) / total
    m2 = tl.sum(m2 + count * deviation * deviation, AXIS, keep_dims=True) - total * rest * rest
    return total, centre + rest, tl.where(m2 < 0, 0.0, m2)
