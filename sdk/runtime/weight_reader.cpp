// A weight's bytes are one row-major range; every node maps such a range to ranges of its inputs. RESHAPE is the
// identity; CONCAT, SLICE and permutations of whole rows are runs of copied bytes; the rest works element by element.
#include "sdk/runtime/weight_reader.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <nacelle/block_formats.hpp>
#include <nacelle/half.hpp>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>
#include <string>

#include "sdk/runtime/packed_weights.hpp"

namespace nacelle::sdk {
namespace {

// Bytes that lie together in one input, from some offset of a node on.
struct Run {
  const WeightNode* input;
  std::uint64_t offset;
  std::uint64_t size;
};

std::uint64_t outer_extent(const WeightNode& node, std::uint32_t axis) {
  std::uint64_t outer = 1;
  for (std::uint32_t i = 0; i < axis; ++i) outer *= static_cast<std::uint64_t>(node.shape[i]);
  return outer;
}

Run concat_run(const WeightNode& node, std::uint64_t offset) {
  const std::uint64_t outer = outer_extent(node, node.axis);
  const std::uint64_t chunk = node.bytes() / outer;
  const std::uint64_t index = offset / chunk;
  std::uint64_t rest = offset % chunk;
  for (const WeightNode& part : node.inputs) {
    const std::uint64_t part_chunk = part.bytes() / outer;
    if (rest < part_chunk) return {&part, index * part_chunk + rest, part_chunk - rest};
    rest -= part_chunk;
  }
  throw Failure(NACELLE_INTERNAL, "the parts of a concat are shorter than the whole");
}

Run slice_run(const WeightNode& node, std::uint64_t offset) {
  const WeightNode& input = node.inputs[0];
  const std::uint64_t outer = outer_extent(node, node.axis);
  const std::uint64_t chunk = node.bytes() / outer, input_chunk = input.bytes() / outer;
  const auto begin = static_cast<std::uint64_t>(node.begin);
  const bool last = node.axis + 1 == node.shape.size();
  const std::uint64_t skip = last ? nacelle::row_bytes(node.type, begin)
                                  : begin * (input_chunk / static_cast<std::uint64_t>(input.shape[node.axis]));
  return {&input, offset / chunk * input_chunk + skip + offset % chunk, chunk - offset % chunk};
}

bool keeps_rows(const WeightNode& permute) { return permute.order.back() + 1 == permute.order.size(); }

Run permute_run(const WeightNode& node, std::uint64_t offset) {
  const WeightNode& input = node.inputs[0];
  const std::uint64_t row = node.row_bytes();
  std::uint64_t index = offset / row;
  std::array<std::uint64_t, NACELLE_MAX_RANK> place{};  // along the input's axes
  for (std::size_t i = node.shape.size() - 1; i-- > 0;) {
    const auto extent = static_cast<std::uint64_t>(node.shape[i]);
    place[node.order[i]] = index % extent;
    index /= extent;
  }
  std::uint64_t input_row = 0;
  for (std::size_t i = 0; i + 1 < input.shape.size(); ++i)
    input_row = input_row * static_cast<std::uint64_t>(input.shape[i]) + place[i];
  return {&input, input_row * row + offset % row, row - offset % row};
}

bool copies_runs(const WeightNode& node) {
  return node.kind == NACELLE_EXPR_CONCAT || node.kind == NACELLE_EXPR_SLICE || node.kind == NACELLE_EXPR_RESHAPE ||
         (node.kind == NACELLE_EXPR_PERMUTE && keeps_rows(node));
}

Run next_run(const WeightNode& node, std::uint64_t offset) {
  switch (node.kind) {
    case NACELLE_EXPR_CONCAT: return concat_run(node, offset);
    case NACELLE_EXPR_SLICE: return slice_run(node, offset);
    case NACELLE_EXPR_PERMUTE: return permute_run(node, offset);
    default: return {&node.inputs[0], offset, node.bytes() - offset};
  }
}

// Element alignment: a plain type's own size; the 16-bit scale inside a block.
std::uint32_t alignment_of(nacelle_type type) {
  const TypeInfo* info = type_info(type);
  return info->block_elements == 1 ? info->block_bytes : info->block_bytes % 2 ? 1 : 2;
}

float load_float(nacelle_type type, const std::byte* from) {
  if (type == NACELLE_TYPE_F32) {
    float value;
    std::memcpy(&value, from, sizeof value);
    return value;
  }
  std::uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return type == NACELLE_TYPE_F16 ? half_to_float(bits) : bfloat16_to_float(bits);
}

}  // namespace

WeightReader::WeightReader(const WeightNode& node, TensorSource& source) : node_(node), source_(source) {
  collect(node);
}

void WeightReader::collect(const WeightNode& node) {
  for (const WeightNode& input : node.inputs) collect(input);
  if (node.kind != NACELLE_EXPR_TENSOR) return;
  const auto bytes = source_.bytes(node.tensor);
  if (bytes.size() != node.bytes())
    throw Failure(NACELLE_INVALID_ARGUMENT, "tensor '" + node.tensor + "' has " + std::to_string(bytes.size()) +
                                                " bytes, " + std::to_string(node.bytes()) + " were expected");
  tensors_[&node] = bytes;
}

nacelle_weight_rows WeightReader::read(std::uint64_t begin, std::uint64_t count) {
  const std::uint64_t rows = row_count(), row = row_bytes();
  if (begin > rows || count > rows - begin)
    throw Failure(NACELLE_INVALID_ARGUMENT, "rows [" + std::to_string(begin) + ", +" + std::to_string(count) +
                                                ") of a weight of " + std::to_string(rows) + " rows were asked for");
  nacelle_weight_rows result{nullptr, row, node_.type, 0};
  if (count == 0) return result;
  const std::byte* data = direct(node_, begin * row, count * row);
  if (!data || reinterpret_cast<std::uintptr_t>(data) % alignment_of(node_.type)) {
    auto buffer = std::make_unique_for_overwrite<std::byte[]>(count * row);
    fill(node_, begin * row, count * row, buffer.get());
    data = buffer.get();
    scratch_.push_back({begin, std::move(buffer)});
  }
  result.data = data;
  return result;
}

void WeightReader::release(std::uint64_t begin, std::uint64_t count) noexcept {
  const std::uint64_t rows = row_count(), row = row_bytes();
  begin = std::min(begin, rows);
  count = std::min(count, rows - begin);
  std::erase_if(scratch_, [&](const Scratch& s) { return s.begin >= begin && s.begin - begin < count; });
  release_range(node_, begin * row, count * row);
}

// The address of the range inside a mapped tensor, or nullptr where it does not lie together.
const std::byte* WeightReader::direct(const WeightNode& node, std::uint64_t offset, std::uint64_t size) const {
  if (node.kind == NACELLE_EXPR_TENSOR) return tensors_.at(&node).data() + offset;
  if (!copies_runs(node)) return nullptr;
  const Run run = next_run(node, offset);
  return run.size < size ? nullptr : direct(*run.input, run.offset, size);
}

void WeightReader::fill(const WeightNode& node, std::uint64_t offset, std::uint64_t size, std::byte* out) {
  if (node.kind == NACELLE_EXPR_TENSOR) {
    std::memcpy(out, tensors_.at(&node).data() + offset, size);
  } else if (copies_runs(node)) {
    for (std::uint64_t done = 0; done < size;) {
      const Run run = next_run(node, offset + done);
      const std::uint64_t length = std::min(run.size, size - done);
      fill(*run.input, run.offset, length, out + done);
      done += length;
    }
  } else if (node.kind == NACELLE_EXPR_PERMUTE) {
    fill_transposed(node, offset, size, out);
  } else if (node.kind == NACELLE_EXPR_MXFP4) {
    fill_mxfp4(node, offset, size, out);
  } else if (node.kind == NACELLE_EXPR_DECODE) {
    fill_decoded(node, offset, size, out);
  } else if (is_packed(node)) {
    PackedParts parts{};
    for (std::size_t i = 0; i < node.inputs.size(); ++i) parts[i] = tensors_.at(&node.inputs[i]).data();
    read_packed(node, parts, offset, size, out);
  } else if (node.kind == NACELLE_EXPR_CONSTANT) {
    const auto value = static_cast<float>(node.constant);
    for (std::uint64_t done = 0; done < size; done += sizeof value) std::memcpy(out + done, &value, sizeof value);
  } else {
    fill_arithmetic(node, offset, size, out);
  }
}

// 32 elements: from two neighbours a byte to GGUF's order, where element i shares its byte with element i + 16.
void WeightReader::fill_mxfp4(const WeightNode& node, std::uint64_t offset, std::uint64_t size, std::byte* out) {
  constexpr std::uint64_t kHalf = 16, kBytes = 1 + kHalf;
  const std::uint64_t first = offset / kBytes, count = size / kBytes;
  std::vector<std::byte> pairs(count * kHalf), scales(count);
  fill(node.inputs[0], first * kHalf, pairs.size(), pairs.data());
  fill(node.inputs[1], first, count, scales.data());
  const auto element = [&](std::uint64_t i) {
    const auto both = std::to_integer<unsigned>(pairs[i / 2]);
    return i % 2 ? both >> 4 : both & 15;
  };
  for (std::uint64_t block = 0; block < count; ++block) {
    *out++ = scales[block];
    for (std::uint64_t i = 2 * kHalf * block; i < 2 * kHalf * block + kHalf; ++i)
      *out++ = static_cast<std::byte>(element(i) | element(i + kHalf) << 4);
  }
}

// By whole rows of the input, which are whole blocks.
void WeightReader::fill_decoded(const WeightNode& node, std::uint64_t offset, std::uint64_t size, std::byte* out) {
  const WeightNode& input = node.inputs[0];
  const auto columns = static_cast<std::uint64_t>(node.shape.back());
  std::vector<std::uint8_t> blocks(input.row_bytes());
  std::vector<float> row(columns);
  for (std::uint64_t done = 0; done < size;) {
    const std::uint64_t element = (offset + done) / 2, first = element % columns;
    const std::uint64_t count = std::min(columns - first, (size - done) / 2);
    fill(input, element / columns * blocks.size(), blocks.size(), reinterpret_cast<std::byte*>(blocks.data()));
    decode_row(input.type, blocks.data(), columns, row.data());
    for (std::uint64_t i = 0; i < count; ++i, done += 2) {
      const std::uint16_t half = float_to_half(row[first + i]);
      std::memcpy(out + done, &half, sizeof half);
    }
  }
}

void WeightReader::fill_arithmetic(const WeightNode& node, std::uint64_t offset, std::uint64_t size, std::byte* out) {
  const WeightNode& input = node.inputs[0];
  const std::uint64_t width = type_info(input.type)->block_bytes, count = size / sizeof(float);
  const std::uint64_t input_offset = offset / sizeof(float) * width;
  const std::byte* from = direct(input, input_offset, count * width);
  std::unique_ptr<std::byte[]> buffer;
  if (!from) {
    buffer = std::make_unique_for_overwrite<std::byte[]>(count * width);
    fill(input, input_offset, count * width, buffer.get());
    from = buffer.get();
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    const double value = load_float(input.type, from + i * width);
    const auto result = static_cast<float>(node.kind == NACELLE_EXPR_EXP   ? std::exp(value)
                                           : node.kind == NACELLE_EXPR_ADD ? value + node.constant
                                                                           : value * node.constant);
    std::memcpy(out + i * sizeof result, &result, sizeof result);
  }
}

void WeightReader::fill_transposed(const WeightNode& node, std::uint64_t offset, std::uint64_t size, std::byte* out) {
  const WeightNode& input = node.inputs[0];
  const std::byte* from = whole(input);
  const std::uint64_t width = type_info(node.type)->block_bytes;
  const std::size_t rank = node.shape.size();
  std::array<std::uint64_t, NACELLE_MAX_RANK> input_stride{}, place{}, stride{};  // in elements
  for (std::uint64_t i = rank, step = 1; i-- > 0; step *= static_cast<std::uint64_t>(input.shape[i]))
    input_stride[i] = step;
  std::uint64_t index = offset / width, source = 0;
  for (std::size_t i = rank; i-- > 0;) {
    const auto extent = static_cast<std::uint64_t>(node.shape[i]);
    stride[i] = input_stride[node.order[i]];
    place[i] = index % extent;
    index /= extent;
    source += place[i] * stride[i];
  }
  for (std::uint64_t done = 0; done < size; done += width) {
    std::memcpy(out + done, from + source * width, width);
    for (std::size_t i = rank; i-- > 0;) {  // the next place, as an odometer counts
      source += stride[i];
      if (++place[i] < static_cast<std::uint64_t>(node.shape[i])) break;
      source -= place[i] * stride[i];
      place[i] = 0;
    }
  }
}

// A transpose jumps about in its input, so it is made once as a whole where it does not lie in the file like that.
const std::byte* WeightReader::whole(const WeightNode& node) {
  if (const std::byte* data = direct(node, 0, node.bytes())) return data;
  auto& buffer = wholes_[&node];
  if (!buffer) {
    auto made = std::make_unique_for_overwrite<std::byte[]>(node.bytes());
    fill(node, 0, node.bytes(), made.get());
    buffer = std::move(made);
  }
  return buffer.get();
}

void WeightReader::release_range(const WeightNode& node, std::uint64_t offset, std::uint64_t size) noexcept {
  if (size == 0) return;
  if (node.kind == NACELLE_EXPR_TENSOR) return source_.release(node.tensor, offset, size);
  if (node.kind == NACELLE_EXPR_ADD || node.kind == NACELLE_EXPR_SCALE || node.kind == NACELLE_EXPR_EXP) {
    const std::uint64_t width = type_info(node.inputs[0].type)->block_bytes;
    return release_range(node.inputs[0], offset / sizeof(float) * width, size / sizeof(float) * width);
  }
  if (node.kind == NACELLE_EXPR_MXFP4) {
    release_range(node.inputs[0], offset / 17 * 16, size / 17 * 16);
    return release_range(node.inputs[1], offset / 17, size / 17);
  }
  if (node.kind == NACELLE_EXPR_DECODE) {
    const std::uint64_t columns = static_cast<std::uint64_t>(node.shape.back()) * 2, row = node.inputs[0].row_bytes();
    return release_range(node.inputs[0], offset / columns * row, (size + columns - 1) / columns * row);
  }
  if (is_packed(node)) return;     // a row of the matrix lies all over the file
  if (!copies_runs(node)) return;  // a transpose reads its input all over until its last row
  for (std::uint64_t done = 0; done < size;) {
    const Run run = next_run(node, offset + done);
    const std::uint64_t length = std::min(run.size, size - done);
    release_range(*run.input, run.offset, length);
    done += length;
  }
}

}  // namespace nacelle::sdk
