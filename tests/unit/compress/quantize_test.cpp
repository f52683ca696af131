// Whole files: what is written is what a reader finds, and what cannot be done leaves nothing behind.
#include "core/compress/quantize.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <nacelle/block_formats.hpp>
#include <random>

#include "core/base/atomic_file.hpp"
#include "tests/unit/formats/files.hpp"

namespace nacelle::compress {
namespace {

using test::error_of;
using test::TempFolder;

constexpr std::uint64_t kWidth = 256;

void write_file(const std::filesystem::path& path, GgufWriter& layout, const std::vector<std::vector<float>>& values) {
  AtomicFile file(path);
  file.write(0, layout.header());
  for (std::size_t i = 0; i < values.size(); ++i)
    file.write(layout.tensors()[i].offset, std::as_bytes(std::span(values[i])));
  file.commit();
}

// A model of two layers of F32, whose metadata has a value of every kind.
std::filesystem::path write_model(const TempFolder& folder, float first = 0.5f) {
  GgufWriter layout;
  layout.set("general.architecture", "llama");
  layout.set("general.file_type", std::uint32_t{0});
  layout.set("llama.block_count", std::uint32_t{2});
  layout.set("llama.attention.head_count", std::uint32_t{8});
  layout.set("llama.attention.head_count_kv", std::uint32_t{2});
  layout.set("llama.rope.freq_base", 10000.0f);
  layout.set("test.long", std::uint64_t{1} << 40);
  layout.set("test.bool", true);
  const std::vector<std::string> texts = {"a", "", "\xe2\x96\x81z"};
  layout.set("test.texts", std::span(texts));
  const std::vector<std::int32_t> numbers = {1, -2, 3};
  layout.set("test.numbers", std::span(numbers));
  const std::vector<float> floats = {0.5f, -1e30f};
  layout.set("test.floats", std::span(floats));
  std::vector<std::vector<float>> values;
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 0.05f);
  const auto add = [&](const std::string& name, std::vector<std::uint64_t> shape) {
    std::uint64_t count = 1;
    for (const std::uint64_t extent : shape) count *= extent;
    layout.add_tensor(name, NACELLE_TYPE_F32, std::move(shape));
    auto& to = values.emplace_back(count);
    for (float& value : to) value = normal(random);
  };
  add("token_embd.weight", {16, kWidth});
  values.back()[0] = first;
  for (const char* name : {"attn_v", "ffn_down", "attn_q"})
    for (const char* layer : {"0", "1"}) add(std::string("blk.") + layer + "." + name + ".weight", {32, kWidth});
  add("blk.0.attn_norm.weight", {kWidth});
  add("blk.0.ffn_up_exps.weight", {2, 8, kWidth});
  write_file(folder.path() / "in.gguf", layout, values);
  return folder.path() / "in.gguf";
}

QuantizeResult run(const std::filesystem::path& in, const std::filesystem::path& out, const char* recipe,
                   const Importance* importance = nullptr, bool requantize = false, unsigned threads = 2) {
  const auto files = ModelFiles::open(in);
  SourceModel model = open_gguf(*files);
  QuantizeOptions options;
  options.recipe = find_recipe(recipe);
  options.importance = importance;
  options.requantize = requantize;
  options.threads = threads;
  return quantize(model, out, options);
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::size_t files_in(const TempFolder& folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder.path()), {}));
}

}  // namespace

TEST_CASE("every recipe writes a file that reads as planned", "[compress]") {
  const TempFolder folder;
  const auto in = write_model(folder), out = folder.path() / "out.gguf";
  const GgufFile source(in);
  std::ofstream(folder.path() / "by_stream") << "as the umask allows";
  for (const Recipe& recipe : recipes()) {
    CAPTURE(recipe.name);
    const QuantizeResult result = run(in, out, recipe.name);
    CHECK(std::filesystem::status(out).permissions() ==
          std::filesystem::status(folder.path() / "by_stream").permissions());
    const GgufFile written(out);
    REQUIRE(written.tensors().size() == source.tensors().size());
    for (const auto& [key, value] : source.metadata())
      if (key != "general.file_type") CHECK(written.find(key)->index() == value.index());
    CHECK(std::get<std::int64_t>(*written.find("general.file_type")) == recipe.file_type);
    for (const GgufStoredValue& stored : source.stored_metadata()) {
      if (stored.key == "general.file_type") continue;
      const auto& all = written.stored_metadata();
      const auto same = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.key == stored.key; });
      REQUIRE(same != all.end());
      CHECK(std::ranges::equal(same->bytes, stored.bytes));
    }
    for (const TensorResult& tensor : result.tensors) CHECK(tensor.error < 0.45);
    CHECK(result.tensors.back().error < 0.45);
  }
}

TEST_CASE("the bytes do not depend on the number of threads", "[compress]") {
  const TempFolder folder;
  const auto in = write_model(folder);
  run(in, folder.path() / "a.gguf", "q3_k_m", nullptr, false, 1);
  run(in, folder.path() / "b.gguf", "q3_k_m", nullptr, false, 3);
  CHECK(bytes_of(folder.path() / "a.gguf") == bytes_of(folder.path() / "b.gguf"));
}

TEST_CASE("weights that are quantized already are left alone unless told otherwise", "[compress]") {
  const TempFolder folder;
  const auto in = write_model(folder), q8 = folder.path() / "q8.gguf", q4 = folder.path() / "q4.gguf";
  run(in, q8, "q8_0");
  CHECK(error_of([&] { run(q8, q4, "q4_k_m"); }).find("'token_embd.weight' is Q8_0 already") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(q4));
  run(q8, q4, "q4_k_m", nullptr, true);
  CHECK(std::filesystem::exists(q4));
  run(q8, q8, "q8_0");  // nothing to encode, and the file that is replaced stays mapped
  CHECK(GgufFile(q8).tensors().size() == GgufFile(in).tensors().size());
}

TEST_CASE("values that are not finite end it, and leave nothing", "[compress]") {
  const TempFolder folder;
  const auto in = write_model(folder, INFINITY);
  const std::string error = error_of([&] { run(in, folder.path() / "out.gguf", "q4_0"); });
  CHECK(error.find("tensor 'token_embd.weight' holds an infinity or NaN in row 0") != std::string::npos);
  CHECK(files_in(folder) == 1);
}

TEST_CASE("an importance matrix is written, read and used", "[compress]") {
  const TempFolder folder;
  const auto in = write_model(folder);
  Importance importance{.weights = {}, .datasets = {"text.txt"}, .chunks = 3, .chunk_tokens = 64};
  ChannelSums& sums = importance.weights["blk.0.attn_q.weight"];
  sums.channels = kWidth;
  sums.counts = {4};
  for (std::uint64_t i = 0; i < kWidth; ++i) sums.sums.push_back(i % 8 == 0 ? 400.0f : 0.04f);
  ChannelSums& experts = importance.weights["blk.0.ffn_up_exps.weight"];
  experts = {kWidth, std::vector<float>(2 * kWidth, 2.0f), {2, 0}};
  write_importance(folder.path() / "imatrix.gguf", importance);
  const Importance again = read_importance(folder.path() / "imatrix.gguf");
  CHECK(again.datasets == importance.datasets);
  CHECK(again.chunks == 3);
  CHECK(again.channel_means("blk.0.attn_q.weight", 0, kWidth)[8] == 100.0f);
  CHECK(again.channel_means("blk.0.ffn_up_exps.weight", 1, kWidth).empty());
  CHECK(again.channel_means("other", 0, kWidth).empty());
  CHECK(error_of([&] { again.channel_means("blk.0.attn_q.weight", 0, 100); }).find("another model") !=
        std::string::npos);

  const auto plain = folder.path() / "plain.gguf", weighed = folder.path() / "weighed.gguf";
  run(in, plain, "q4_0");
  run(in, weighed, "q4_0", &again);
  const GgufFile a(in), b(plain), c(weighed);
  const auto loud_error = [&](const GgufFile& file) {  // of the channels that count
    double sum = 0;
    for (std::size_t t = 0; t < a.tensors().size(); ++t) {
      const TensorInfo& tensor = a.tensors()[t];
      if (tensor.name != "blk.0.attn_q.weight") continue;
      std::vector<float> x(tensor.elements()), y(tensor.elements());
      decode_row(tensor.type, reinterpret_cast<const std::uint8_t*>(a.files()[0].bytes().data()) + tensor.offset,
                 x.size(), x.data());
      const TensorInfo& other = file.tensors()[t];
      decode_row(other.type, reinterpret_cast<const std::uint8_t*>(file.files()[0].bytes().data()) + other.offset,
                 y.size(), y.data());
      for (std::size_t i = 0; i < x.size(); i += 8) sum += (x[i] - y[i]) * (x[i] - y[i]);
    }
    return sum;
  };
  CHECK(loud_error(c) < 0.8 * loud_error(b));
}

TEST_CASE("an importance matrix that is none", "[compress]") {
  const TempFolder folder;
  CHECK(error_of([&] { read_importance(write_model(folder)); }).find("is no importance matrix") != std::string::npos);
  CHECK(error_of([&] { read_importance(folder.write("a.dat", "text, not numbers")); }).find("no importance matrix") !=
        std::string::npos);
  // One entry "w" of 2 rows and 2 channels, as the older files have it.
  const std::string old("\1\0\0\0\1\0\0\0w\2\0\0\0\2\0\0\0\0\0\x80\x3f\0\0\0\x40", 25);
  CHECK(read_importance(folder.write("b.dat", old)).channel_means("w", 0, 2) == std::vector<float>{0.5f, 1.0f});
  test::count_damaged(old, [&](std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    read_importance(folder.write("c.dat", {reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  });
}

TEST_CASE("what a writer lays out a reader finds, whatever it is", "[compress]") {
  const TempFolder folder;
  std::mt19937 random(11);
  const auto upto = [&](std::uint32_t most) { return static_cast<std::uint32_t>(random()) % (most + 1); };
  for (int round = 0; round < 100; ++round) {
    GgufWriter layout;
    const std::uint32_t alignment = 8u << upto(4);
    if (upto(1)) layout.set("general.alignment", alignment);
    for (std::uint32_t i = upto(9); i > 0; --i) {
      const std::string key = "key" + std::to_string(upto(5));  // some are set again
      switch (upto(3)) {
        case 0: layout.set(key, static_cast<std::uint32_t>(random())); break;
        case 1: layout.set(key, std::string(upto(20), 'x')); break;
        case 2: layout.set(key, static_cast<float>(random())); break;
        default: {
          const std::vector<std::int32_t> values(upto(5), -7);
          layout.set(key, std::span(values));
        }
      }
    }
    std::vector<std::string> contents;
    for (std::uint32_t i = upto(6); i > 0; --i) {
      const TypeInfo& type = kTypes[upto(std::size(kTypes) - 1)];
      if (!ggml_id(type.type)) continue;
      std::vector<std::uint64_t> shape(upto(3), 1 + upto(3));
      shape.push_back(type.block_elements * (1 + upto(2)));
      layout.add_tensor("t" + std::to_string(i), type.type, shape);
      contents.push_back(std::string(layout.tensors().back().size, static_cast<char>('a' + i)));
    }
    const auto path = folder.path() / "f.gguf";
    {
      AtomicFile file(path);
      file.write(0, layout.header());
      for (std::size_t i = 0; i < contents.size(); ++i)
        file.write(layout.tensors()[i].offset, std::as_bytes(std::span(contents[i])));
      file.commit();
    }
    const GgufFile read(path);
    REQUIRE(read.tensors().size() == contents.size());
    for (std::size_t i = 0; i < contents.size(); ++i) {
      const TensorInfo &wanted = layout.tensors()[i], &found = read.tensors()[i];
      CHECK(found.name == wanted.name);
      CHECK(found.shape == wanted.shape);
      CHECK(found.type == wanted.type);
      CHECK(found.offset == wanted.offset);
      CHECK(std::memcmp(read.files()[0].bytes().data() + found.offset, contents[i].data(), contents[i].size()) == 0);
    }
  }
}

}  // namespace nacelle::compress
