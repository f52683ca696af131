// The type tables against the sizes that GGUF and safetensors define.
#include "core/formats/tensor.hpp"

#include <catch2/catch.hpp>

using namespace nacelle;

TEST_CASE("every type of graph.h has its geometry") {
  struct Row {
    nacelle_type type;
    std::string name;
    std::uint32_t elements, bytes;
    int ggml;  // id in GGUF files; -1: none
  };
  const Row rows[] = {
      {NACELLE_TYPE_F32, "F32", 1, 4, 0},
      {NACELLE_TYPE_F16, "F16", 1, 2, 1},
      {NACELLE_TYPE_BF16, "BF16", 1, 2, 30},
      {NACELLE_TYPE_I32, "I32", 1, 4, 26},
      {NACELLE_TYPE_U32, "U32", 1, 4, -1},
      {NACELLE_TYPE_I8, "I8", 1, 1, 24},
      {NACELLE_TYPE_U8, "U8", 1, 1, -1},
      {NACELLE_TYPE_I64, "I64", 1, 8, 27},
      {NACELLE_TYPE_F64, "F64", 1, 8, 28},
      {NACELLE_TYPE_I16, "I16", 1, 2, 25},
      {NACELLE_TYPE_BOOL, "BOOL", 1, 1, -1},
      {NACELLE_TYPE_Q8_0, "Q8_0", 32, 34, 8},
      {NACELLE_TYPE_Q4_0, "Q4_0", 32, 18, 2},
      {NACELLE_TYPE_Q4_1, "Q4_1", 32, 20, 3},
      {NACELLE_TYPE_Q5_0, "Q5_0", 32, 22, 6},
      {NACELLE_TYPE_Q5_1, "Q5_1", 32, 24, 7},
      {NACELLE_TYPE_Q2_K, "Q2_K", 256, 84, 10},
      {NACELLE_TYPE_Q3_K, "Q3_K", 256, 110, 11},
      {NACELLE_TYPE_Q4_K, "Q4_K", 256, 144, 12},
      {NACELLE_TYPE_Q5_K, "Q5_K", 256, 176, 13},
      {NACELLE_TYPE_Q6_K, "Q6_K", 256, 210, 14},
      {NACELLE_TYPE_IQ4_NL, "IQ4_NL", 32, 18, 20},
      {NACELLE_TYPE_IQ4_XS, "IQ4_XS", 256, 136, 23},
      {NACELLE_TYPE_MXFP4, "MXFP4", 32, 17, 39},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    const TypeInfo* info = type_info(row.type);
    REQUIRE(info);
    CHECK(info->name == row.name);
    CHECK(info->block_elements == row.elements);
    CHECK(info->block_bytes == row.bytes);
    if (row.ggml < 0) continue;
    const GgmlType* ggml = ggml_type(static_cast<std::uint32_t>(row.ggml));
    REQUIRE(ggml);
    CHECK(ggml->name == row.name);
    CHECK(ggml->type == row.type);
  }
  CHECK_FALSE(type_info(NACELLE_TYPE_INVALID));
  CHECK_FALSE(type_info(12));
}

TEST_CASE("ggml types that are not read are known by name, withdrawn ones not at all") {
  CHECK(std::string(ggml_type(16)->name) == "IQ2_XXS");
  CHECK(ggml_type(16)->type == NACELLE_TYPE_INVALID);
  CHECK(std::string(ggml_type(34)->name) == "TQ1_0");
  CHECK(std::string(ggml_type(42)->name) == "Q2_0");
  for (const std::uint32_t withdrawn : {4u, 5u, 31u, 38u, 43u, 0xffffffffu}) CHECK_FALSE(ggml_type(withdrawn));
}

TEST_CASE("safetensors names map to types") {
  CHECK(type_from_safetensors("BF16") == NACELLE_TYPE_BF16);
  CHECK(type_from_safetensors("BOOL") == NACELLE_TYPE_BOOL);
  for (const char* unread : {"F8_E5M2", "U64", "Q8_0", "f32", ""}) {
    CHECK(type_from_safetensors(unread) == NACELLE_TYPE_INVALID);
  }
}

TEST_CASE("sizes count whole blocks and refuse what overflows") {
  using Shape = std::vector<std::uint64_t>;
  CHECK(tensor_bytes(NACELLE_TYPE_Q8_0, Shape{3, 64}) == 3 * 2 * 34);
  CHECK(tensor_bytes(NACELLE_TYPE_Q6_K, Shape{2, 2, 512}) == 4 * 2 * 210);
  CHECK(tensor_bytes(NACELLE_TYPE_F32, Shape{}) == 4);
  CHECK(tensor_bytes(NACELLE_TYPE_F32, Shape{5, 0}) == 0);
  CHECK_FALSE(tensor_bytes(NACELLE_TYPE_Q8_0, Shape{3, 48}));
  CHECK_FALSE(tensor_bytes(NACELLE_TYPE_F32, Shape{1ull << 32, 1ull << 31}));
  CHECK_FALSE(tensor_bytes(NACELLE_TYPE_F32, Shape{1ull << 61}));
  CHECK_FALSE(tensor_bytes(NACELLE_TYPE_F32, Shape{0, 1ull << 40, 1ull << 40}));
  CHECK_FALSE(tensor_bytes(12, Shape{1}));
}
