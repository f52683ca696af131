// Builds GGUF files in memory for tests: small random models as they should be, and hostile files as they should not.
// An implementation of its own, so that it cannot share a mistake with core/formats. Values are checked by nobody here.
#pragma once

#include <nacelle/graph.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nacelle::test {

template <typename T>
void append(std::string& out, T value) {
  static_assert(std::is_trivially_copyable_v<T>);
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

// Round to nearest even; overflow becomes infinity, as IEEE 754 has it.
inline std::uint16_t half_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000);
  const double magnitude = std::fabs(static_cast<double>(value));
  if (std::isnan(value)) return sign | 0x7e00;
  if (magnitude >= 65520.0) return sign | 0x7c00;
  if (magnitude < 0x1p-14) return static_cast<std::uint16_t>(sign | std::lrint(magnitude * 0x1p24));
  int exponent;
  const double fraction = std::frexp(magnitude, &exponent);  // in [0.5, 1)
  // A mantissa that rounds up to 2048 carries into the exponent by itself.
  return static_cast<std::uint16_t>(sign | (((exponent + 14) << 10) + std::lrint(fraction * 2048) - 1024));
}

inline float half_value(std::uint16_t half) {
  const int exponent = (half >> 10) & 31, mantissa = half & 1023;
  const float sign = half & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  return sign * (exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                               : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25));
}

inline std::uint16_t bfloat16_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>((bits >> 16) | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// 32 values: f16 scale, 32 int8.
inline void append_q8_0(std::string& out, const float* values) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(values[i]));
  const float scale = largest / 127;
  append(out, half_bits(scale));
  for (int i = 0; i < 32; ++i) append(out, static_cast<std::int8_t>(scale == 0 ? 0 : std::lround(values[i] / scale)));
}

// 32 values: f16 scale, 16 bytes; value i is the low half of byte i, value i + 16 the high half, each less 8.
inline void append_q4_0(std::string& out, const float* values) {
  const float* extreme =
      std::max_element(values, values + 32, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  const float scale = *extreme / -8;
  append(out, half_bits(scale));
  const auto quant = [&](float value) {
    return scale == 0 ? 8 : std::clamp(static_cast<int>(value / scale + 8.5f), 0, 15);
  };
  for (int i = 0; i < 16; ++i) append(out, static_cast<std::uint8_t>(quant(values[i]) | quant(values[i + 16]) << 4));
}

// `values` as a tensor of `type` holds them: F32, F16, BF16, Q8_0 or Q4_0 (the last two: a multiple of 32).
inline std::string encode(nacelle_type type, const std::vector<float>& values) {
  std::string out;
  const std::size_t step = type == NACELLE_TYPE_Q8_0 || type == NACELLE_TYPE_Q4_0 ? 32 : 1;
  if (values.size() % step != 0) throw std::invalid_argument("encode: not a multiple of 32 values");
  for (std::size_t i = 0; i < values.size(); i += step) {
    switch (type) {
      case NACELLE_TYPE_F32: append(out, values[i]); break;
      case NACELLE_TYPE_F16: append(out, half_bits(values[i])); break;
      case NACELLE_TYPE_BF16: append(out, bfloat16_bits(values[i])); break;
      case NACELLE_TYPE_Q8_0: append_q8_0(out, &values[i]); break;
      case NACELLE_TYPE_Q4_0: append_q4_0(out, &values[i]); break;
      default: throw std::invalid_argument("encode: type not written here");
    }
  }
  return out;
}

// Normally distributed around 0 (all runs and machines give the same values).
inline std::vector<float> random_values(std::size_t count, std::uint32_t seed, float deviation = 0.05f) {
  std::mt19937 generator(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    float sum = -6;  // twelve uniform numbers: std::normal_distribution differs between libraries
    for (int i = 0; i < 12; ++i) sum += static_cast<float>(generator() >> 8) * 0x1p-24f;
    value = sum * deviation;
  }
  return values;
}

// GGUF's ids of metadata value types.
enum class GgufType : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

inline std::string gguf_string(std::string_view text) {
  std::string out;
  append(out, std::uint64_t{text.size()});
  return out.append(text);
}

class GgufWriter {
 public:
  // Header fields that a hostile file may lie about; the counts are of what was added unless set.
  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::int64_t tensor_count = -1, key_count = -1;
  std::uint64_t alignment = 32;  // of the data; "general.alignment" is not written by itself

  // Any value: `bytes` follow the type id as they are.
  GgufWriter& raw(std::string_view key, GgufType type, std::string_view bytes) {
    keys_ += gguf_string(key);
    append(keys_, type);
    keys_ += bytes;
    ++keys_written_;
    return *this;
  }
  template <typename T>
  GgufWriter& scalar(std::string_view key, GgufType type, T value) {
    std::string bytes;
    append(bytes, value);
    return raw(key, type, bytes);
  }
  GgufWriter& u16(std::string_view key, std::uint16_t value) { return scalar(key, GgufType::u16, value); }
  GgufWriter& u32(std::string_view key, std::uint32_t value) { return scalar(key, GgufType::u32, value); }
  GgufWriter& i32(std::string_view key, std::int32_t value) { return scalar(key, GgufType::i32, value); }
  GgufWriter& f32(std::string_view key, float value) { return scalar(key, GgufType::f32, value); }
  GgufWriter& boolean(std::string_view key, bool value) { return scalar(key, GgufType::boolean, value); }
  GgufWriter& string(std::string_view key, std::string_view value) {
    return raw(key, GgufType::string, gguf_string(value));
  }
  // An array; `bytes` holds the elements.
  GgufWriter& array(std::string_view key, GgufType element, std::uint64_t count, std::string_view bytes) {
    std::string head;
    append(head, element);
    append(head, count);
    return raw(key, GgufType::array, head.append(bytes));
  }
  GgufWriter& strings(std::string_view key, const std::vector<std::string>& values) {
    std::string bytes;
    for (const std::string& value : values) bytes += gguf_string(value);
    return array(key, GgufType::string, values.size(), bytes);
  }
  GgufWriter& i32s(std::string_view key, const std::vector<std::int32_t>& values) {
    return array(key, GgufType::i32, values.size(), {reinterpret_cast<const char*>(values.data()), values.size() * 4});
  }
  GgufWriter& f32s(std::string_view key, const std::vector<float>& values) {
    return array(key, GgufType::f32, values.size(), {reinterpret_cast<const char*>(values.data()), values.size() * 4});
  }

  // A tensor of `shape` (outermost first, as in TensorInfo), its values stored as `type` (see encode).
  GgufWriter& tensor(std::string_view name, std::vector<std::uint64_t> shape, nacelle_type type,
                     const std::vector<float>& values) {
    return stored(name, std::move(shape), type, encode(type, values));
  }
  // A tensor of any type whose stored bytes are at hand.
  GgufWriter& stored(std::string_view name, std::vector<std::uint64_t> shape, nacelle_type type,
                     std::string_view bytes) {
    std::reverse(shape.begin(), shape.end());
    const std::uint64_t offset = data_.size();
    data_ += bytes;
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
    return raw_tensor(name, shape, ggml_id(type), offset);
  }
  // A tensor's entry in the header: extents innermost first, ggml's type id, offset into the data.
  GgufWriter& raw_tensor(std::string_view name, const std::vector<std::uint64_t>& extents, std::uint32_t type,
                         std::uint64_t offset) {
    tensors_ += gguf_string(name);
    append(tensors_, static_cast<std::uint32_t>(extents.size()));
    for (const std::uint64_t extent : extents) append(tensors_, extent);
    append(tensors_, type);
    append(tensors_, offset);
    ++tensors_written_;
    return *this;
  }
  GgufWriter& raw_data(std::string_view bytes) {
    data_ += bytes;
    return *this;
  }

  std::string bytes() const {
    std::string out = magic;
    append(out, version);
    append(out, tensor_count < 0 ? tensors_written_ : tensor_count);
    append(out, key_count < 0 ? keys_written_ : key_count);
    out += keys_ + tensors_;
    out.resize((out.size() + alignment - 1) / alignment * alignment);
    return out + data_;
  }
  void save(const std::filesystem::path& path) const { std::ofstream(path, std::ios::binary) << bytes(); }

 private:
  static std::uint32_t ggml_id(nacelle_type type) {
    switch (type) {
      case NACELLE_TYPE_F32: return 0;
      case NACELLE_TYPE_F16: return 1;
      case NACELLE_TYPE_BF16: return 30;
      case NACELLE_TYPE_Q4_0: return 2;
      case NACELLE_TYPE_Q4_1: return 3;
      case NACELLE_TYPE_Q5_0: return 6;
      case NACELLE_TYPE_Q5_1: return 7;
      case NACELLE_TYPE_Q8_0: return 8;
      case NACELLE_TYPE_Q2_K: return 10;
      case NACELLE_TYPE_Q3_K: return 11;
      case NACELLE_TYPE_Q4_K: return 12;
      case NACELLE_TYPE_Q5_K: return 13;
      case NACELLE_TYPE_Q6_K: return 14;
      case NACELLE_TYPE_IQ4_NL: return 20;
      case NACELLE_TYPE_IQ4_XS: return 23;
      case NACELLE_TYPE_MXFP4: return 39;
      default: throw std::invalid_argument("GgufWriter: type not written here");
    }
  }

  std::string keys_, tensors_, data_;
  std::int64_t keys_written_ = 0, tensors_written_ = 0;
};

}  // namespace nacelle::test
