// How a call is cut into blocks and which variant of the kernels serves it: plain C++, decided from
// shapes, pointers and the device alone, so that tests can ask for any device.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../args.h"

namespace softgate::cuda {

// How batch statistics and their use share the reads. Results differ by rounding only; each variant
// gives the same bits for the same input on the same device.
enum class Variant {
  automatic,
  two_pass,  // reduce, then map: any shape
  sliced,    // one cooperative launch walks slices of channels small enough to wait in L2
  resident,  // one launch: each channel waits in the shared memory of a block or a cluster
};

struct Device {
  int processors;    // multiprocessors
  int64_t l2_bytes;
  int shared_bytes;  // shared memory a block may ask for
  int cluster;       // blocks a cluster may have: 1 before sm_90
  int cooperative;   // blocks of a cooperative grid that a multiprocessor holds; 0: there are no such grids
};

constexpr int kThreads = 256;
constexpr int kBlocksPerProcessor = 2;  // that every kernel promises to fit, see __launch_bounds__

// Work is cut along channels into groups and along items into splits; one block serves one split of
// one group. A block's threads are `lanes` packs of channels by `rows` items.
//
// An item is what one thread handles at a time: one pack, or, where a low resolution takes part, the
// packs of two image rows whose children fill one pack of it (upsample2x).
struct WorkSplit {
  int lanes = 1;   // always 1 in a contiguous layout, where all of a pack is of one channel
  int rows = 1;
  int groups = 0;
  int splits = 0;
  int64_t items = 0;  // of one group
  int64_t chunk = 0;  // items of one split
  int cols = 1;       // items of a line
  int lines = 1;      // lines of a sample
  int step_n = 0, step_line = 0, step_col = 0;  // `rows` items further on

  int threads() const { return lanes * rows; }
};

// The shape of the packs of a call.
struct Packing {
  bool vector = false;  // packs of 16 bytes, else of one value
  bool half_packs = false;   // a branch ends in the middle of a pack: branches are read by half packs
  bool upsample2x = false;
};

struct Plan {
  Variant variant = Variant::two_pass;
  Packing packing;
  WorkSplit cut;               // resident: a split is one block of a cluster
  int slice_groups = 0;  // sliced: groups of one slice
  int slices = 0;
  int blocks = 0;        // sliced: of the cooperative grid
};

// One pass over everything: y (and z, where the statistics are known), or the gradients.
Plan plan_map(const Forward&, const Device&);
Plan plan_map(const Backward&, const Device&);

// The first look at the data where batch statistics are made, or the only one of a one-read variant.
// Throws std::invalid_argument where a forced variant cannot serve the call.
Plan plan_statistics(const Forward&, const Device&, Variant forced);
Plan plan_statistics(const Backward&, const Device&, Variant forced);

// The same channels and blocks over the packs of y alone, whose items are single packs.
WorkSplit without_upsample(const Dims&, DType, const Plan&);

// Shared memory: merges and tables first (they take turns), then the packs that wait.
size_t work_bytes(DType, const Dims&, const Plan&);
size_t kept_bytes(const Dims&, const Plan&, int tensors);

}  // namespace softgate::cuda
