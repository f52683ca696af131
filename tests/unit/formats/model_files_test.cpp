// ModelFiles: both layouts give the same model, and a path that is none says what it is instead.
#include "core/formats/model_files.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "tests/shared_data.hpp"
#include "tests/support/gguf_writer.hpp"
#include "tests/unit/formats/files.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

std::string open_error(const std::filesystem::path& path) {
  return error_of([&] { ModelFiles::open(path); });
}

const char kSafetensors[] =
    "\x3a\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}    }dddddddd";

}  // namespace

TEST_CASE("a file in memory is called by its name") {
  const TempFolder folder;
  const std::string text = GgufWriter().string("general.architecture", "llama").bytes();
  const int descriptor = ::memfd_create("a name", MFD_CLOEXEC);
  REQUIRE(::write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  CHECK(ModelFiles::open("/proc/self/fd/" + std::to_string(descriptor))->title() == "a name");
  ::close(descriptor);
  const auto file = folder.write("one.gguf", text);
  CHECK(ModelFiles::open(file)->title() == file.string());
}

TEST_CASE("a folder that is no model says what is in it") {
  const TempFolder folder;
  const std::string start = folder.path().string() + ": the folder holds no config.json";
  const std::string expected = ": expected a GGUF file, or a folder with config.json and *.safetensors; ";
  CHECK(open_error(folder.path()) == start + expected + "it is empty");
  for (const char* name : {"a", "b", "c", "d", "e", "f"}) folder.write(name, "");
  CHECK(open_error(folder.path()) == start + expected + "it holds a, b, c, d and 2 more");
  folder.write("adapter_config.json", "{}");
  CHECK(open_error(folder.path()) ==
        start + ", but adapter_config.json: it is a LoRA adapter; give its model, and the adapter as --lora NAME=" +
            folder.path().string());
  folder.write("a-lora.gguf", GgufWriter().string("general.type", "adapter").bytes());
  CHECK(open_error(folder.path()) == start + ", and none of its GGUF files is a model: a-lora.gguf (adapter)");
  folder.write("model.gguf", GgufWriter().string("general.architecture", "llama").bytes());
  CHECK(open_error(folder.path()) ==
        start + ": give the GGUF file in it instead, " + (folder.path() / "model.gguf").string());
  folder.write("broken.gguf", "GGUF");
  CHECK(open_error(folder.path()) == start + ": give one of its GGUF files instead: broken.gguf, model.gguf");
}

TEST_CASE("a folder and a GGUF file of one model look alike") {
  if (!have_shared("models/tinystories-656k")) return;
  const auto folder = ModelFiles::open(shared_dir() / "models/tinystories-656k/");
  const auto file = ModelFiles::open(shared_dir() / "models/tinystories-656k/tinystories-656k-f32.gguf");
  CHECK(folder->format() == ModelFormat::kHuggingFace);
  CHECK(file->format() == ModelFormat::kGguf);
  CHECK(folder->stem() == "tinystories-656k");
  CHECK(file->stem() == "tinystories-656k-f32");
  CHECK(folder->architecture() == "LlamaForCausalLM");
  CHECK(file->architecture() == "llama");
  CHECK(std::get<std::int64_t>(*folder->config("num_hidden_layers")) == 2);
  CHECK(std::get<std::int64_t>(*file->config("llama.block_count")) == 2);
  CHECK_FALSE(folder->config("rope_scaling"));  // null
  CHECK_FALSE(folder->gguf());
  CHECK(file->gguf());

  const TensorInfo* a = folder->tensor("lm_head.weight");  // tied: this is all there is
  const TensorInfo* b = file->tensor("token_embd.weight");
  REQUIRE((a && b));
  CHECK(a->shape == b->shape);
  const auto bytes = folder->data(*a);
  CHECK(std::ranges::equal(bytes, file->data(*b)));
  folder->release(*a, 0, bytes.size());
  folder->release(*a, bytes.size() + 1, 5);
  folder->release(*a, 8, ~std::uint64_t{0});
  CHECK(std::ranges::equal(folder->data(*a), file->data(*b)));
  CHECK_FALSE(folder->tensor("token_embd.weight"));
  CHECK(folder->total_tensor_bytes() == 2'624'000);
}

TEST_CASE("generation_config.json and hf_quant_config.json are read under their own prefixes") {
  const TempFolder folder;
  folder.write("model.safetensors", {kSafetensors, sizeof(kSafetensors) - 1});
  folder.write("config.json", R"({"architectures":["Qwen2ForCausalLM"],"eos_token_id":1})");
  folder.write("generation_config.json", R"({"eos_token_id":[1,2]})");
  folder.write("hf_quant_config.json", R"({"quantization":{"quant_algo":"NVFP4"}})");
  const auto model = ModelFiles::open(folder.path());
  CHECK(model->architecture() == "Qwen2ForCausalLM");
  CHECK(std::get<std::int64_t>(*model->config("eos_token_id")) == 1);
  CHECK(std::get<ConfigArray>(*model->config("generation_config.eos_token_id")).size() == 2);
  CHECK(std::get<std::string_view>(*model->config("hf_quant_config.quantization.quant_algo")) == "NVFP4");
  CHECK(model->total_tensor_bytes() == 8);
  CHECK(model->tensors().size() == 1);
}

TEST_CASE("a missing architecture is said where it was looked for") {
  const TempFolder folder;
  folder.write("model.safetensors", {kSafetensors, sizeof(kSafetensors) - 1});
  folder.write("config.json", R"({"architectures":[]})");
  CHECK_THAT(error_of([&] { ModelFiles::open(folder.path())->architecture(); }),
             Catch::Contains("config.json: architectures: expected a list"));
  const auto file = folder.write("m.gguf", GgufWriter().u32("general.architecture", 1).bytes());
  CHECK_THAT(error_of([&] { ModelFiles::open(file)->architecture(); }),
             Catch::Contains("m.gguf: key 'general.architecture': expected a string"));
}

TEST_CASE("a split is served under its name without the part's number") {
  const TempFolder folder;
  for (const int part : {0, 1}) {
    GgufWriter writer;
    writer.u16("split.no", static_cast<std::uint16_t>(part)).u16("split.count", 2).i32("split.tensors.count", 0);
    writer.save(folder.path() / (part == 0 ? "m-00001-of-00002.gguf" : "m-00002-of-00002.gguf"));
  }
  CHECK(ModelFiles::open(folder.path() / "m-00001-of-00002.gguf")->stem() == "m");
}

TEST_CASE("a file that is no model says what it is") {
  const TempFolder folder;
  const auto error = [&](std::string_view bytes) { return open_error(folder.write("file", bytes)); };
  CHECK_THAT(open_error(folder.path() / "absent"), Catch::Contains("absent: no such file or folder"));
  CHECK_THAT(error("hello\n"), Catch::Contains("is a text file"));
  CHECK_THAT(error("version https://git-lfs.github.com/spec/v1\n"), Catch::Contains("run `git lfs pull`"));
  CHECK_THAT(error("PK\x03\x04zzz"), Catch::Contains("PyTorch"));
  CHECK_THAT(error("\x80\x02}q"), Catch::Contains("is a PyTorch checkpoint"));
  CHECK_THAT(error("tjgg...."), Catch::Contains("is a GGML file from before GGUF"));
  CHECK_THAT(error("<!DOCTYPE html>"), Catch::Contains("is a web page"));
  CHECK_THAT(error({kSafetensors, sizeof(kSafetensors) - 1}), Catch::Contains("give the folder that holds it"));
  CHECK_THAT(error("\x01\x02\xff"), Catch::Contains("magic at byte 0: needs 4 bytes"));
  CHECK_THAT(error("\x01\x02\xff\x03"), Catch::Contains("magic at byte 0: is '\\x01\\x02\\xff\\x03', expected 'GGUF'"));
  CHECK_THAT(error(""), Catch::Contains("the file is empty"));
}

TEST_CASE("a folder that is no model says what is missing") {
  const TempFolder folder;
  CHECK_THAT(open_error(folder.path()), Catch::Contains("holds no config.json: expected a GGUF file, or a folder"));
  folder.write("pytorch_model.bin", "x");
  CHECK_THAT(open_error(folder.path()), Catch::Contains("holds no config.json, but pytorch_model.bin: PyTorch"));
  folder.write("config.json", "{}");
  CHECK_THAT(open_error(folder.path()), Catch::Contains("holds no *.safetensors, but pytorch_model.bin"));
  folder.write("m.gguf", "x");
  CHECK_THAT(open_error(folder.path()),
             Catch::Contains("give the GGUF file in it instead, ") && Catch::Contains("/m.gguf"));
  folder.write("model.safetensors", {kSafetensors, sizeof(kSafetensors) - 1});
  CHECK(open_error(folder.path()).empty());
  folder.write("config.json", "{\"a\":}");
  CHECK_THAT(open_error(folder.path()), Catch::Contains("config.json: JSON at byte 6"));
}
