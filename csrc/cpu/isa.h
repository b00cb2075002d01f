// All headers that the kernels need. Each <set>.cpp includes this file first, then switches its instruction
// set on, and then includes the kernels inside a namespace of its own. Inline functions of these headers
// are therefore never compiled for an instruction set that the processor may lack.
#pragma once

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

// Only GCC can switch the instruction set inside a file; other compilers build the baseline alone.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define SOFTGATE_X86 1
#endif
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "../args.h"
#include "../math.h"
#include "units.h"

namespace softgate::cpu {

// A buffer of this thread, aligned to a cache line, valid until the thread's next request for the slot.
void* scratch(int slot, size_t bytes);

// Whether `bytes` of results are written faster with stores that bypass the caches.
bool exceeds_caches(int64_t bytes);

// The size of the second-level cache of a core, in bytes.
int64_t second_level_cache();

// Runs f(begin, end) over [0, count) on all cores. With few `values` per index it runs on fewer cores.
template <class F>
void parallel(int64_t count, int64_t values, const F& f) {
  constexpr int64_t kGrain = 32768;
  at::parallel_for(0, count, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, values)), f);
}

}  // namespace softgate::cpu
