// The emulated machine's memory: the tensors that a launch may touch, and what it moved.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

namespace emulator {

struct Buffer {
  std::string name;
  uintptr_t begin;
  int64_t bytes;
  std::vector<bool> written;  // a read of anything else is an error
  int64_t read_bytes = 0, write_bytes = 0;
};

// A cache of 32-byte sectors that evicts the one touched longest ago, and before it those touched for
// the last time, of which it holds no more than a quarter: what reaches device memory behind it.
class Cache {
 public:
  explicit Cache(int64_t bytes) : sectors_(bytes / kSector) {}
  void touch(uintptr_t place, int bytes, bool write, bool last);
  int64_t moved() const;  // bytes read from, and in the end written to, device memory

 private:
  static constexpr int kSector = 32;
  using Ages = std::list<uintptr_t>;  // youngest first
  struct Line {
    Ages::iterator age;
    bool dirty, last;
  };
  void evict();

  size_t sectors_;
  Ages kept_, streaming_;
  std::unordered_map<uintptr_t, Line> lines_;
  int64_t moved_ = 0;
};

struct Memory {
  std::map<uintptr_t, Buffer> buffers;  // by begin
  Cache* cache = nullptr;
  int launches = 0;

  void add(const std::string& name, const void* begin, int64_t bytes, bool written);
  // The error that an access makes, or nothing. Not `counted` where it moves no bytes.
  std::string touch(const void* place, int bytes, bool write, bool last, bool counted);
};

extern Memory* memory;       // of the call that runs
// 0: threads run in order; kOneWarpAhead: one warp at a time, as far as it can, the last one first;
// else in the order of this shuffle.
extern unsigned order_seed;
constexpr unsigned kOneWarpAhead = ~0u;
extern int64_t edge_blocks;  // 0: all blocks run; else so many on either side of its ends and middle

}  // namespace emulator
