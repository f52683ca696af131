// A row is taken apart block by block; each 32 elements of it are put into their column of the panel.
#include "backends/vulkan/packing.hpp"

#include <bit>
#include <cstring>
#include <nacelle/block_formats.hpp>
#include <nacelle/half.hpp>
#include <nacelle/types.hpp>

namespace nacelle::vulkan {
namespace {

struct FormatInfo {
  const char* name;
  std::uint32_t code_bits;      // of an element
  std::uint32_t header_blocks;  // that share a header
  std::uint32_t header_words;
  std::uint32_t extra_words;  // of a block of a column
};
constexpr FormatInfo kFormats[] = {
    {"f32", 32, 1, 0, 0}, {"f16", 16, 1, 0, 0}, {"bf16", 16, 1, 0, 0}, {"q8_0", 8, 2, 1, 0},
    {"q4_0", 4, 2, 1, 0}, {"q4_k", 4, 8, 5, 0}, {"q6_k", 4, 8, 5, 2},  {"wide", 8, 1, 4, 0},
};
const FormatInfo& info_of(Format format) { return kFormats[static_cast<std::uint32_t>(format)]; }

// One column of a panel.
class Column {
 public:
  Column(const PackedShape& shape, const PanelWords& to, std::uint32_t column)
      : info_(info_of(shape.format)), to_(to), column_(column) {}

  // The low code bits of element i of a block.
  void put_code(std::uint64_t block, std::uint32_t i, std::uint32_t code) const {
    const std::uint32_t bit = i * info_.code_bits, word = bit / 32;
    const std::uint64_t unit = block * info_.code_bits / 4 + word / 4;
    to_.codes[(unit * kPanelColumns + column_) * 4 + word % 4] |= code << bit % 32;
  }
  // Two bits of it above them.
  void put_high(std::uint64_t block, std::uint32_t i, std::uint32_t bits) const {
    to_.extra[(block * kPanelColumns + column_) * 2 + i / 16] |= bits << 2 * (i % 16);
  }
  std::uint32_t& header(std::uint64_t block, std::uint32_t word) const {
    return to_.headers[(block / info_.header_blocks * info_.header_words + word) * kPanelColumns + column_];
  }

 private:
  const FormatInfo& info_;
  const PanelWords& to_;
  std::uint32_t column_;
};

void put_floats(const Column& column, std::uint32_t bytes, std::uint64_t count, const std::uint8_t* stored) {
  for (std::uint64_t i = 0; i < count; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, stored + i * bytes, bytes);
    column.put_code(i / kBlockElements, i % kBlockElements, bits);
  }
}

// 32 elements of a block that was taken apart, from `first` on.
void put_block(const Column& column, Format format, const BlockFormat& of, const BlockParts& parts, std::uint32_t first,
               std::uint64_t block) {
  const auto half = [](float value) { return std::uint32_t{float_to_half(value)}; };
  const auto put_byte = [&](std::uint32_t word, std::uint32_t index, std::uint32_t byte) {
    column.header(block, word) |= (byte & 0xff) << 8 * index;
  };
  const std::uint32_t sub = first / of.sub_elements, eighth = static_cast<std::uint32_t>(block % 8);
  for (std::uint32_t i = 0; i < kBlockElements; ++i) {
    const std::uint32_t code = parts.codes[first + i];
    const std::int32_t value = of.codebook ? of.codebook[code] : static_cast<std::int32_t>(code) - of.offset;
    const bool bytes = format == Format::kQ8_0 || format == Format::kWide;
    column.put_code(block, i, bytes ? static_cast<std::uint32_t>(value) & 0xff : code & 15);
    if (format == Format::kQ6_K) column.put_high(block, i, code >> 4);
  }
  switch (format) {
    case Format::kQ8_0:
    case Format::kQ4_0: column.header(block, 0) |= half(parts.scale) << 16 * (block % 2); return;
    case Format::kQ4_K:
      column.header(block, 0) = half(parts.scale) | half(parts.min) << 16;
      put_byte(1 + eighth / 4, eighth % 4, static_cast<std::uint8_t>(parts.scales[sub]));
      put_byte(3 + eighth / 4, eighth % 4, parts.mins[sub]);
      return;
    case Format::kQ6_K:
      column.header(block, 0) = std::bit_cast<std::uint32_t>(parts.scale);
      for (std::uint32_t s = 0; s < 2; ++s)
        put_byte(1 + eighth / 2, eighth % 2 * 2 + s, static_cast<std::uint8_t>(parts.scales[sub + s]));
      return;
    default:
      for (std::uint32_t s = 0; s < 2; ++s) {
        const std::uint32_t half_sub = (first + 16 * s) / of.sub_elements;
        column.header(block, s) = std::bit_cast<std::uint32_t>(parts.scale * parts.scales[half_sub]);
        column.header(block, 2 + s) = std::bit_cast<std::uint32_t>(parts.min * parts.mins[half_sub]);
      }
  }
}

}  // namespace

bool is_packable(nacelle_type type) noexcept {
  return block_format(type) || type == NACELLE_TYPE_F32 || type == NACELLE_TYPE_F16 || type == NACELLE_TYPE_BF16;
}

Format format_of(nacelle_type type) {
  switch (type) {
    case NACELLE_TYPE_F32: return Format::kF32;
    case NACELLE_TYPE_F16: return Format::kF16;
    case NACELLE_TYPE_BF16: return Format::kBf16;
    case NACELLE_TYPE_Q8_0: return Format::kQ8_0;
    case NACELLE_TYPE_Q4_0: return Format::kQ4_0;
    case NACELLE_TYPE_Q4_K: return Format::kQ4_K;
    case NACELLE_TYPE_Q6_K: return Format::kQ6_K;
    default: return Format::kWide;
  }
}

const char* format_name(Format format) { return info_of(format).name; }

PackedShape::PackedShape(Format of, std::uint64_t row_count, std::uint64_t column_count)
    : format(of), rows(row_count), columns(column_count) {
  const FormatInfo& info = info_of(format);
  panels = (rows + kPanelColumns - 1) / kPanelColumns;
  blocks = (columns + kBlockElements - 1) / kBlockElements;
  panel_codes = blocks * info.code_bits * kPanelColumns;
  panel_extra = blocks * info.extra_words * kPanelColumns;
  panel_headers = (blocks + info.header_blocks - 1) / info.header_blocks * info.header_words * kPanelColumns;
}

void pack_panel(const PackedShape& shape, nacelle_type type, const std::uint8_t* rows, std::uint64_t row_bytes,
                std::uint32_t count, const PanelWords& to) {
  std::memset(to.codes, 0, shape.panel_codes * sizeof(std::uint32_t));
  std::memset(to.extra, 0, shape.panel_extra * sizeof(std::uint32_t));
  std::memset(to.headers, 0, shape.panel_headers * sizeof(std::uint32_t));
  const BlockFormat* of = block_format(type);
  BlockParts parts;
  for (std::uint32_t c = 0; c < count; ++c) {
    const Column column(shape, to, c);
    const std::uint8_t* stored = rows + c * row_bytes;
    if (!of) {
      put_floats(column, type_info(type)->block_bytes, shape.columns, stored);
      continue;
    }
    for (std::uint64_t block = 0; block < shape.blocks; stored += type_info(type)->block_bytes) {
      take_apart(type, stored, parts);
      for (std::uint32_t first = 0; first < of->elements; first += kBlockElements)
        put_block(column, shape.format, *of, parts, first, block++);
    }
  }
}

}  // namespace nacelle::vulkan
