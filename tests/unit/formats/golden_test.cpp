// Every key and tensor of the real files, against what an independent reader saw (golden/shared_files.txt).
#include <boost/crc.hpp>
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/formats/model_files.hpp"
#include "tests/shared_data.hpp"

using namespace nacelle;

namespace {

std::string hex_crc(const void* data, std::size_t size) {
  boost::crc_32_type crc;
  crc.process_bytes(data, size);
  char text[9];
  std::snprintf(text, sizeof(text), "%08x", crc.checksum());
  return text;
}

struct Canonical {
  std::string kind, bytes;
  std::size_t count = 0;

  void add(std::int64_t value) { add("int", std::to_string(value)); }
  void add(bool value) { add("bool", value ? "true" : "false"); }
  void add(std::string_view value) { add("string", std::string(value)); }
  void add(double value) {
    unsigned char raw[sizeof(value)];
    std::memcpy(raw, &value, sizeof(value));
    std::string hex;
    for (const unsigned char byte : raw) {
      char digits[3];
      std::snprintf(digits, sizeof(digits), "%02x", byte);
      hex += digits;
    }
    add("float", hex);
  }
  void add(const ConfigArray& array) {
    std::visit(
        [&](const auto& values) {
          for (const auto value : values) add(value);
        },
        array.values);
    kind += "[]";
  }

 private:
  void add(const char* name, const std::string& text) {
    kind = name;
    bytes += text + '\0';
    ++count;
  }
};

std::string key_line(const ModelFiles& model, const std::string& key) {
  const ConfigValue* value = model.config(key);
  if (!value) return "key " + key + " is absent";
  Canonical canonical;
  std::visit([&](const auto& item) { canonical.add(item); }, *value);
  return "key " + key + " " + canonical.kind + " " + std::to_string(canonical.count) + " " +
         hex_crc(canonical.bytes.data(), canonical.bytes.size());
}

std::string tensor_line(const ModelFiles& model, const std::string& name) {
  const TensorInfo* info = model.tensor(name);
  if (!info) return "tensor " + name + " is absent";
  std::string shape;
  for (const std::uint64_t extent : info->shape) shape.append(shape.empty() ? "" : "x").append(std::to_string(extent));
  const auto data = model.data(*info);
  return "tensor " + name + " " + type_info(info->type)->name + " " + shape + " " + hex_crc(data.data(), data.size());
}

}  // namespace

TEST_CASE("real files hold what an independent reader finds in them") {
  std::ifstream golden(test::source_dir() / "tests/unit/formats/golden/shared_files.txt");
  REQUIRE(golden);
  std::unique_ptr<ModelFiles> model;
  std::size_t keys = 0, tensors = 0, compared = 0;
  const auto check_counts = [&] {
    if (!model) return;
    CHECK(model->tensors().size() == tensors);
    if (model->gguf()) CHECK(model->gguf()->metadata().size() == keys);
  };
  for (std::string line; std::getline(golden, line);) {
    const std::string name = line.substr(line.find(' ') + 1, line.find(' ', line.find(' ') + 1) - line.find(' ') - 1);
    if (line.starts_with("file ")) {
      check_counts();
      keys = tensors = 0;
      model = test::have_shared(name) ? ModelFiles::open(test::shared_dir() / name) : nullptr;
    } else if (model && line.starts_with("key ")) {
      ++keys, ++compared;
      CHECK(key_line(*model, name) == line);
    } else if (model && line.starts_with("tensor ")) {
      CHECK(model->tensors()[tensors].name == name);  // the file's order
      ++tensors, ++compared;
      CHECK(tensor_line(*model, name) == line);
    }
  }
  check_counts();
  if (std::filesystem::exists(test::shared_dir())) CHECK(compared == 493);
}
