// A model's mapped files as sdk/runtime/weight_reader.hpp wants them.
#pragma once

#include <nacelle/plugin.hpp>
#include <string>

#include "core/formats/model_files.hpp"
#include "sdk/runtime/weight_reader.hpp"

namespace nacelle {

// `files` must outlive it.
class FileTensors : public sdk::TensorSource {
 public:
  explicit FileTensors(const ModelFiles& files) : files_(files) {}

  std::span<const std::byte> bytes(std::string_view tensor) override {
    const TensorInfo* info = files_.tensor(tensor);
    if (!info) throw sdk::Failure(NACELLE_NOT_FOUND, "no tensor '" + std::string(tensor) + "'");
    return files_.data(*info);
  }
  void release(std::string_view tensor, std::uint64_t offset, std::uint64_t size) noexcept override {
    if (const TensorInfo* info = files_.tensor(tensor)) files_.release(*info, offset, size);
  }

 private:
  const ModelFiles& files_;
};

}  // namespace nacelle
