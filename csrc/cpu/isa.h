// Everything that the kernels need from outside. Each <set>.cpp includes this first, then switches its
// instruction set on and includes the kernels inside a namespace of its own: inline functions of these
// headers are thus never compiled for a set that another processor lacks.
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

// Switching the instruction set inside a file is GCC's; other compilers build the baseline alone.
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

// A buffer of this thread, on a cache line, valid until the thread's next request for the slot.
void* scratch(int slot, size_t bytes);

// Whether `bytes` of results are better written past the caches.
bool exceeds_caches(int64_t bytes);

// Bytes that a core has to itself beside the first level.
int64_t second_level_cache();

// Runs f(begin, end) over [0, count) on all cores, serially where `values` per index make too little work.
template <class F>
void parallel(int64_t count, int64_t values, const F& f) {
  constexpr int64_t kGrain = 32768;
  at::parallel_for(0, count, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, values)), f);
}

}  // namespace softgate::cpu
