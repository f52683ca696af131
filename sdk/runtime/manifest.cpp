// A bounds-checked walk over a 64-bit little-endian ELF file: the section .note.nacelle, or the PT_NOTE segments where
// the section headers were stripped.
#include "sdk/runtime/manifest.hpp"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

#include "sdk/runtime/checks.hpp"

namespace nacelle::sdk {
namespace {

constexpr std::uint64_t kMaxFile = std::uint64_t{1} << 30;  // CUDA plugins with many targets reach a few hundred MB
constexpr char kOwnerName[] = "Nacelle";
constexpr std::string_view kOwner(kOwnerName, sizeof(kOwnerName));  // with its NUL

// Random access to the image; every read is checked. Reads little of a large file.
class Image {
 public:
  virtual ~Image() = default;
  virtual std::uint64_t size() const = 0;
  virtual void copy(std::uint64_t offset, std::uint64_t count, void* out) const = 0;

  std::vector<char> bytes(std::uint64_t offset, std::uint64_t count, const std::string& what) const {
    if (offset > size() || count > size() - offset)
      refuse(what + " at offset " + std::to_string(offset) + " reaches past the end of the file (" +
             std::to_string(size()) + " bytes)");
    std::vector<char> result(count);
    copy(offset, count, result.data());
    return result;
  }
  template <class T>
  T get(std::uint64_t offset, const std::string& what) const {
    T value;
    std::memcpy(&value, bytes(offset, sizeof(T), what).data(), sizeof(T));
    return value;
  }
};

class MemoryImage final : public Image {
 public:
  explicit MemoryImage(std::span<const std::byte> data) : data_(data) {}
  std::uint64_t size() const override { return data_.size(); }
  void copy(std::uint64_t offset, std::uint64_t count, void* out) const override {
    std::ranges::copy(data_.subspan(offset, count), static_cast<std::byte*>(out));
  }

 private:
  std::span<const std::byte> data_;
};

class FileImage final : public Image {
 public:
  explicit FileImage(const std::filesystem::path& path) : file_(path, std::ios::binary) {
    std::error_code code;
    if (!std::filesystem::is_regular_file(path, code)) refuse("is not a regular file");
    size_ = std::filesystem::file_size(path, code);
    if (code || !file_) refuse("cannot be read");
  }
  std::uint64_t size() const override { return size_; }
  void copy(std::uint64_t offset, std::uint64_t count, void* out) const override {
    file_.seekg(static_cast<std::streamoff>(offset));
    if (!file_.read(static_cast<char*>(out), static_cast<std::streamsize>(count))) refuse("cannot be read");
  }

 private:
  mutable std::ifstream file_;
  std::uint64_t size_ = 0;
};

Elf64_Ehdr read_header(const Image& image) {
  if (image.size() > kMaxFile) refuse("is larger than 1 GiB, which no plugin is");
  char magic[SELFMAG] = {};
  if (image.size() >= SELFMAG) image.copy(0, SELFMAG, magic);
  if (std::memcmp(magic, ELFMAG, SELFMAG) != 0) refuse("is not an ELF file");
  const auto header = image.get<Elf64_Ehdr>(0, "the ELF header");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB)
    refuse("is not a 64-bit little-endian ELF file");
  if (header.e_type != ET_DYN) refuse("is an ELF file, but not a shared library");
  return header;
}

// Finds the note in a run of notes. Names and descriptions are padded to 4 bytes.
std::optional<std::vector<char>> find_note(const std::vector<char>& notes) {
  for (std::uint64_t at = 0; notes.size() - at >= sizeof(Elf64_Nhdr);) {
    Elf64_Nhdr note;
    std::memcpy(&note, notes.data() + at, sizeof note);
    const std::uint64_t name_size = (std::uint64_t{note.n_namesz} + 3) / 4 * 4;
    const std::uint64_t data_size = (std::uint64_t{note.n_descsz} + 3) / 4 * 4;
    const std::uint64_t left = notes.size() - at - sizeof note;
    if (name_size > left || note.n_descsz > left - name_size) refuse("has a note that reaches past its section");
    const char* name = notes.data() + at + sizeof note;
    if (note.n_type == NACELLE_MANIFEST_NOTE && std::string_view(name, note.n_namesz) == kOwner)
      return std::vector<char>(name + name_size, name + name_size + note.n_descsz);
    if (data_size > left - name_size) break;
    at += sizeof note + name_size + data_size;
  }
  return std::nullopt;
}

constexpr std::uint64_t kMaxNotes = 1u << 20;

std::vector<char> read_notes(const Image& image, std::uint64_t offset, std::uint64_t size, const std::string& what) {
  if (size > kMaxNotes) refuse(what + " is larger than 1 MiB");
  return image.bytes(offset, size, what);
}

std::optional<Elf64_Shdr> find_section(const Image& image, const Elf64_Ehdr& header, std::string_view wanted) {
  if (header.e_shoff == 0 || header.e_shnum == 0) return std::nullopt;
  if (header.e_shentsize != sizeof(Elf64_Shdr)) refuse("has section headers of an unknown size");
  const auto table =
      image.bytes(header.e_shoff, std::uint64_t{header.e_shnum} * sizeof(Elf64_Shdr), "the section table");
  const auto section = [&](std::size_t index) {
    Elf64_Shdr entry;
    std::memcpy(&entry, table.data() + index * sizeof entry, sizeof entry);
    return entry;
  };
  if (header.e_shstrndx >= header.e_shnum) refuse("has no section names");
  const Elf64_Shdr names_entry = section(header.e_shstrndx);
  if (names_entry.sh_size > kMaxNotes) refuse("has section names larger than 1 MiB");
  const auto names = image.bytes(names_entry.sh_offset, names_entry.sh_size, "the section names");
  const std::string_view all(names.data(), names.size());
  for (std::size_t i = 0; i < header.e_shnum; ++i) {
    const Elf64_Shdr entry = section(i);
    if (entry.sh_name >= all.size()) continue;
    const std::string_view rest = all.substr(entry.sh_name);
    if (rest.substr(0, rest.find('\0')) == wanted) return entry;
  }
  return std::nullopt;
}

std::optional<std::vector<char>> find_in_sections(const Image& image, const Elf64_Ehdr& header) {
  const auto entry = find_section(image, header, NACELLE_MANIFEST_SECTION);
  if (!entry || entry->sh_type != SHT_NOTE) return std::nullopt;
  return find_note(read_notes(image, entry->sh_offset, entry->sh_size, "section " NACELLE_MANIFEST_SECTION));
}

std::optional<std::vector<char>> find_in_segments(const Image& image, const Elf64_Ehdr& header) {
  if (header.e_phoff == 0 || header.e_phnum == 0) return std::nullopt;
  if (header.e_phentsize != sizeof(Elf64_Phdr)) refuse("has program headers of an unknown size");
  for (std::uint64_t i = 0; i < header.e_phnum; ++i) {
    const auto segment = image.get<Elf64_Phdr>(header.e_phoff + i * sizeof(Elf64_Phdr), "a program header");
    if (segment.p_type != PT_NOTE) continue;
    if (auto found = find_note(read_notes(image, segment.p_offset, segment.p_filesz, "a note segment"))) return found;
  }
  return std::nullopt;
}

// Fixed-size text: printable ASCII, ended by NUL inside its room.
template <std::size_t N>
std::string text(const char (&field)[N], const char* name) {
  const auto* end = std::find(field, field + N, '\0');
  const bool printable = std::all_of(field, end, [](char c) { return c >= 0x20 && c < 0x7f; });
  if (end == field + N || !printable) refuse(std::string("has a manifest whose ") + name + " is not plain text");
  return {field, end};
}

Manifest decode(const std::vector<char>& data) {
  nacelle_manifest raw;
  if (data.size() < sizeof raw)
    refuse("has a manifest of " + std::to_string(data.size()) + " bytes, " + std::to_string(sizeof raw) +
           " were expected");
  std::memcpy(&raw, data.data(), sizeof raw);
  if (raw.manifest_version != 1)
    refuse("has a manifest of version " + std::to_string(raw.manifest_version) + ", this host reads version 1");
  if (raw.kind != NACELLE_PLUGIN_BACKEND && raw.kind != NACELLE_PLUGIN_ARCHITECTURE)
    refuse("is a plugin of kind " + std::to_string(raw.kind) + ", which this host does not know");
  Manifest manifest{raw.kind,
                    raw.abi_major,
                    raw.abi_minor,
                    text(raw.name, "name"),
                    text(raw.version, "version"),
                    text(raw.platform, "platform"),
                    text(raw.sanitizer, "sanitizer"),
                    text(raw.build_id, "build id")};
  if (manifest.name.empty()) refuse("has a manifest without a name");
  return manifest;
}

Manifest read(const Image& image) {
  const Elf64_Ehdr header = read_header(image);
  auto found = find_in_sections(image, header);
  if (!found) found = find_in_segments(image, header);
  if (!found)
    throw Failure(NACELLE_NOT_FOUND, "is a shared library without a Nacelle manifest (" NACELLE_MANIFEST_SECTION ")");
  return decode(*found);
}

}  // namespace

namespace {

// Runs `body` on the file; what it refuses is told with the file's path.
template <class Body>
auto of_file(const std::filesystem::path& path, Body&& body) {
  try {
    return body(FileImage(path));
  } catch (const Failure& failure) {
    throw Failure(failure.status(), path.string() + ": " + failure.what());
  }
}

}  // namespace

Manifest read_manifest(const std::filesystem::path& path) {
  return of_file(path, [](const Image& image) { return read(image); });
}

std::string read_section(const std::filesystem::path& path, std::string_view name) {
  return of_file(path, [&](const Image& image) {
    const auto entry = find_section(image, read_header(image), name);
    if (!entry) return std::string();
    const auto bytes = image.bytes(entry->sh_offset, entry->sh_size, "section " + std::string(name));
    return std::string(bytes.begin(), bytes.end());
  });
}

Manifest parse_manifest(std::span<const std::byte> file) { return read(MemoryImage(file)); }

}  // namespace nacelle::sdk
