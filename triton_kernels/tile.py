"""The parts that all kernels share: the tile of an activation that a program handles, and the formulas.

An activation has channels and pixels; the pixels ``p`` are numbered through the whole batch, from 0 to
N*H*W - 1. A tile has BLOCK_C channels and BLOCK_Q positions. Its last axis is the one that is
contiguous in memory: (channels, positions) for contiguous tensors, (positions, channels) for
channels_last. The same code serves both. A position is a pixel. If the op has a ``low`` of half the
size, a position is CHILDREN pixels that are visited one after the other, so that one program reads, or
sums, each value of ``low``:

    CHILDREN 1   the pixel itself
    CHILDREN 2   contiguous: one column in a pair of rows; neighbouring positions share a low pixel
    CHILDREN 4   channels_last: the 2x2 pixels over one low pixel

Sizes are given as ``units * DIV``. DIV is a power of two that is known at compile time. The compiler
then knows the alignment and emits 128-bit accesses, without a specialisation per size. For the same
reason the image of a pixel is computed from its position, because positions are consecutive numbers.
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
    """The sizes from their units; the channels of the program, its group, and the number of groups.

    DIV belongs to the axis that is contiguous in memory. The channel tiles of one group run next to
    each other, because in channels_last they read the same pixels. WIDE uses 64 bits for activations
    of about 2**31 values and more, because units that fit into 32 bits may stand for larger sizes.
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
    """The offset of channel c of pixel p of an image; images have ``plane`` = H*W pixels."""
    if LAST:
        return p * channels + c
    else:
        return p + image * ((channels - 1) * plane) + c * plane


@triton.jit
def pixel_of(q, child, width, CHILDREN: tl.constexpr):
    """The pixel that is the given child of position q; ``width`` = W."""
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
    """The offsets of the low values under the index-th tile of positions, and which of them exist.

    There is one low value per position in channels_last, and one per two positions in a contiguous
    tensor.
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
    """The low values, repeated to one per position."""
    if LAST:
        return low
    else:
        pairs = tl.broadcast_to(low[:, :, None], (BLOCK_C, BLOCK_Q // 2, 2))
        return tl.reshape(pairs, (BLOCK_C, BLOCK_Q))


@triton.jit
def gather(d, LAST: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_Q: tl.constexpr):
    """The sums over the positions of each low value; the adjoint of `spread`."""
    if LAST:
        return d
    else:
        return tl.sum(tl.reshape(d, (BLOCK_C, BLOCK_Q // 2, 2)), 2)


@triton.jit
def row_sum(tile, LAST: tl.constexpr):
    """The sum over the positions of a tile, one value per channel, in a fixed order."""
    return tl.sum(tile, 0 if LAST else 1, keep_dims=True)


@triton.jit
def per_channel(pointer, c, inside, default, ACC: tl.constexpr):
    """The values of a vector at c, or the default if there is no vector."""
    if pointer is None:
        return tl.full(c.shape, default, ACC)
    else:
        return tl.load(pointer + c, mask=inside, other=default).to(ACC)


@triton.jit
def gate_of(alpha, c, inside, SHARED: tl.constexpr, ACC: tl.constexpr):
    return per_channel(alpha, c * 0 if SHARED else c, inside, 1.0, ACC)


# The formulas of csrc/math.h. The pre-activation is one explicit fma, so that the ReLU mask has the same
# bits in the backward as in the forward.


@triton.jit
def open_of(gate, inside, LAST: tl.constexpr):
    """The mask of x: values with a closed gate are not read in the contiguous layout.

    In channels_last they are read, because skipping single channels would break the wide accesses.
    """
    return inside if LAST else inside & (gate != 0)


@triton.jit
def reciprocal_std(var, eps: tl.constexpr):
    wide = var + eps
    if wide.dtype == tl.float64:
        return 1.0 / tl.sqrt(wide)
    else:
        return tl.rsqrt(wide)  # an error of up to 2 ulp, but no subroutine and so no stack


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
    """The gradient of relu(batch_norm(y)) by y; mean_g and slope are zero in evaluation."""
    g = relu_grad(dz, pre_activation(y, mean, scale, shift)) if RELU else dz
    return scale * (g - mean_g - (y - mean) * slope)


@triton.jit
def norm_of(mean, var, weight, bias, c, inside, eps: tl.constexpr, ACC: tl.constexpr):
    """The mean, scale and shift of the channels c."""
    m = per_channel(mean, c, inside, 0.0, ACC)
    rstd = reciprocal_std(per_channel(var, c, inside, 1.0, ACC), eps)
    scale = rstd * per_channel(weight, c, inside, 1.0, ACC)
    return m, scale, per_channel(bias, c, inside, 0.0, ACC)


# The moments of a tile, which are accurate for any mean: each position keeps a running mean and sum of
# squared deviations of the values that it visits (Welford), and the positions are merged at the end
# (Chan et al. 1979).


@triton.jit
def visit(value, valid, mean, m2, visits):
    """Adds a value to each valid position; ``visits`` is the number of values with this one."""
    share = tl.full((1, 1), 1.0, mean.dtype) / visits
    delta = tl.where(valid, value - mean, 0.0)
    mean += delta * share
    m2 += delta * (value - mean)
    return mean, m2


@triton.jit
def merged(count, mean, m2, AXIS: tl.constexpr):
    """Merges count, mean and m2 of sets along an axis; the second sum corrects rounding of the first."""
    total = tl.sum(count, AXIS, keep_dims=True)
    centre = tl.sum(count * mean, AXIS, keep_dims=True) / total
    deviation = tl.where(count > 0, mean - centre, 0.0)
    rest = tl.sum(count * deviation, AXIS, keep_dims=True) / total
    m2 = tl.sum(m2 + count * deviation * deviation, AXIS, keep_dims=True) - total * rest * rest
    return total, centre + rest, tl.where(m2 < 0, 0.0, m2)
