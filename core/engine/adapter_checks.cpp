#include "core/engine/adapter_checks.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nacelle/block_formats.hpp>

#include "core/base/error.hpp"
#include "core/formats/file_error.hpp"

namespace nacelle {
namespace {

bool is_float(nacelle_type type) {
  return type == NACELLE_TYPE_F32 || type == NACELLE_TYPE_F16 || type == NACELLE_TYPE_BF16;
}

// Whether two tensors of one shape hold the same numbers, but for rounding to 8 bits of mantissa.
bool same_numbers(const TensorInfo& a, const std::byte* a_bytes, const TensorInfo& b, const std::byte* b_bytes) {
  const std::uint64_t rows = a.shape[0], columns = a.shape[1];
  std::vector<float> one(columns), other(columns);
  for (std::uint64_t row = 0; row < rows; ++row) {
    const auto* from_a = reinterpret_cast<const std::uint8_t*>(a_bytes) + row * (a.size / rows);
    const auto* from_b = reinterpret_cast<const std::uint8_t*>(b_bytes) + row * (b.size / rows);
    decode_row(a.type, from_a, columns, one.data());
    decode_row(b.type, from_b, columns, other.data());
    for (std::uint64_t i = 0; i < columns; ++i)
      if (!(std::abs(one[i] - other[i]) <= std::abs(other[i]) / 64 + 1e-6f)) return false;
  }
  return true;
}

}  // namespace

std::string text_of_shape(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

void refuse_tensor(const AdapterFile& file, const std::string& tensor, const std::string& what) {
  throw Error(ErrorKind::kUnsupported, file.path.string() + ": tensor " + in_quotes(tensor) + ": " + what, "lora_path");
}

void check_family(const AdapterFile& file, const ModelFiles& model, const std::vector<AdapterTarget>& targets) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorKind::kUnsupported, file.path.string() + ": " + what, "lora_path");
  };
  if (file.format != model.format()) {
    if (std::ranges::any_of(targets, [](const AdapterTarget& target) { return target.source->other != nullptr; }))
      return;
    refuse(std::string("is ") + (file.format == ModelFormat::kGguf ? "a GGUF adapter" : "a folder as PEFT writes it") +
           ", and the model's architecture plugin does not say how its " +
           (model.format() == ModelFormat::kGguf ? "GGUF tensors" : "tensors in Hugging Face layout") +
           " correspond: expected an adapter in the model's own format, or a newer plugin");
  }
  if (!file.architecture.empty() && file.architecture != model.architecture())
    refuse("is for the architecture " + in_quotes(file.architecture) + ", the model's is " +
           in_quotes(model.architecture()));
}

void check_saved_tensors(const AdapterFile& file, const ModelFiles& model, const std::vector<AdapterTarget>& targets) {
  for (const WholeTensor& whole : file.whole) {
    const sdk::TensorLookup only = [&](std::string_view name, nacelle_type* type, std::uint32_t* rank,
                                       std::int64_t* shape) {
      if (name != whole.tensor || whole.info.shape.size() != 2 || !is_float(whole.info.type)) return false;
      *type = whole.info.type;
      *rank = 2;
      std::ranges::copy(whole.info.shape, shape);
      return true;
    };
    const auto is_of = [&](const AdapterTarget& target) {
      const auto& declared = file.format == model.format() ? target.source->declared : target.source->other;
      if (target.place == AdapterPlace::kLayer || !declared) return false;
      try {
        return sdk::resolve_weight(declared->get(), target.layer, only).kind == NACELLE_EXPR_TENSOR;
      } catch (const sdk::Failure&) {
        return false;
      }
    };
    const auto target = std::ranges::find_if(targets, is_of);
    if (target == targets.end())
      refuse_tensor(file, whole.tensor, "is there whole, and only low-rank pairs can be added to a model");
    const std::vector<std::int64_t> has(whole.info.shape.begin(), whole.info.shape.end());
    if (has != target->shape)
      refuse_tensor(file, whole.tensor,
                    fmt::format("is there whole, of shape {} where the model's is {}: an adapter cannot "
                                "change the vocabulary; merge it into the model",
                                text_of_shape(has), text_of_shape(target->shape)));
    const TensorInfo* own = model.tensor(target->source->value.tensor);
    if (own && is_float(own->type) && own->shape == whole.info.shape &&
        !same_numbers(whole.info, file.files[whole.info.file].bytes().data() + whole.info.offset, *own,
                      model.data(*own).data()))
      refuse_tensor(file, whole.tensor,
                    "was trained whole: it differs from the model's, and only low-rank pairs can be added; "
                    "merge the adapter into the model");
  }
}

}  // namespace nacelle
