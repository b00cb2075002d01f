#include "model.h"

#include <algorithm>
#include <cmath>

#include "pass.h"

namespace softgate::cuda {
namespace {

// Instructions of a thread in the main loop for each pack of 16 bytes on sm_90, from docs/kernels.md. The order
// is: contiguous with float32, contiguous with 2-byte dtypes, channels_last with float32, channels_last with
// 2-byte dtypes.
constexpr double kForwardReduce[] = {46, 90, 38, 84};
constexpr double kForwardNormalise[] = {36, 52, 26, 42};
constexpr double kForwardMap[] = {52, 92, 44, 88};
constexpr double kBackwardReduce[] = {44, 85, 36, 78};
constexpr double kBackwardMap[] = {80, 159, 72, 157};
constexpr double kUpsample2x = 1.25;     // the factor for calls with upsample2x; in docs/kernels.md 1.1 to 1.5
constexpr double kSingleInstructions = 50;  // for a pack of one value; an estimate, these loops are not counted

// Properties of a device, all times in seconds. No measurement of these kernels on a GPU has confirmed any number.
constexpr double kCopyShare = 0.9;         // of the theoretical bandwidth: a copy on an H100 has 3.0 of 3.35 TB/s
constexpr double kL2Bytes = 32;            // from L2, per clock and multiprocessor; L1 could receive twice as many
constexpr double kIssueShare = 0.8;        // of the issue slots, 4 instructions per clock and multiprocessor
constexpr double kMemoryLatency = 0.8e-6;  // of a load from device memory under load
constexpr double kL2Latency = 0.25e-6;     // of a load from L2
constexpr double kLaunch = 2e-6;           // from the end of a kernel to the first load of the next
constexpr double kGridBarrier = 1.5e-6;
constexpr double kClusterBarrier = 0.4e-6;
constexpr double kBlockMerge = 0.3e-6;     // the eight levels of the tree that merges the sums of a thread block
constexpr double kTableLoads = 2;          // dependent loads before a main loop
constexpr double kPassBlocks = 3;          // thread blocks of a two-pass kernel on a multiprocessor
constexpr double kLoadsInFlight = 2;       // packs of each tensor that a thread loads at once, see Step in tile.cuh
constexpr double kFinishRows = 256;        // splits that `finish` loads at once, see reduce.cuh

constexpr double kTable = kTableLoads * kL2Latency;

// What the main loop of a pass moves and executes, over all threads.
struct Loop {
  double memory_bytes = 0, l2_bytes = 0, instructions = 0;
  double loads = 1;  // number of tensors that are read at once

  Loop operator+(const Loop& o) const {
    return {memory_bytes + o.memory_bytes, l2_bytes + o.l2_bytes, instructions + o.instructions,
            std::max(loads, o.loads)};
  }
};

// The loops of a call as two passes that read everything from device memory. Each variant derives its own from them.
struct Loops {
  Loop reduce, map;
  double waiting = 0;   // bytes that the map reads again after the reduction
  bool gate = false;    // whether the map also computes sums for alpha, which are merged after it
};

double instructions(const double (&counts)[4], const Dims& dims, DType dtype, const Packing& packing) {
  const double values = double(dims.c) * dims.count();
  if (!packing.vector) return values * kSingleInstructions;
  const double a_pack = counts[2 * dims.channels_last + (bytes_of(dtype) == 2)];
  return values * bytes_of(dtype) / kPackBytes * a_pack * (packing.upsample2x ? kUpsample2x : 1);
}

Loops loops_of(const Plan& plan, const Forward& a) {
  const double value = bytes_of(a.dtype), pixels = a.dims.count();
  const Source& s = a.source;
  const bool summed = plan.variant != Variant::one_pass;
  double channels = s.skip.given ? s.skip_channels : 0;
  for (int i = 0; i < s.branches; ++i) channels += s.width[i];
  const double y = a.dims.c * pixels * value;
  const double source = (channels + (s.low.given ? s.low_channels / 4.0 : 0)) * pixels * value;
  const Packing& packing = summed ? plan.reduce.packing : plan.map.packing;
  const double tensors = 1 + s.skip.given;
  Loops loops;
  loops.waiting = y;
  loops.reduce = {source + (a.y.given ? y : 0), 0,
                  instructions(kForwardReduce, a.dims, a.dtype, packing), tensors};
  const Packing& map = summed && plan.map.blocks > 0 ? plan.map.packing : packing;
  loops.map = {2 * y, 0, instructions(kForwardNormalise, a.dims, a.dtype, map), 1};
  if (!summed) {
    loops.map = {source + (a.y.given ? y : 0) + (a.z.given ? y : 0), 0,
                 instructions(kForwardMap, a.dims, a.dtype, packing), tensors};
  }
  return loops;
}

Loops loops_of(const Plan& plan, const Backward& a) {
  const double value = bytes_of(a.dtype), pixels = a.dims.count();
  const Source& s = a.source;
  const double y = a.dims.c * pixels * value;
  double gradients = a.dskip.given ? s.skip_channels : 0;
  for (int i = 0; i < s.branches; ++i) gradients += a.dbranch[i].given ? s.width[i] : 0;
  gradients += a.dlow.given ? s.low_channels / 4.0 : 0;
  const double normed = a.dz.given ? 2 * y : 0, dy = a.dy.given ? y : 0;
  const double skip = a.dalpha.given ? s.skip_channels * pixels * value : 0;
  const Packing& reduce = plan.reduce.blocks > 0 ? plan.reduce.packing : plan.map.packing;
  const Packing& map = plan.map.blocks > 0 ? plan.map.packing : reduce;
  Loops loops;
  loops.waiting = normed;
  loops.gate = a.dalpha.given;
  loops.reduce = {normed, 0, instructions(kBackwardReduce, a.dims, a.dtype, reduce), 2};
  loops.map = {normed + dy + skip + gradients * pixels * value, 0,
               instructions(kBackwardMap, a.dims, a.dtype, map),
               (a.dz.given ? 2.0 : 0.0) + a.dy.given + a.dalpha.given};
  return loops;
}

// The time of a loop in a grid of which a multiprocessor holds `each` thread blocks. It is the largest of four times:
// device memory at its bandwidth, L2 at its bandwidth, issue slots, and latency with the bytes in flight (Little's
// law). The last wave of thread blocks counts as a full one.
double stream(const Loop& loop, const Pass& pass, double each, const Device& d) {
  const double capacity = d.processors * each, blocks = pass.blocks;
  const double busy = std::min<double>(d.processors, blocks);
  const double resident = std::min(each, std::ceil(blocks / d.processors));
  const double waves = blocks > capacity ? std::ceil(blocks / capacity) * capacity / blocks : 1;
  const double memory = loop.memory_bytes / (kCopyShare * d.memory_rate);
  const double l2 = (loop.memory_bytes + loop.l2_bytes) / (d.processors * kL2Bytes * d.clock);
  const double issue = loop.instructions / 32 / (busy * 4 * kIssueShare * d.clock);
  const double in_flight = busy * resident * pass.cut.threads() * kLoadsInFlight * loop.loads * kPackBytes;
  const double flight = (loop.memory_bytes + loop.l2_bytes) / in_flight * kMemoryLatency;
  return waves * std::max({memory, l2, issue, flight});
}

// The time to merge the partial sums of `splits` splits.
double finish(double splits) {
  return (std::ceil(splits / kFinishRows) + 2) * kL2Latency + kBlockMerge;
}

// The time of a pass beside its loop: the launch, the constants, the first loads, and the merge of a thread block.
constexpr double kPassChain = kLaunch + kTable + kMemoryLatency + kBlockMerge;

Prediction one_pass(const Plan& plan, const Loops& loops, const Device& d) {
  Prediction p{kPassChain + stream(loops.map, plan.map, kPassBlocks, d), loops.map.memory_bytes, 1};
  if (loops.gate) {
    p.seconds += kLaunch + finish(plan.map.cut.splits);
    ++p.launches;
  }
  return p;
}

// The map starts with the data that the reduction accessed last, because they are still in L2. As in plan_sliced,
// half of L2 counts.
Prediction two_pass(const Plan& plan, const Loops& loops, const Device& d) {
  Prediction p{kPassChain + kLaunch + finish(plan.reduce.cut.splits), loops.reduce.memory_bytes, 2};
  p.seconds += stream(loops.reduce, plan.reduce, kPassBlocks, d);
  if (plan.map.blocks == 0) return p;
  Loop map = loops.map;
  map.l2_bytes = std::min<double>(loops.waiting, d.l2_bytes / 2.0);
  map.memory_bytes -= map.l2_bytes;
  const Loops second{{}, map, 0, loops.gate};
  const Prediction rest = one_pass(plan, second, d);
  return {p.seconds + rest.seconds, p.bytes + rest.bytes, p.launches + rest.launches};
}

// One pass whose second look is at L2. There are slices + 1 grid barriers. In each step the sums of one slice are
// finished and the constants of two passes are loaded. From the third step on, the map hides the barrier.
Prediction sliced(const Plan& plan, const Loops& loops, const Device& d) {
  Loop once = loops.reduce + loops.map;
  once.memory_bytes -= loops.waiting;
  once.l2_bytes = loops.waiting;
  const double slices = plan.slices, barriers = slices + 1;
  Prediction p{kPassChain, once.memory_bytes, 1};
  p.seconds += stream(once, plan.reduce, std::min(d.cooperative, kBlocksPerProcessor), d);
  p.seconds += barriers * (kTable + kBlockMerge) + slices * (finish(plan.reduce.cut.splits) + kTable);
  p.seconds += 2 * kGridBarrier;  // the map hides the others
  if (loops.gate) p.seconds += kGridBarrier + finish(plan.reduce.cut.splits);
  return p;
}

// One pass whose second look is at shared memory. In each wave a thread block loads its constants twice, and waits
// for the sums of its cluster once, with sums for alpha twice; each time there are two cluster barriers. If
// several thread blocks share a multiprocessor, the others move data in the meantime.
Prediction resident(const Plan& plan, const Loops& loops, const Device& d) {
  const Pass& pass = plan.reduce;
  const double threads = pass.cut.threads();
  const double each = std::max(1.0, std::min(kBlocksPerProcessor * kThreads / threads,
                                             std::floor((d.shared_bytes + 1024.0) / (pass.shared + 1024.0))));
  Loop once = loops.reduce + loops.map;
  once.memory_bytes -= loops.waiting;
  const double waves = std::ceil(pass.blocks / (d.processors * each));
  const double merges = loops.gate ? 2 : 1;
  const double chain = 2 * kTable + kMemoryLatency + merges * (kBlockMerge + 2 * kClusterBarrier);
  return {kLaunch + stream(once, pass, each, d) + chain * (1 + (waves - 1) / each), once.memory_bytes, 1};
}

template <class Call>
Prediction predict_call(const Plan& plan, const Call& a, const Device& d) {
  if (plan.reduce.blocks + plan.map.blocks == 0) return {0, 0, 0};
  const Loops loops = loops_of(plan, a);
  switch (plan.variant) {
    case Variant::resident: return resident(plan, loops, d);
    case Variant::sliced: return sliced(plan, loops, d);
    case Variant::two_pass: return two_pass(plan, loops, d);
    default: return one_pass(plan, loops, d);
  }
}

}  // namespace

Prediction predict(const Plan& plan, const Forward& a, const Device& d) {
  return predict_call(plan, a, d);
}

Prediction predict(const Plan& plan, const Backward& a, const Device& d) {
  return predict_call(plan, a, d);
}

}  // namespace softgate::cuda
