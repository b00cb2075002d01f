// Picks the instruction set at the first call, and holds the code that needs no vectors.
#include <cstdlib>
#include <fstream>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>

#include "isa.h"
#include "kernels.h"

namespace softgate::cpu {

#define SOFTGATE_DECLARE(set)                            \
  namespace set {                                        \
  void forward(const Forward& args);                     \
  void backward(const Backward& args);                   \
  void winograd(const Winograd& args);                   \
  void winograd_points(const WinogradPoints& args);      \
  void winograd_gradient(const WinogradGradient& args);  \
  }
SOFTGATE_DECLARE(baseline)
#if SOFTGATE_X86
SOFTGATE_DECLARE(avx2)
SOFTGATE_DECLARE(avx512)
#endif
#undef SOFTGATE_DECLARE

namespace {

struct InstructionSet {
  const char* name;
  void (*forward)(const Forward&);
  void (*backward)(const Backward&);
  void (*winograd)(const Winograd&);
  void (*winograd_points)(const WinogradPoints&);
  void (*winograd_gradient)(const WinogradGradient&);
};

#define SOFTGATE_SET(set) \
  {#set, &set::forward, &set::backward, &set::winograd, &set::winograd_points, &set::winograd_gradient}

// SOFTGATE_ISA=avx2 or baseline selects narrower vectors than the processor has, for tests.
InstructionSet choose() {
#if SOFTGATE_X86
  const char* asked = std::getenv("SOFTGATE_ISA");
  const std::string_view limit = asked != nullptr && *asked != '\0' ? asked : "avx512";
  if (limit != "avx512" && limit != "avx2" && limit != "baseline") {
    throw std::invalid_argument("SOFTGATE_ISA must be avx512, avx2 or baseline, got '" +
                                std::string(limit) + "'");
  }
  __builtin_cpu_init();
  if (limit == "avx512" && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return SOFTGATE_SET(avx512);
  }
  if (limit != "baseline" && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c")) {
    return SOFTGATE_SET(avx2);
  }
#endif
  return SOFTGATE_SET(baseline);
}

#undef SOFTGATE_SET

const InstructionSet& chosen() {
  static const InstructionSet set = choose();
  return set;
}

constexpr size_t kLine = 64;

struct Buffer {
  void* data = nullptr;
  size_t bytes = 0;
  ~Buffer() { std::free(data); }
};

}  // namespace

void forward(const Forward& args) { chosen().forward(args); }
void backward(const Backward& args) { chosen().backward(args); }
void winograd(const Winograd& args) { chosen().winograd(args); }
void winograd_points(const WinogradPoints& args) { chosen().winograd_points(args); }
void winograd_gradient(const WinogradGradient& args) { chosen().winograd_gradient(args); }
const char* instruction_set() { return chosen().name; }

void* scratch(int slot, size_t bytes) {
  static thread_local Buffer buffers[4];
  Buffer& buffer = buffers[slot];
  if (buffer.bytes < bytes) {
    std::free(buffer.data);
    buffer.bytes = (bytes + kLine - 1) / kLine * kLine;
    buffer.data = std::aligned_alloc(kLine, buffer.bytes);
    if (buffer.data == nullptr) {
      buffer.bytes = 0;
      throw std::bad_alloc();
    }
  }
  return buffer.data;
}

// The size of one cache of a level, or `otherwise` if it cannot be read. It is read from /sys, because in a
// virtual machine sysconf may return the sum of the caches of the whole host.
static int64_t cache_size(int level, int64_t otherwise) {
  int64_t kibibytes = 0;
  std::ifstream("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(level) + "/size") >>
      kibibytes;
  return kibibytes > 0 ? kibibytes << 10 : otherwise;
}

int64_t second_level_cache() {
  static const int64_t cache = cache_size(2, int64_t(512) << 10);
  return cache;
}

bool exceeds_caches(int64_t bytes) {
  static const int64_t cache = cache_size(3, int64_t(32) << 20);
  return bytes > cache / 2;
}

}  // namespace softgate::cpu
