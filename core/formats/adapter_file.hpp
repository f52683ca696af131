// Low-rank adapters (LoRA) on disk: llama.cpp's GGUF, and a folder as the PEFT library writes it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/formats/model_files.hpp"

namespace nacelle {

// What is added to one tensor of the model's file: scale * B A. Hu et al., arXiv 2106.09685, section 4.1. The pair of
// an embedding changes what tokens are embedded as, not the head where that is the same tensor.
struct LowRankChange {
  std::string tensor;                   // "blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight"
  std::uint64_t rows = 0, columns = 0;  // N, K
  std::uint32_t rank = 0;
  float scale = 0;
  std::vector<float> a, b;    // [rank, K], [N, rank]
  bool of_embedding = false;  // [N, K] is [vocabulary, width]
};

// A tensor that is there whole: PEFT saves the embeddings that it has pairs for, and the head with them.
struct WholeTensor {
  std::string tensor;
  TensorInfo info;
};

struct AdapterFile {
  std::filesystem::path path;
  ModelFormat format = ModelFormat::kGguf;  // of the models whose tensors it names
  std::string architecture;                 // GGUF: "llama"; else empty
  std::vector<LowRankChange> changes;       // at least one; by tensor
  std::vector<WholeTensor> whole;
  std::vector<MappedFile> files;  // that these lie in
};

// `path`: a GGUF file of general.type "adapter", or a folder with adapter_config.json and adapter_model.safetensors.
// Reads all of it. Throws Error with one line that names the file and the tensor or key: kNotFound, kCorrupt, and
// kUnsupported for other methods than LoRA and rank-stabilised LoRA.
AdapterFile read_adapter(const std::filesystem::path& path);

}  // namespace nacelle
