// What a missing tensor is called in the file.
#include "core/formats/near_tensor.hpp"

#include <catch2/catch.hpp>

using namespace nacelle;

namespace {

std::string near(std::string_view name, const std::vector<std::string>& names) {
  std::vector<TensorInfo> tensors(names.size());
  for (std::size_t i = 0; i < names.size(); ++i) tensors[i].name = names[i];
  return near_tensor(name, tensors);
}

}  // namespace

TEST_CASE("a tensor under another prefix") {
  const char* name = "model.layers.0.self_attn.q_proj.weight";
  for (const std::string found :
       {"model.language_model.layers.0.self_attn.q_proj.weight", "layers.0.self_attn.q_proj.weight",
        "language_model.model.layers.0.self_attn.q_proj.weight", "transformer.layers.0.self_attn.q_proj.weight"})
    CHECK(near(name, {"vision.patch.weight", found}) == "; the file has '" + found + "', under another prefix");
  CHECK(near("blk.0.attn_q.weight", {"v.blk.0.attn_q.weight"}) ==
        "; the file has 'v.blk.0.attn_q.weight', under another prefix");
}

TEST_CASE("a tensor whose name is misspelled") {
  CHECK(near("blk.0.attn_output.weight", {"blk.0.attn_norm.weight", "blk.0.attn_ouptut.weight"}) ==
        "; the file has 'blk.0.attn_ouptut.weight', which is nearly that");
  CHECK(near("blk.0.attn_output.weight", {"blk.0.attn.output.weight"}) ==
        "; the file has 'blk.0.attn.output.weight', which is nearly that");
}

TEST_CASE("what is another tensor is not suggested") {
  const std::vector<std::string> others = {"blk.0.attn_k.weight",
                                           "blk.1.attn_q.weight",
                                           "blk.0.attn_q_norm.weight",
                                           "blk.0.attn_q.bias",
                                           "model.layers.1.mlp.w1.weight",
                                           "norm.weight",
                                           "weight",
                                           "blk.10.attn_q.weight",
                                           std::string(1 << 20, 'x') + ".attn_q.weight",
                                           ""};
  CHECK(near("blk.0.attn_q.weight", others).empty());
  CHECK(near("model.layers.1.mlp.w3.weight", others).empty());
  CHECK(near("output.weight", others).empty());
  CHECK(near("", others).empty());
}
