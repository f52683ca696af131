// The importance matrix: how much each input channel of each matrix counts, as the mean square of what a calibration
// text sends into it. Read from and written to llama.cpp's imatrix files (GGUF; the older binary ones are read).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nacelle::compress {

// Of one weight: `sums` of squares over `counts` rows, for each matrix (expert) by itself.
struct ChannelSums {
  std::uint64_t channels = 0;
  std::vector<float> sums;    // matrices x channels
  std::vector<float> counts;  // matrices: rows seen
};

struct Importance {
  std::map<std::string, ChannelSums, std::less<>> weights = {};  // by GGUF's name of the weight
  std::vector<std::string> datasets = {};
  std::uint32_t chunks = 0, chunk_tokens = 0;

  // Mean squares of the `channels` inputs of `matrix`; empty where the weight (or that expert) was never seen. Throws
  // Error(kInvalidArgument) where the matrix is of another model: it has other channels.
  std::vector<float> channel_means(std::string_view weight, std::uint64_t matrix, std::uint64_t channels) const;
};

// Throws Error(kCorrupt or kUnsupported) with the file and what is wrong.
Importance read_importance(const std::filesystem::path& path);
void write_importance(const std::filesystem::path& path, const Importance& importance);

}  // namespace nacelle::compress
