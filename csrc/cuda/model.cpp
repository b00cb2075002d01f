#include "model.h"

#include <algorithm>
#include <cmath>

#include "pass.h"

namespace softgate::cuda {
namespace {

// Instructions of a main loop for each pack of 16 bytes on sm_90, from docs/kernels.md: contiguous
// float32, contiguous of two bytes, channels_last float32, channels_last of two bytes.
constexpr double kForwardReduce[] = {46, 90, 38, 84};
constexpr double kForwardNormalise[] = {36, 52, 26, 42};
constexpr double kForwardMap[] = {52, 92, 44, 88};
constexpr double kBackwardReduce[] = {44, 85, 36, 78};
constexpr double kBackwardMap[] = {80, 159, 72, 157};
constexpr double kUpsample2x = 1.25;     // of these, where a low resolution takes part: 1.1 to 1.5
constexpr double kSingleInstructions = 50;  // for a pack of one value: not counted

// What a device gives. No GPU has confirmed any of these numbers for the kernels here.
constexpr double kCopyShare = 0.9;         // of the memory's rate: 3.0 of 3.35 TB/s, a copy on an H100
constexpr double kL2Bytes = 32;            // a clock and multiprocessor, half of what its L1 takes
constexpr double kIssueShare = 0.8;        // of four instructions a clock and multiprocessor
constexpr double kMemoryLatency = 0.8e-6;  // seconds, of a load while the memory is busy
constexpr double kL2Latency = 0.25e-6;     // of a load that another one waits for
constexpr double kLaunch = 2e-6;           // from the end of a kernel to the first load of the next
constexpr double kGridBarrier = 1.5e-6;
constexpr double kClusterBarrier = 0.4e-6;
constexpr double kBlockMerge = 0.3e-6;     // eight levels of a block's tree
constexpr double kTableLoads = 2;          // that wait for each other before a main loop begins
constexpr double kPassBlocks = 3;          // of 256 threads on a multiprocessor, of a two-pass kernel
constexpr double kLoadsInFlight = 2;       // packs of each tensor, see tile.cuh
constexpr double kFinishRows = 256;        // splits that `finish` reads at once, see reduce.cuh

constexpr double kTable = kTableLoads * kL2Latency;

// The loop of a pass, over its leading tensor.
struct Loop {
  double memory_bytes = 0, l2_bytes = 0, instructions = 0;
  double loads = 1;  // tensors that are read

  Loop operator+(const Loop& o) const {
    return {memory_bytes + o.memory_bytes, l2_bytes + o.l2_bytes, instructions + o.instructions,
            std::max(loads, o.loads)};
  }
};

// What the loops of a call move, whichever variant runs them: memory alone for the first look.
struct Loops {
  Loop reduce, map;     // of two passes
  double waiting = 0;   // bytes that the map reads and the reduction has seen
  bool gate = false;    // sums of alpha are made behind the map
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

// How long a loop takes where `blocks` blocks share it, of which a multiprocessor holds `each`: the
// scarcest of memory, L2, issue slots and loads in flight, over whole waves of blocks.
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

// Merging the partial sums of so many splits.
double finish(double splits) {
  return (std::ceil(splits / kFinishRows) + 2) * kL2Latency + kBlockMerge;
}

// A launch, the constants, the first loads, the merge of a block.
constexpr double kPassChain = kLaunch + kTable + kMemoryLatency + kBlockMerge;

Prediction one_pass(const Plan& plan, const Loops& loops, const Device& d) {
  Prediction p{kPassChain + stream(loops.map, plan.map, kPassBlocks, d), loops.map.memory_bytes, 1};
  if (loops.gate) {
    p.seconds += kLaunch + finish(plan.map.cut.splits);
    ++p.launches;
  }
  return p;
}

// What the map reads again of the last that was written, or read, is still in L2: half of it holds what
// waits, as in plan_sliced.
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

// One walk whose second look is at L2. Each of slices + 1 barriers has the sums finished before it and
// the constants of two passes behind it; the map hides the barrier itself from the third step on.
Prediction sliced(const Plan& plan, const Loops& loops, const Device& d) {
  Loop once = loops.reduce + loops.map;
  once.memory_bytes -= loops.waiting;
  once.l2_bytes = loops.waiting;
  const double slices = plan.slices, barriers = slices + 1;
  Prediction p{kPassChain, once.memory_bytes, 1};
  p.seconds += stream(once, plan.reduce, std::min(d.cooperative, kBlocksPerProcessor), d);
  p.seconds += barriers * (kTable + kBlockMerge) + slices * (finish(plan.reduce.cut.splits) + kTable);
  p.seconds += 2 * kGridBarrier;  // the others are hidden
  if (loops.gate) p.seconds += kGridBarrier + finish(plan.reduce.cut.splits);
  return p;
}

// One walk, whose second look is at shared memory. A wave of blocks waits for its cluster's sums twice
// (three times with those of alpha); where two blocks share a multiprocessor, one streams meanwhile.
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
