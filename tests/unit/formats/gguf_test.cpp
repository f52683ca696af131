// GgufFile: what a well-made file gives, splits, and what is said of each kind of damage.
#include "core/formats/gguf.hpp"

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <map>
#include <nacelle/types.hpp>

#include "core/formats/gguf_part.hpp"
#include "tests/support/gguf_writer.hpp"
#include "tests/unit/formats/files.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

std::string number(std::uint64_t value) {
  std::string bytes;
  append(bytes, value);
  return bytes;
}

GgufWriter small_model() {
  GgufWriter writer;
  writer.string("general.architecture", "llama").u32("llama.block_count", 2).f32("eps", 0.5f).boolean("flag", true);
  writer.scalar("big", GgufType::u64, std::uint64_t{1} << 62).scalar("negative", GgufType::i8, std::int8_t{-3});
  writer.strings("tokens", {"a", "", "\xff\n"}).i32s("types", {1, -2, 3}).f32s("scores", {0.25f, -1});
  writer.array("flags", GgufType::boolean, 2, std::string("\1\0", 2));
  std::string nested;
  append(nested, GgufType::u8), append(nested, std::uint64_t{2}), nested += "xy";
  writer.array("nested", GgufType::array, 1, nested);
  writer.tensor("f32", {3, 5}, NACELLE_TYPE_F32, random_values(15, 1));
  writer.tensor("q8", {2, 64}, NACELLE_TYPE_Q8_0, random_values(128, 2));
  return writer;
}

GgufPart parse(std::string_view bytes) {
  static std::vector<std::vector<std::byte>> kept;  // the strings of a part point into its bytes
  kept.push_back(exact_bytes(bytes));
  GgufPart part;
  parse_gguf("model.gguf", kept.back(), part);
  return part;
}

template <typename T>
const std::vector<T>& values(const GgufFile& file, const char* key) {
  return std::get<std::vector<T>>(std::get<GgufArray>(*file.find(key)).values);
}

}  // namespace

TEST_CASE("a well-made file gives its metadata and tensors") {
  const TempFolder folder;
  const GgufFile file(folder.write("m.gguf", small_model().bytes()));
  CHECK(file.version() == 3);
  CHECK(std::get<std::string_view>(*file.find("general.architecture")) == "llama");
  CHECK(std::get<std::int64_t>(*file.find("llama.block_count")) == 2);
  CHECK(std::get<double>(*file.find("eps")) == 0.5);
  CHECK(std::get<bool>(*file.find("flag")));
  CHECK(std::get<std::int64_t>(*file.find("big")) == std::int64_t{1} << 62);
  CHECK(std::get<std::int64_t>(*file.find("negative")) == -3);
  CHECK(values<std::string_view>(file, "tokens") == std::vector<std::string_view>{"a", "", "\xff\n"});
  CHECK(values<std::int64_t>(file, "types") == std::vector<std::int64_t>{1, -2, 3});
  CHECK(values<double>(file, "scores") == std::vector<double>{0.25, -1});
  CHECK(values<bool>(file, "flags") == std::vector<bool>{true, false});
  CHECK(std::get<GgufArray>(*file.find("nested")).nested);
  CHECK_FALSE(file.find("absent"));

  REQUIRE(file.tensors().size() == 2);
  const TensorInfo& first = file.tensors()[0];
  CHECK(first.shape == std::vector<std::uint64_t>{3, 5});
  CHECK(first.offset % 32 == 0);
  const auto bytes = encode(NACELLE_TYPE_F32, random_values(15, 1));
  CHECK(std::memcmp(file.files()[0].bytes().data() + first.offset, bytes.data(), bytes.size()) == 0);
  CHECK(file.tensors()[1].size == 4 * 34);
}

TEST_CASE("tensors of every block format are read as they are stored") {
  GgufWriter writer;
  std::map<std::string, std::string> stored;
  for (const TypeInfo& info : kTypes) {
    if (info.block_elements == 1) continue;
    std::string& bytes = stored[info.name];
    for (std::size_t i = 0; i < 6 * info.block_bytes; ++i) bytes += static_cast<char>(i * 7 + info.type);
    writer.stored(info.name, {3, 2 * info.block_elements}, info.type, bytes);
  }
  const auto bytes = writer.bytes();
  const GgufPart part = parse(bytes);
  REQUIRE(part.tensors.size() == 13);
  for (const TensorInfo& tensor : part.tensors) {
    CHECK(type_info(tensor.type)->name == tensor.name);
    CHECK(tensor.size == stored[tensor.name].size());
    CHECK(bytes.substr(tensor.offset, tensor.size) == stored[tensor.name]);
  }
}

TEST_CASE("version 2, another alignment and a file without tensors are read") {
  GgufWriter writer;
  writer.version = 2, writer.alignment = 64;
  writer.u32("general.alignment", 64).tensor("w", {1}, NACELLE_TYPE_F32, {1.5f});
  const GgufPart part = parse(writer.bytes());
  CHECK(part.version == 2);
  CHECK(part.tensors[0].offset % 64 == 0);
  CHECK(parse(GgufWriter().bytes().substr(0, 24)).tensors.empty());
}

TEST_CASE("each kind of damage is named with its field and byte") {
  struct Row {
    const char* what;
    GgufWriter writer;
    const char* expected;
  };
  const std::string data(256, 'x');
  const std::uint64_t huge = std::uint64_t{1} << 60;
  const auto with = [](auto change) {
    GgufWriter writer;
    change(writer);
    return writer;
  };
  const auto deep = [] {
    std::string bytes;
    for (int i = 0; i < 100; ++i) append(bytes, GgufType::array), append(bytes, std::uint64_t{1});
    return bytes;
  };
  const Row rows[] = {
      {"magic", with([](auto& w) { w.magic = "GGUX"; }), "magic at byte 0: is 'GGUX', expected 'GGUF'"},
      {"version 1", with([](auto& w) { w.version = 1; }), "version at byte 4: is 1, expected 2 or 3"},
      {"big-endian", with([](auto& w) { w.version = 3u << 24; }), "version at byte 4: the file is big-endian"},
      {"tensor count", with([=](auto& w) { w.tensor_count = huge; }), "tensor count at byte 8: is 1152921504606846976"},
      {"key count", with([=](auto& w) { w.key_count = huge; }), "key count at byte 16: is 1152921504606846976"},
      {"keys run out", with([](auto& w) { w.key_count = 1, w.alignment = 1; }),
       "key 0 name at byte 24: needs 8 bytes, but the file ends after 0"},
      {"empty key", with([](auto& w) { w.u32("", 1); }), "key 0 name at byte 24: is empty"},
      {"key length", with([](auto& w) { w.u32(std::string(70000, 'k'), 1); }), "key 0 name at byte 24: is 70000"},
      {"key twice", with([](auto& w) { w.u32("k", 1).u32("k", 2); }), "key 'k' name at byte 41: occurs a second time"},
      {"value type", with([](auto& w) { w.raw("k", GgufType{13}, ""); }),
       "key 'k' type at byte 33: is 13, expected 0 to 12"},
      {"bool", with([](auto& w) { w.raw("k", GgufType::boolean, "\2"); }),
       "key 'k' value at byte 37: is 2, expected a bool"},
      {"uint64", with([](auto& w) { w.scalar("k", GgufType::u64, ~std::uint64_t{0}); }),
       "key 'k' value at byte 37: is 18446744073709551615"},
      {"string", with([=](auto& w) { w.raw("k", GgufType::string, number(huge)); }),
       "key 'k' length at byte 45: needs 1152921504606846976 bytes"},
      {"array type", with([](auto& w) { w.array("k", GgufType{99}, 1, "x"); }),
       "key 'k' element type at byte 37: is 99"},
      {"array count", with([=](auto& w) { w.array("k", GgufType::u8, huge, "x"); }),
       "key 'k' element count at byte 41: is 1152921504606846976"},
      {"array bytes", with([](auto& w) { w.array("k", GgufType::f64, 3, "12345678"); }),
       "key 'k' element count at byte 41: is 3, but only"},
      {"array string", with([](auto& w) { w.array("k", GgufType::string, 2, gguf_string("ab") + number(99)); }),
       "key 'k' element 1 length at byte 67: needs 99 bytes"},
      {"array depth", with([&](auto& w) { w.raw("k", GgufType::array, deep()); }), "nested deeper than 4"},
      {"alignment type", with([](auto& w) { w.i32("general.alignment", 32); }),
       "key 'general.alignment' type at byte 49: is 5, expected 4"},
      {"alignment 0", with([](auto& w) { w.u32("general.alignment", 0); }),
       "key 'general.alignment' value at byte 53: is 0, expected a power of two"},
      {"alignment 48", with([](auto& w) { w.u32("general.alignment", 48); }), "is 48, expected a power of two"},
      {"tensor name", with([](auto& w) { w.raw_tensor("", {1}, 0, 0); }), "tensor 0 name at byte 24: is empty"},
      {"tensor name length", with([](auto& w) { w.raw_tensor(std::string(300, 't'), {1}, 0, 0); }),
       "tensor 0 name at byte 24: is 300, expected at most 256"},
      {"tensor twice", with([&](auto& w) { w.raw_tensor("t", {1}, 0, 0).raw_tensor("t", {1}, 0, 32).raw_data(data); }),
       "tensor 't' name at byte 57: occurs a second time"},
      {"rank 0", with([](auto& w) { w.raw_tensor("t", {}, 0, 0); }),
       "tensor 't' rank at byte 33: is 0, expected 1 to 4"},
      {"rank 5", with([](auto& w) {
         w.raw_tensor("t", {1, 1, 1, 1, 1}, 0, 0);
       }),
       "tensor 't' rank at byte 33: is 5, expected 1 to 4"},
      {"extent 0", with([](auto& w) {
         w.raw_tensor("t", {4, 0}, 0, 0);
       }),
       "tensor 't' shape at byte 37: has an extent of 0"},
      {"product", with([=](auto& w) {
         w.raw_tensor("t", {huge, huge}, 0, 0);
       }),
       "tensor 't' shape at byte 37: has more than 2^63 - 1"},
      {"block", with([](auto& w) {
         w.raw_tensor("t", {33, 2}, 8, 0);
       }),
       "tensor 't' shape at byte 37: has rows of 33 elements, expected a multiple of 32 for Q8_0"},
      {"type", with([](auto& w) { w.raw_tensor("t", {32}, 77, 0); }),
       "tensor 't' type at byte 45: is 77, which GGUF does not define"},
      {"type not read", with([](auto& w) { w.raw_tensor("t", {256}, 16, 0); }),
       "tensor 't' type at byte 45: is IQ2_XXS, which is not supported"},
      {"misaligned", with([&](auto& w) { w.raw_tensor("t", {1}, 0, 4).raw_data(data); }),
       "tensor 't' offset at byte 49: is not a multiple of the alignment 32"},
      {"past the end", with([&](auto& w) { w.raw_tensor("t", {65}, 0, 0).raw_data(data); }),
       "tensor 't' offset at byte 49: its 260 bytes end beyond the 256 bytes"},
      {"far offset", with([&](auto& w) { w.raw_tensor("t", {1}, 0, ~std::uint64_t{31}).raw_data(data); }),
       "tensor 't' offset at byte 49: its 4 bytes end beyond"},
      {"overlap", with([&](auto& w) { w.raw_tensor("a", {16}, 0, 32).raw_tensor("b", {9}, 0, 0).raw_data(data); }),
       "tensor 'a' offset at byte 49: overlaps tensor 'b'"},
      {"unprintable", with([](auto& w) { w.raw("k\n\xff", GgufType{13}, ""); }), "key 'k\\x0a\\xff' type at byte 35"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.what);
    const std::string message = error_of([&] { parse(row.writer.bytes()); });
    CHECK_THAT(message, Catch::StartsWith("model.gguf: "));
    CHECK_THAT(message, Catch::Contains(row.expected));
  }
}

TEST_CASE("a GGUF file that is cut or changed anywhere gives an error or a model, never a crash") {
  std::uint64_t sum = 0;
  const std::string bytes = small_model().bytes();
  const std::size_t errors = count_damaged(bytes, [&](std::span<const std::byte> damaged) {
    GgufPart part;
    parse_gguf("model.gguf", damaged, part);
    for (const TensorInfo& tensor : part.tensors) {  // a tensor's place may be read as it is
      for (const std::byte byte : damaged.subspan(tensor.offset, tensor.size)) sum += static_cast<std::uint64_t>(byte);
    }
  });
  CHECK(sum > 0);
  CHECK(errors > bytes.size());  // every cut and most changes of the header
}

namespace {

// Writes a model of three parts; `change` may spoil the writer of one.
template <typename Change>
std::filesystem::path write_split(const TempFolder& folder, Change change) {
  for (int i = 0; i < 3; ++i) {
    GgufWriter writer;
    const std::string name = "t" + std::to_string(i);
    int index = i, count = 3, tensors = 3;
    std::string tensor = name;
    change(i, index, count, tensors, tensor);
    writer.u16("split.no", static_cast<std::uint16_t>(index)).u16("split.count", static_cast<std::uint16_t>(count));
    writer.i32("split.tensors.count", tensors).string("general.architecture", "llama");
    writer.tensor(tensor, {2}, NACELLE_TYPE_F32, {static_cast<float>(i), 7});
    writer.save(folder.path() / ("m-0000" + std::to_string(i + 1) + "-of-00003.gguf"));
  }
  return folder.path() / "m-00001-of-00003.gguf";
}

}  // namespace

TEST_CASE("the parts of a split are one file") {
  const TempFolder folder;
  const GgufFile file(write_split(folder, [](auto&&...) {}));
  REQUIRE(file.files().size() == 3);
  REQUIRE(file.tensors().size() == 3);
  for (std::uint32_t i = 0; i < 3; ++i) {
    const TensorInfo& tensor = file.tensors()[i];
    CHECK(tensor.file == i);
    float value;
    std::memcpy(&value, file.files()[i].bytes().data() + tensor.offset, sizeof(value));
    CHECK(value == static_cast<float>(i));
  }
}

TEST_CASE("a split that does not fit together is refused") {
  const TempFolder folder;
  const auto message = [&](auto change) { return error_of([&] { GgufFile file(write_split(folder, change)); }); };
  CHECK_THAT(message([](int part, int& index, auto&&...) {
               if (part == 2) index = 1;
             }),
             Catch::Contains("00003-of-00003.gguf: key 'split.no': is 1, expected 2"));
  CHECK_THAT(message([](int part, int&, int& count, auto&&...) {
               if (part == 1) count = 4;
             }),
             Catch::Contains("00002-of-00003.gguf: key 'split.count': is 4, expected 3"));
  CHECK_THAT(message([](int, int&, int&, int& tensors, auto&&...) { tensors = 4; }),
             Catch::Contains("key 'split.tensors.count': is 4, but the parts hold 3 tensors"));
  CHECK_THAT(message([](int, int&, int&, int&, std::string& name) { name = "same"; }),
             Catch::Contains("00002-of-00003.gguf: tensor 'same' is in an earlier part"));

  const auto first = write_split(folder, [](auto&&...) {});
  CHECK_THAT(error_of([&] { GgufFile file(folder.path() / "m-00002-of-00003.gguf"); }),
             Catch::Contains("is part 2 of 3 of a split model: give the first part, ...-00001-of-00003.gguf"));
  std::filesystem::remove(folder.path() / "m-00003-of-00003.gguf");
  CHECK_THAT(error_of([&] { GgufFile file(first); }), Catch::Contains("m-00003-of-00003.gguf: part 3 of 3"));
  std::filesystem::rename(first, folder.path() / "renamed.gguf");
  CHECK_THAT(error_of([&] { GgufFile file(folder.path() / "renamed.gguf"); }),
             Catch::Contains("name must end in -00001-of-00003.gguf"));
}
