// Weights as the shaders read them; shaders/weights.glsl describes the layout.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>

namespace nacelle::vulkan {

// In the order of weights.glsl. kWide holds every block type that has no format of its own, exactly, in 12 bits a
// weight.
enum class Format : std::uint32_t { kF32, kF16, kBf16, kQ8_0, kQ4_0, kQ4_K, kQ6_K, kWide };

constexpr std::uint32_t kPanelColumns = 32;
constexpr std::uint32_t kBlockElements = 32;

// True for the types that matrices may be stored in.
bool is_packable(nacelle_type type) noexcept;
// Of a packable type.
Format format_of(nacelle_type type);
// "q8_0": the end of a shader's name.
const char* format_name(Format format);

// Sizes of a packed matrix [rows, columns], in 32-bit words. Three planes lie one after the other: codes, extra,
// headers.
struct PackedShape {
  PackedShape() = default;
  PackedShape(Format format, std::uint64_t rows, std::uint64_t columns);

  Format format = Format::kF32;
  std::uint64_t rows = 0, columns = 0;
  std::uint64_t panels = 0, blocks = 0;
  std::uint64_t panel_codes = 0, panel_extra = 0, panel_headers = 0;  // of one panel

  std::uint64_t codes() const { return panels * panel_codes; }
  std::uint64_t extra() const { return panels * panel_extra; }
  std::uint64_t words() const { return codes() + extra() + panels * panel_headers; }
};

// Where one panel goes.
struct PanelWords {
  std::uint32_t *codes, *extra, *headers;
};

// Packs rows [0, count) of `type`, `row_bytes` apart, as one panel; the columns past `count` become zeros.
void pack_panel(const PackedShape& shape, nacelle_type type, const std::uint8_t* rows, std::uint64_t row_bytes,
                std::uint32_t count, const PanelWords& to);

}  // namespace nacelle::vulkan
