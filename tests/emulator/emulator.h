// CUDA on a CPU, one thread at a time: enough of it to run the kernels of csrc/cuda as they are.
//
// Every CUDA thread is a fiber. It runs until it waits at a barrier or a shuffle, or ends; whoever
// waits goes on when all threads that must arrive have arrived at the same place in the source.
// What a GPU would leave undefined is an error here: a barrier that some threads of the block do not
// reach, a global access outside every tensor or off its alignment, a read of memory that nothing
// wrote. Shared memory starts as NaN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#include <vector_types.h>

namespace emulator {

struct Launch {
  const char* name;
  int64_t blocks;
  int threads;
  size_t shared;
  int cluster;
  bool cooperative;
};

// Whether the machine has no room for a cooperative grid, as a GPU has that processes share.
extern bool refuse_cooperative;

// Runs body once per thread of the grid. Throws std::runtime_error where the kernel breaks a rule.
void run(const Launch& launch, const std::function<void()>& body);

// Of the running thread.
const uint3& thread_index();
const uint3& block_index();
const dim3& block_size();
const dim3& grid_size();
char* shared_memory();
char* peer_memory(char* mine, int rank);

void sync_block(const char* file, int line);
void sync_cluster();
void arrive_grid();
void wait_grid(unsigned generation);

// Shows the words of every lane of a full warp to every lane: returns that of `lane ^ mask`.
unsigned shuffle_xor(unsigned lanes, unsigned word, int mask, const char* file, int line);

void trace(const void* place, int bytes, bool write, bool last);

}  // namespace emulator

#ifndef __launch_bounds__
#define __launch_bounds__(...)
#endif
#ifndef __grid_constant__
#define __grid_constant__
#endif
#define threadIdx (::emulator::thread_index())
#define blockIdx (::emulator::block_index())
#define blockDim (::emulator::block_size())
#define gridDim (::emulator::grid_size())
#define __syncthreads() ::emulator::sync_block(__FILE__, __LINE__)
#define __shfl_xor_sync(lanes, word, mask) \
  ::emulator::shuffle_xor(lanes, word, mask, __FILE__, __LINE__)

#define __isGlobal(place) true
#define __builtin_assume(condition) ((void)(condition))

template <class T>
T __ldcs(const T* place) {
  return *place;
}
template <class T>
void __stcs(T* place, T value) {
  *place = value;
}

namespace softgate::cuda {

inline char* shared_memory() { return emulator::shared_memory(); }
inline void trace_read(const void* place, int bytes, bool last = false) {
  emulator::trace(place, bytes, false, last);
}
inline void trace_write(const void* place, int bytes, bool last = false) {
  emulator::trace(place, bytes, true, last);
}

class GridBarrier {
 public:
  void arrive() {
    emulator::arrive_grid();
    ++generation_;
  }
  void wait() { emulator::wait_grid(generation_); }

 private:
  unsigned generation_ = 0;
};

inline void cluster_sync() { emulator::sync_cluster(); }

template <class S>
S* cluster_peer(S* place, int rank) {
  return reinterpret_cast<S*>(emulator::peer_memory(reinterpret_cast<char*>(place), rank));
}

}  // namespace softgate::cuda
