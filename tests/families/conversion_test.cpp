// `nacelle quantize` from safetensors, of every family's small random models: the GGUF file has the tensors and the
// keys of the one that make_models.py wrote as llama.cpp's converter would, and gives what the model's NumPy forward
// pass gives; what GGUF cannot say is refused by the very line. The files are left for llama_cpp.sh.
#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nacelle/block_formats.hpp>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/compress/convert.hpp"
#include "core/compress/quantize.hpp"
#include "tests/golden/last_logits.hpp"

using namespace nacelle;
using namespace nacelle::test;
namespace fs = std::filesystem;

namespace {

nlohmann::json read_json(const fs::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

// As numbers, whatever their type.
std::vector<float> values_of(const ModelFiles& files, const TensorInfo& tensor) {
  const auto bytes = files.data(tensor);
  const std::uint64_t columns = tensor.shape.back(), rows = tensor.elements() / columns;
  std::vector<float> values(tensor.elements());
  for (std::uint64_t row = 0; row < rows; ++row)
    decode_row(tensor.type, reinterpret_cast<const std::uint8_t*>(bytes.data()) + row * (tensor.size / rows), columns,
               values.data() + row * columns);
  return values;
}

// The largest difference, relative to the largest value: factors may be multiplied in another order.
double difference_of(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0, largest = 1e-30;
  for (std::size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(double{a[i]} - b[i]));
    largest = std::max(largest, std::abs(double{b[i]}));
  }
  return worst / largest;
}

void compare_tensors(const ModelFiles& ours, const ModelFiles& expected) {
  for (const TensorInfo& tensor : expected.tensors()) {
    const TensorInfo* own = ours.tensor(tensor.name);
    INFO("tensor " << tensor.name);
    CHECK(own);
    if (!own) continue;
    CHECK(own->shape == tensor.shape);
    if (own->shape == tensor.shape) CHECK(difference_of(values_of(ours, *own), values_of(expected, tensor)) <= 1e-6);
  }
  for (const TensorInfo& tensor : ours.tensors()) {
    INFO("tensor " << tensor.name << " is one too many");
    CHECK(expected.tensor(tensor.name));
  }
}

std::string text_of(const ConfigValue& value) {
  return std::visit(
      [](const auto& own) {
        std::ostringstream text;
        if constexpr (std::is_same_v<std::decay_t<decltype(own)>, ConfigArray>) {
          std::visit(
              [&](const auto& values) {
                if constexpr (std::is_arithmetic_v<typename std::decay_t<decltype(values)>::value_type>)
                  for (const auto one : values) text << one << ' ';
              },
              own.values);
        } else {
          text << own;
        }
        return text.str();
      },
      value);
}

// Of the keys that a family has; tokens are the tokenizer's tests' affair.
void compare_keys(const ModelFiles& ours, const ModelFiles& expected, const std::vector<std::string>& other) {
  const std::string prefix = expected.architecture() + ".";
  CHECK(ours.architecture() == expected.architecture());
  for (const GgufStoredValue& stored : expected.gguf()->stored_metadata()) {
    const std::string key(stored.key);
    if (!key.starts_with(prefix)) continue;
    if (std::ranges::find(other, key.substr(prefix.size())) != other.end()) continue;
    INFO("key " << key);
    const ConfigValue* own = ours.config(key);
    CHECK(own);
    if (own) CHECK(text_of(*own) == text_of(*expected.config(key)));
  }
}

double logits_difference(const std::shared_ptr<Model>& model, const nlohmann::json& golden) {
  const auto logits = last_logits(*model, golden["prompts"].get<std::vector<std::vector<TokenId>>>(), 16);
  double worst = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto expected = golden["logits"][i].get<std::vector<float>>();
    worst = std::max(worst, difference_of(logits[i], expected));
  }
  return worst;
}

void convert(PluginHost& host, const fs::path& from, const fs::path& to) {
  const auto files = ModelFiles::open(from);
  compress::SourceModel model = compress::open_source(host, *files);
  compress::QuantizeOptions options{.recipe = compress::find_recipe("f32"), .requantize = true, .threads = 2};
  compress::quantize(model, to, options);
}

}  // namespace

TEST_CASE("safetensors of every family become the GGUF that llama.cpp knows, or are refused with the reason") {
  PluginHostOptions plugins;
  plugins.folders = {NACELLE_TEST_PLUGINS};
  plugins.threads = 2;
  PluginHost host(plugins);
  const fs::path out = fs::path(NACELLE_FAMILIES).parent_path() / "converted";
  fs::remove_all(out);
  int same = 0;
  for (const auto& entry : fs::directory_iterator(NACELLE_FAMILIES)) {
    const fs::path family = entry.path(), to = out / family.filename() / "model.gguf";
    const auto golden = read_json(family / "golden.json");
    const std::string refused = golden["conversion"]["refused"];
    INFO(family.filename().string());
    fs::create_directories(to.parent_path());
    if (!refused.empty()) {
      CHECK_THROWS_WITH(convert(host, family / "hf", to), Catch::Contains(refused));
      fs::remove_all(to.parent_path());
      continue;
    }
    try {
      convert(host, family / "hf", to);
      fs::copy(family / "golden.json", to.parent_path() / "golden.json");
      LoadOptions options;
      options.path = to;
      options.device = "reference";
      options.context = golden["context"];
      options.max_sequences = 4;
      options.max_batch_tokens = 64;
      options.key_type = options.value_type = NACELLE_TYPE_F32;
      CHECK(logits_difference(Model::load(host, options), golden) <= 1e-4);
      if (!fs::exists(family / "model.gguf") || golden["conversion"]["other_layout"]) continue;
      const auto ours = ModelFiles::open(to), expected = ModelFiles::open(family / "model.gguf");
      compare_tensors(*ours, *expected);
      compare_keys(*ours, *expected, golden["conversion"]["other_keys"]);
      ++same;
    } catch (const Error& failure) {
      FAIL_CHECK(failure.what());
    }
  }
  CHECK(same > 50);
}
