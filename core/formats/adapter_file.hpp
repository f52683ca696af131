// Low-rank adapters (LoRA) on disk: llama.cpp's GGUF, and a folder as the PEFT library writes it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/formats/model_files.hpp"

namespace nacelle {

// What is added to one tensor of the model's file: scale * B A. Hu et al., arXiv 2106.09685, section 4.1. The pair of
// an embedding changes what tokens are embedded as, not the head where that is the same tensor.
struct LowRankChange {
  std::string tensor;  // "blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight"
  // Of a tensor [experts, N, K]: which matrix of it. 0 experts: the tensor is one matrix.
  std::uint32_t expert = 0, experts = 0;
  std::uint64_t rows = 0, columns = 0;  // N, K
  std::uint32_t rank = 0;
  float scale = 0;
  std::vector<float> a, b;    // [rank, K], [N, rank]
  bool of_embedding = false;  // [N, K] is [vocabulary, width]

  void transpose();  // (B A)^T = A^T B^T
};

// What PEFT's target_parameters save of a module that holds all of a layer's experts: the pairs of one of its tensors
// [experts, .., ..]. Which tensor, how many experts and which way round it lies, the file does not say. `lines` is
// experts * rank.
struct ExpertsChange {
  std::string module;         // "model.layers.0.mlp.experts"
  std::string name;           // of A in its file
  std::uint64_t a_width = 0;  // A [lines, a_width]: an expert's lines follow each other
  std::uint64_t b_width = 0;  // B [b_width, lines]: the experts of the first of a rank come first
  std::uint64_t lines = 0;
  std::vector<float> a, b;
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
  std::vector<LowRankChange> changes;       // by tensor; at least one here or in the next
  std::vector<ExpertsChange> experts;
  // The scale of a pair of `rank` that changes the parameter `name` ("model.layers.0.mlp.experts.down_proj"), for
  // those.
  std::function<float(std::string_view name, std::uint32_t rank)> scale;
  std::vector<WholeTensor> whole;
  std::vector<MappedFile> files;  // that these lie in
};

// `path`: a GGUF file of general.type "adapter", or a folder with adapter_config.json and adapter_model.safetensors.
// Reads all of it. Throws Error with one line that names the file and the tensor or key: kNotFound, kCorrupt, and
// kUnsupported for other methods than LoRA and rank-stabilised LoRA.
AdapterFile read_adapter(const std::filesystem::path& path);

}  // namespace nacelle
