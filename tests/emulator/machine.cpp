#include "machine.h"

namespace emulator {

Memory* memory = nullptr;

void Cache::evict() {
  Ages& ages = streaming_.size() > sectors_ / 4 || kept_.empty() ? streaming_ : kept_;
  auto line = lines_.find(ages.back());
  if (line->second.dirty) moved_ += kSector;
  lines_.erase(line);
  ages.pop_back();
}

void Cache::touch(uintptr_t place, int bytes, bool write, bool last) {
  Ages& ages = last ? streaming_ : kept_;
  for (uintptr_t sector = place / kSector; sector <= (place + bytes - 1) / kSector; ++sector) {
    auto found = lines_.find(sector);
    if (found == lines_.end()) {
      if (!write) moved_ += kSector;
      if (lines_.size() == sectors_) evict();
      ages.push_front(sector);
      lines_[sector] = {ages.begin(), write, last};
    } else {
      Line& line = found->second;
      ages.splice(ages.begin(), line.last ? streaming_ : kept_, line.age);
      line.last = last;
      line.dirty = line.dirty || write;
    }
  }
}

int64_t Cache::moved() const {
  int64_t bytes = moved_;
  for (const auto& [sector, line] : lines_) bytes += line.dirty ? kSector : 0;
  return bytes;
}

void Memory::add(const std::string& name, const void* begin, int64_t bytes, bool written) {
  if (begin == nullptr || bytes == 0) return;
  const auto at = reinterpret_cast<uintptr_t>(begin);
  buffers[at] = {name, at, bytes, std::vector<bool>(bytes, written)};
}

std::string Memory::touch(const void* place, int bytes, bool write, bool last, bool counted) {
  const auto at = reinterpret_cast<uintptr_t>(place);
  const int word = bytes & (bytes - 1) ? 4 : bytes;  // a struct of several words: by its words
  const std::string what = std::string(write ? "write" : "read") + " of " + std::to_string(bytes) +
                           " bytes ";
  if (at % word != 0) return what + "off its alignment";
  auto after = buffers.upper_bound(at);
  if (after == buffers.begin()) return what + "outside every tensor";
  Buffer& buffer = (--after)->second;
  const int64_t offset = at - buffer.begin;
  if (offset + bytes > buffer.bytes) {
    return what + "outside every tensor, " + std::to_string(offset + bytes - buffer.bytes) +
           " bytes past the end of " + buffer.name;
  }
  for (int64_t i = offset; i < offset + bytes; ++i) {
    if (!write && !buffer.written[i]) return what + "of " + buffer.name + " that nothing wrote";
    if (write) buffer.written[i] = true;
  }
  if (!counted) return {};
  (write ? buffer.write_bytes : buffer.read_bytes) += bytes;
  if (cache != nullptr) cache->touch(at, bytes, write, last);
  return {};
}

}  // namespace emulator
