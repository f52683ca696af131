// A row-major matrix that someone else owns.
#pragma once

#include <cstdint>
#include <span>

namespace nacelle::reference {

template <class T>
struct View {
  T* data = nullptr;
  std::uint64_t rows = 0;
  std::uint64_t width = 0;

  std::span<T> row(std::uint64_t index) const { return {data + index * width, width}; }
  T& at(std::uint64_t row_index, std::uint64_t column) const { return data[row_index * width + column]; }
};

using Matrix = View<float>;
using Indices = View<std::uint32_t>;

}  // namespace nacelle::reference
