// Rows of f32 into GGUF's weight types. The scales are searched so that the weighted squared error of what a decoder
// will read is least: see scale_search.hpp. Any thread; the same bits whatever the number of threads.
#pragma once

#include <cstdint>
#include <nacelle/types.hpp>
#include <span>

namespace nacelle::compress {

// F32, F16, BF16 and every type of nacelle/block_formats.hpp.
bool can_encode(nacelle_type type) noexcept;

// `row`: whole blocks of finite values. `importance`: of each element, not negative, as many as the row has; empty:
// all alike. Writes the row's bytes to `out`.
void encode_row(nacelle_type type, std::span<const float> row, std::span<const float> importance,
                std::uint8_t* out) noexcept;

// The weighted squared error of rows and the most that an encoder may make of it: more means a defect or a damaged
// file. The weights are those of the encoder.
struct RowError {
  double error = 0, limit = 0;
  double plain = 0, power = 0;  // unweighted: of the error, and of the row

  RowError& operator+=(const RowError& other) noexcept;
};
RowError row_error(nacelle_type type, std::span<const float> row, std::span<const float> decoded,
                   std::span<const float> importance) noexcept;

}  // namespace nacelle::compress
