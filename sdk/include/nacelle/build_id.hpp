// The content hash of the library that this is compiled into: the linker's GNU build id, read from its own ELF header
// in memory. nacelle_add_plugin sees to it that there is one. Any thread.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

// The first byte of this library as loaded; defined by the linker (GNU ld, gold, lld).
extern "C" __attribute__((visibility("hidden"), weak)) const unsigned char __ehdr_start[];

namespace nacelle::sdk {

// In hex; empty where the library was linked without one. Layout: elf(5), 64 bits, little-endian.
inline std::string build_id() {
  const unsigned char* const image = __ehdr_start;
  if (!image || std::memcmp(image,
                            "\x7f"
                            "ELF\x02\x01",
                            6) != 0)
    return {};
  const auto word = [](const unsigned char* p) {
    std::uint32_t value;
    std::memcpy(&value, p, sizeof value);
    return value;
  };
  const auto wide = [](const unsigned char* p) {
    std::uint64_t value;
    std::memcpy(&value, p, sizeof value);
    return value;
  };
  constexpr std::uint32_t kLoad = 1, kNote = 4, kBuildId = 3;
  const unsigned char* const headers = image + wide(image + 32);
  const std::uint32_t count = word(image + 56) & 0xffff, size = word(image + 54) & 0xffff;
  std::uint64_t base = 0;  // the address that the image's first byte was linked for
  for (std::uint32_t i = 0; i < count; ++i) {
    const unsigned char* const header = headers + i * size;
    if (word(header) == kLoad && wide(header + 8) == 0) base = wide(header + 16);
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    const unsigned char* const header = headers + i * size;
    if (word(header) != kNote) continue;
    const unsigned char* note = image + (wide(header + 16) - base);
    const unsigned char* const end = note + wide(header + 40);
    while (end - note >= 16) {
      const std::uint64_t name = (word(note) + 3ull) / 4 * 4, data = word(note + 4);
      const std::uint64_t length = 12 + name + (data + 3) / 4 * 4;
      if (length > static_cast<std::uint64_t>(end - note)) break;
      if (word(note + 8) == kBuildId && word(note) == 4 && std::memcmp(note + 12, "GNU", 4) == 0) {
        std::string hex;
        for (std::uint64_t b = 0; b < data; ++b)
          for (const int shift : {4, 0}) hex += "0123456789abcdef"[note[12 + name + b] >> shift & 15];
        return hex;
      }
      note += length;
    }
  }
  return {};
}

}  // namespace nacelle::sdk
