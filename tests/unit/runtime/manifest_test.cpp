// The manifest reader on a real plugin, whole, stripped of its section headers, cut at every length and with every byte
// of its headers changed; and on what is no plugin at all.
#include "sdk/runtime/manifest.hpp"

#include <elf.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

using namespace nacelle;
using namespace nacelle::sdk;

namespace {

std::vector<std::byte> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> text((std::istreambuf_iterator<char>(file)), {});
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

const std::vector<std::byte>& plugin() {
  static const std::vector<std::byte> bytes = read_file(NACELLE_TEST_PLUGIN);
  return bytes;
}

// The reader's answer as text: the name, or the message.
std::string answer(std::span<const std::byte> bytes) {
  try {
    return parse_manifest(bytes).name;
  } catch (const Failure& failure) {
    return failure.what();
  }
}

std::size_t find(std::string_view text) {
  const std::string_view all(reinterpret_cast<const char*>(plugin().data()), plugin().size());
  return all.find(text);
}

template <class T>
void poke(std::vector<std::byte>& bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

}  // namespace

TEST_CASE("the manifest of a real plugin is read from its file") {
  const Manifest manifest = read_manifest(NACELLE_TEST_PLUGIN);
  CHECK(manifest.kind == NACELLE_PLUGIN_ARCHITECTURE);
  CHECK(manifest.abi_major == NACELLE_ARCHITECTURE_ABI_MAJOR);
  CHECK(manifest.abi_minor == NACELLE_ARCHITECTURE_ABI_MINOR);
  CHECK(manifest.name == "llama");
  CHECK(manifest.version == "0.3.0");
  CHECK(manifest.platform == NACELLE_PLATFORM);
  CHECK(manifest.sanitizer == NACELLE_SANITIZER);
  CHECK(parse_manifest(plugin()).name == "llama");
}

TEST_CASE("without section headers the note is found through its segment") {
  auto bytes = plugin();
  poke(bytes, offsetof(Elf64_Ehdr, e_shoff), std::uint64_t{0});
  poke(bytes, offsetof(Elf64_Ehdr, e_shnum), std::uint16_t{0});
  CHECK(answer(bytes) == "llama");
}

TEST_CASE("a plugin cut at any length is refused, not read past its end") {
  // Each length is a buffer of its own, so that the sanitizers see a read behind it. Past the headers in
  // coarse steps: a sanitized plugin has megabytes.
  for (std::size_t length = 0; length < plugin().size(); length += length < 1024 ? 1 : 1 + plugin().size() / 300) {
    const std::vector<std::byte> cut(plugin().begin(), plugin().begin() + static_cast<std::ptrdiff_t>(length));
    const std::string message = answer(cut);
    INFO(length << ": " << message);
    REQUIRE(message != "llama");
  }
  CHECK(answer(std::span(plugin()).first(3)) == "is not an ELF file");
  CHECK(answer(std::span(plugin()).first(20)) ==
        "the ELF header at offset 0 reaches past the end of the file (20 bytes)");
  const std::string tail = answer(std::span(plugin()).first(plugin().size() - 1));
  CHECK(tail.starts_with("the section table at offset "));
}

TEST_CASE("no single changed byte of the headers or the note leads astray") {
  const std::size_t note = find("Nacelle") - 12;
  std::vector<std::pair<std::size_t, std::size_t>> ranges = {{0, 1024}, {note, note + 196}};
  std::uint64_t sections = 0;
  std::memcpy(&sections, plugin().data() + offsetof(Elf64_Ehdr, e_shoff), sizeof sections);
  ranges.emplace_back(sections, plugin().size());
  auto bytes = plugin();
  for (const auto& [begin, end] : ranges)
    for (std::size_t at = begin; at < end; ++at)
      for (const unsigned value : {0x00u, 0x7fu, 0xffu}) {
        const std::byte before = std::exchange(bytes[at], static_cast<std::byte>(value));
        REQUIRE_FALSE(answer(bytes).empty());
        bytes[at] = before;
      }
}

TEST_CASE("what the note says is checked") {
  const std::size_t manifest = find("Nacelle") + 8;
  const auto changed = [&](std::size_t offset, auto value) {
    auto bytes = plugin();
    poke(bytes, manifest + offset, value);
    return answer(bytes);
  };
  CHECK(changed(offsetof(nacelle_manifest, manifest_version), 2u) ==
        "has a manifest of version 2, this host reads version 1");
  CHECK(changed(offsetof(nacelle_manifest, kind), 9u) == "is a plugin of kind 9, which this host does not know");
  CHECK(changed(offsetof(nacelle_manifest, name), '\0') == "has a manifest without a name");
  CHECK(changed(offsetof(nacelle_manifest, name) + 2, '\n') == "has a manifest whose name is not plain text");
  CHECK(changed(offsetof(nacelle_manifest, version), std::array<char, 32>{}) == "llama");
  std::array<char, 32> full;
  full.fill('x');
  CHECK(changed(offsetof(nacelle_manifest, platform), full) == "has a manifest whose platform is not plain text");

  auto bytes = plugin();
  poke(bytes, manifest - 8 - 8, 100u);  // n_descsz
  CHECK(answer(bytes) == "has a manifest of 100 bytes, 176 were expected");
  poke(bytes, manifest - 8 - 8, 0xfffffff0u);
  CHECK(answer(bytes) == "has a note that reaches past its section");
  bytes = plugin();
  bytes[manifest - 8] = std::byte{'n'};
  CHECK(answer(bytes) == "is a shared library without a Nacelle manifest (.note.nacelle)");
}

TEST_CASE("what is no plugin says so") {
  const auto error = [](const std::string& path) {
    try {
      read_manifest(path);
    } catch (const Failure& failure) {
      return std::string(failure.what());
    }
    return std::string();
  };
  CHECK(error("/nonexistent.so") == "/nonexistent.so: is not a regular file");
  CHECK(error("/tmp") == "/tmp: is not a regular file");
  CHECK(error(NACELLE_SOURCE_DIR "/README.md").ends_with(": is not an ELF file"));
  auto bytes = plugin();
  poke(bytes, EI_CLASS, std::uint8_t{ELFCLASS32});
  CHECK(answer(bytes) == "is not a 64-bit little-endian ELF file");
  bytes = plugin();
  poke(bytes, offsetof(Elf64_Ehdr, e_type), std::uint16_t{ET_REL});
  CHECK(answer(bytes) == "is an ELF file, but not a shared library");
}
