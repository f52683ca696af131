// The bodies of POST /v1/embeddings and /v1/rerank.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/openai/request.hpp"

namespace nacelle::openai {

struct EmbeddingBody {
  std::string model;
  std::vector<Prompt> inputs;  // at least one
  bool one_list = false;       // the only one, of token ids, not in a list of such
  bool base64 = false;         // vectors as little-endian floats in base64
  bool normalize = true;       // to length 1
  bool mean = false;           // pooling
};

struct RerankBody {
  std::string model, query;
  std::vector<std::string> documents;
  std::size_t top_n = SIZE_MAX;
  bool return_documents = false;
};

// Each throws RequestError(400) that names the field. Embeddings: `dimensions` is refused, as no model here says that
// its vectors may be cut.
EmbeddingBody parse_embedding(std::string_view body);
RerankBody parse_rerank(std::string_view body);

// A string, strings, token ids, or lists of token ids; at most 2048 of them.
std::vector<Prompt> to_inputs(const std::string& name, const Json& value);

std::string to_base64(std::string_view bytes);

}  // namespace nacelle::openai
