// Weight expressions: random trees against a naive evaluator on whole arrays, quantised rows, where bytes are not
// copied, what is released, and what is refused.
#include <catch2/catch.hpp>
#include <cstring>
#include <map>
#include <nacelle/block_formats.hpp>
#include <nacelle/half.hpp>
#include <nacelle/types.hpp>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "sdk/runtime/weight_reader.hpp"
#include "tests/unit/runtime/graphs.hpp"

using namespace nacelle;
using namespace nacelle::sdk;
using namespace nacelle::test;

namespace {

// Tensors in memory, and what was released of them.
class MemorySource final : public TensorSource {
 public:
  void add(const std::string& name, nacelle_type type, Shape shape, std::vector<std::byte> bytes) {
    tensors[name] = {type, std::move(shape)};
    bytes_[name] = std::move(bytes);
  }
  void add(const std::string& name, Shape shape, const std::vector<float>& values) {
    std::vector<std::byte> bytes(values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    add(name, NACELLE_TYPE_F32, std::move(shape), std::move(bytes));
  }
  std::span<const std::byte> bytes(std::string_view tensor) override { return bytes_.at(std::string(tensor)); }
  void release(std::string_view tensor, std::uint64_t offset, std::uint64_t size) noexcept override {
    released.insert(std::string(tensor) + "+" + std::to_string(offset) + ":" + std::to_string(size));
  }

  FakeTensors tensors;
  std::set<std::string> released;

 private:
  std::map<std::string, std::vector<std::byte>> bytes_;
};

WeightNode resolve(const MemorySource& source, const Expr& expr, std::int32_t layer = -1) {
  return resolve_weight(expr.get(), layer, lookup(source.tensors));
}

std::string refused(const MemorySource& source, const Expr& expr, std::int32_t layer = -1) {
  try {
    resolve(source, expr, layer);
  } catch (const Failure& failure) {
    return failure.what();
  }
  return {};
}

// ---- The naive evaluator: whole arrays, one element at a time by its index ----

struct Array {
  Shape shape;
  std::vector<float> values;
};

std::size_t count(const Shape& shape) {
  return static_cast<std::size_t>(std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()));
}

// The array of this shape whose element at `index` is `at(index)`.
template <class At>
Array tabulate(const Shape& shape, At at) {
  Array result{shape, {}};
  Shape index(shape.size(), 0);
  for (std::size_t n = count(shape); n-- > 0;) {
    result.values.push_back(at(index));
    for (std::size_t i = shape.size(); i-- > 0;) {
      if (++index[i] < shape[i]) break;
      index[i] = 0;
    }
  }
  return result;
}

float element(const Array& array, const Shape& index) {
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < index.size(); ++i) offset = offset * array.shape[i] + index[i];
  return array.values[static_cast<std::size_t>(offset)];
}

// An expression together with what it must give.
struct Pair {
  Expr expr;
  Array array;
};

class RandomTree {
 public:
  RandomTree(std::uint32_t seed, MemorySource& source) : random_(seed), source_(source) {}

  Pair tree(int depth) {
    switch (depth == 0 ? 0 : pick(0, 6)) {
      case 1: return concatenated(tree(depth - 1));
      case 2: return sliced(tree(depth - 1));
      case 3: return permuted(tree(depth - 1));
      case 4: return reshaped(tree(depth - 1));
      case 5: return scaled(tree(depth - 1));
      default: return leaf({pick(1, 4), pick(1, 5), pick(1, 6)});
    }
  }

 private:
  std::int64_t pick(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
  }

  Pair leaf(Shape shape) {
    const std::string name = "t" + std::to_string(names_++);
    Array array = tabulate(shape, [&](const Shape&) { return static_cast<float>(next_++); });
    source_.add(name, shape, array.values);
    return {Expr(name), std::move(array)};
  }
  Pair concatenated(Pair a) {
    const auto axis = static_cast<std::size_t>(pick(0, static_cast<std::int64_t>(a.array.shape.size()) - 1));
    Shape other = a.array.shape;
    other[axis] = pick(1, 3);
    const Pair b = leaf(other);
    Shape shape = a.array.shape;
    shape[axis] += other[axis];
    Array array = tabulate(shape, [&](Shape index) {
      if (index[axis] < a.array.shape[axis]) return element(a.array, index);
      index[axis] -= a.array.shape[axis];
      return element(b.array, index);
    });
    return {concat(static_cast<std::uint32_t>(axis), {a.expr, b.expr}), std::move(array)};
  }
  Pair sliced(const Pair& a) {
    const auto axis = static_cast<std::size_t>(pick(0, static_cast<std::int64_t>(a.array.shape.size()) - 1));
    const std::int64_t begin = pick(0, a.array.shape[axis] - 1), end = pick(begin + 1, a.array.shape[axis]);
    Shape shape = a.array.shape;
    shape[axis] = end - begin;
    return {slice(a.expr, static_cast<std::uint32_t>(axis), begin, end), tabulate(shape, [&](Shape index) {
              index[axis] += begin;
              return element(a.array, index);
            })};
  }
  Pair permuted(const Pair& a) {
    Shape order(a.array.shape.size());
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random_);
    Shape shape;
    for (const std::int64_t axis : order) shape.push_back(a.array.shape[static_cast<std::size_t>(axis)]);
    Array array = tabulate(shape, [&](const Shape& index) {
      Shape from(index.size());
      for (std::size_t i = 0; i < index.size(); ++i) from[static_cast<std::size_t>(order[i])] = index[i];
      return element(a.array, from);
    });
    const Expr expr = order.size() == 3   ? permute(a.expr, {order[0], order[1], order[2]})
                      : order.size() == 2 ? permute(a.expr, {order[0], order[1]})
                                          : permute(a.expr, {order[0]});
    return {expr, std::move(array)};
  }
  Pair reshaped(const Pair& a) {
    const auto total = static_cast<std::int64_t>(count(a.array.shape));
    std::int64_t rows = pick(1, total);
    while (total % rows) --rows;
    return {reshape(a.expr, {rows, total / rows}), {{rows, total / rows}, a.array.values}};
  }
  Pair scaled(Pair a) {
    for (float& value : a.array.values) value = value * 2 + 1;
    return {add(scale(a.expr, 2), 1), std::move(a.array)};
  }

  std::mt19937 random_;
  MemorySource& source_;
  int names_ = 0, next_ = 1;
};

std::vector<float> floats(const nacelle_weight_rows& rows, std::uint64_t count) {
  std::vector<float> values(count * rows.row_bytes / sizeof(float));
  std::memcpy(values.data(), rows.data, values.size() * sizeof(float));
  return values;
}

std::vector<std::byte> numbered(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
  return bytes;
}

}  // namespace

TEST_CASE("any range of rows of any expression is what the whole array says") {
  for (std::uint32_t seed = 0; seed < 400; ++seed) {
    MemorySource source;
    const Pair pair = RandomTree(seed, source).tree(4);
    const WeightNode node = resolve(source, pair.expr);
    INFO("seed " << seed);
    REQUIRE(node.shape == pair.array.shape);
    WeightReader reader(node, source);
    const std::uint64_t rows = reader.row_count(), width = reader.row_bytes() / sizeof(float);
    for (std::uint64_t begin = 0; begin < rows; begin += 1 + rows / 5)
      for (std::uint64_t n : {std::uint64_t{1}, (rows - begin + 1) / 2, rows - begin}) {
        const auto got = floats(reader.read(begin, n), n);
        const auto first = pair.array.values.begin() + static_cast<std::ptrdiff_t>(begin * width);
        REQUIRE(got == std::vector<float>(first, first + static_cast<std::ptrdiff_t>(n * width)));
        reader.release(begin, n);
      }
  }
}

TEST_CASE("quantised rows are moved as blocks, whatever the format") {
  for (const TypeInfo& info : kTypes) {
    if (info.block_elements == 1) continue;
    CAPTURE(info.name);
    MemorySource source;
    const std::int64_t width = info.block_elements;
    const std::size_t block = info.block_bytes, row = 2 * block;
    source.add("a", info.type, {6, 2 * width}, numbered(6 * row));
    source.add("b", info.type, {6, width}, numbered(6 * block));
    source.add("e.0", info.type, {2, width}, numbered(2 * block));
    source.add("e.1", info.type, {2, width}, std::vector<std::byte>(2 * block));
    const auto bytes_of = [&](const Expr& expr) {
      const WeightNode node = resolve(source, expr);
      WeightReader reader(node, source);
      const auto rows = reader.read(0, reader.row_count());
      CHECK(rows.type == info.type);
      const auto* data = static_cast<const std::byte*>(rows.data);
      return std::vector<std::byte>(data, data + reader.row_count() * rows.row_bytes);
    };
    const auto a = numbered(6 * row), b = numbered(6 * block);
    std::vector<std::byte> expected;
    const auto expect = [&](const std::vector<std::byte>& from, std::size_t begin, std::size_t size) {
      const auto first = from.begin() + static_cast<std::ptrdiff_t>(begin);
      expected.insert(expected.end(), first, first + static_cast<std::ptrdiff_t>(size));
    };

    expect(a, 2 * row, 3 * row);  // rows 2 to 4
    CHECK(bytes_of(slice("a", 0, 2, 5)) == expected);

    expected.clear();  // the second block of each row
    for (std::size_t i = 0; i < 6; ++i) expect(a, i * row + block, block);
    CHECK(bytes_of(slice("a", 1, width, 2 * width)) == expected);

    expected.clear();  // side by side
    for (std::size_t i = 0; i < 6; ++i) {
      expect(a, i * row, row);
      expect(b, i * block, block);
    }
    CHECK(bytes_of(concat(1, {"a", "b"})) == expected);

    expected = numbered(2 * block);  // one expert after the other
    expected.resize(4 * block);
    CHECK(bytes_of(stack("e.{expert}", 2)) == expected);

    expected.clear();  // the un-permutation of a rope with two halves
    for (const std::size_t i : {0, 3, 1, 4, 2, 5}) expect(a, i * row, row);
    CHECK(bytes_of(reshape(permute(reshape("a", {2, 3, 2 * width}), {1, 0, 2}), {6, 2 * width})) == expected);

    const std::string name = info.name, shape = "[6, " + std::to_string(2 * width) + "]";
    const std::string tensor = "tensor 'a' (" + name + " " + shape + ")";
    const std::int64_t half = width / 2;
    CHECK(refused(source, transpose("a")) ==
          "permute of " + tensor + " moves the last axis, which " + name + " blocks do not allow");
    CHECK(refused(source, slice("a", 1, half, half + width)) ==
          "slice [" + std::to_string(half) + ", " + std::to_string(half + width) + ") along axis 1 of " + tensor +
              " begins inside a block");
    CHECK(refused(source, slice("a", 1, 0, width + 8)).find("rows that are not whole blocks") != std::string::npos);
    CHECK(refused(source, reshape("a", {24, half})).find("rows that are not whole blocks") != std::string::npos);
    CHECK(refused(source, add("a", 1)) ==
          "add, scale and exp work on F32, F16 and BF16, whose elements stand alone, not on " + tensor);
  }
}

TEST_CASE("the last axis of blocks moves once they are decoded, and what has none stays as it is") {
  for (const TypeInfo& info : kTypes) {
    if (info.block_elements == 1) continue;
    CAPTURE(info.name);
    const std::uint32_t width = info.block_elements;
    MemorySource source;
    std::vector<std::byte> blocks(3 * 2 * info.block_bytes);
    for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<std::byte>(i * 7 % 50);
    source.add("a", info.type, {3, 2, width}, blocks);
    std::vector<float> wide(std::size_t{6} * width);
    decode_row(info.type, reinterpret_cast<const std::uint8_t*>(blocks.data()), wide.size(), wide.data());
    const WeightNode node = resolve(source, permute(decode("a"), {2, 0, 1}));
    CHECK(node.type == NACELLE_TYPE_F16);
    CHECK(node.shape == Shape{width, 3, 2});
    WeightReader reader(node, source);
    for (const auto& [begin, count] : {std::pair{0u, 3 * width}, {5u, 4u}}) {
      const auto rows = reader.read(begin, count);
      for (std::uint32_t i = 0; i < 2 * count; ++i) {
        const std::uint32_t at = 2 * begin + i;
        std::uint16_t half;
        std::memcpy(&half, static_cast<const std::byte*>(rows.data) + 2 * i, 2);
        REQUIRE(half == float_to_half(wide[at % 6 * width + at / 6]));
      }
    }
  }
  MemorySource source;
  source.add("f", {2, 2}, std::vector<float>{1, 2, 3, 4});
  const WeightNode node = resolve(source, transpose(decode("f")));
  WeightReader reader(node, source);
  CHECK(floats(reader.read(0, 2), 2) == std::vector<float>{1, 3, 2, 4});
}

TEST_CASE("16-bit floats are widened where a constant is added") {
  MemorySource source;
  const std::uint16_t halves[] = {0x3c00, 0xc000, 0x0001, 0x7bff};  // 1, -2, 2^-24, 65504
  const std::uint16_t brains[] = {0x3f80, 0xc000, 0x0080, 0x4000};  // 1, -2, 2^-126, 2
  const auto raw = [](const std::uint16_t(&v)[4]) {
    std::vector<std::byte> bytes(8);
    std::memcpy(bytes.data(), v, 8);
    return bytes;
  };
  source.add("half", NACELLE_TYPE_F16, {4}, raw(halves));
  source.add("brain", NACELLE_TYPE_BF16, {4}, raw(brains));
  const auto values = [&](const Expr& expr) {
    const WeightNode node = resolve(source, expr);
    CHECK(node.type == NACELLE_TYPE_F32);
    WeightReader reader(node, source);
    return floats(reader.read(0, 1), 1);
  };
  CHECK(values(scale("half", 2)) == std::vector<float>{2, -4, 0x1p-23f, 131008});
  CHECK(values(add("brain", 1)) == std::vector<float>{2, -1, 1, 3});
}

TEST_CASE("e to each element of a float tensor, and of nothing else") {
  MemorySource source;
  source.add("log", {2, 2}, std::vector<float>{0, 1, -2.5f, -100});
  const WeightNode node = resolve(source, scale(exp("log"), -1));
  CHECK(node.type == NACELLE_TYPE_F32);
  WeightReader reader(node, source);
  const auto rows = floats(reader.read(0, 2), 2);
  const double expected[] = {-1, -2.718281828459045, -0.0820849986238988, -3.720075976020836e-44};
  for (std::size_t i = 0; i < 4; ++i) CHECK(rows.at(i) == static_cast<float>(expected[i]));
  const std::uint16_t halves[] = {0x3c00, 0xbc00};  // 1, -1
  std::vector<std::byte> bytes(4);
  std::memcpy(bytes.data(), halves, 4);
  source.add("half", NACELLE_TYPE_F16, {2}, bytes);
  const WeightNode widened = resolve(source, exp("half"));
  WeightReader half(widened, source);
  CHECK(floats(half.read(0, 1), 1) == std::vector<float>{2.71828183f, 0.36787944f});
  half.release(0, 1);
  CHECK(source.released == std::set<std::string>{"half+0:4"});
  source.add("quants", NACELLE_TYPE_Q8_0, {1, 32}, std::vector<std::byte>(34));
  CHECK(refused(source, exp("quants")).find("add, scale and exp work on F32, F16 and BF16") != std::string::npos);
}

TEST_CASE("what a file lacks is made of constants") {
  MemorySource source;
  const WeightNode node = resolve(source, concat(0, {constant(1.5, {2}), constant(-0.25, {1})}));
  WeightReader reader(node, source);
  const auto rows = reader.read(0, 1);
  const float expected[] = {1.5f, 1.5f, -0.25f};
  CHECK(std::memcmp(rows.data, expected, sizeof expected) == 0);
}

TEST_CASE("parts of a packed matrix that do not fit are refused") {
  MemorySource source;
  source.add("x.qweight", NACELLE_TYPE_I32, {8, 16}, std::vector<std::byte>(8 * 16 * 4));
  CHECK(refused(source, "x.weight") == "tensor 'x.qzeros' is missing from the model file");
  source.add("x.qzeros", NACELLE_TYPE_I32, {2, 2}, std::vector<std::byte>(2 * 2 * 4));
  source.add("x.scales", NACELLE_TYPE_F16, {4, 16}, std::vector<std::byte>(4 * 16 * 2));
  CHECK(refused(source, "x.weight") ==
        "tensor 'x.qweight' (I32 [8, 16]), tensor 'x.qzeros' (I32 [2, 2]) and tensor 'x.scales' (F16 [4, 16]) are no "
        "matrix of 4 bits with groups of a multiple of 32");
  source.add("y.weight", NACELLE_TYPE_U8, {8, 16}, std::vector<std::byte>(8 * 16));
  source.add("y.weight_scale", NACELLE_TYPE_F32, {3}, std::vector<std::byte>(12));
  CHECK(
      refused(source, "y.weight") ==
      "tensor 'y.weight_scale' (F32 [3, 1]) is no scale of tensor 'y.weight' (U8 [8, 16]): expected one, one a row, or "
      "one for 128 x 128 elements");
}

TEST_CASE("rows that lie together in the file are not copied") {
  MemorySource source;
  source.add("a", {4, 3}, std::vector<float>(12, 1));
  source.add("b", {2, 3}, std::vector<float>(6, 2));
  const auto* a = source.bytes("a").data();
  const auto* b = source.bytes("b").data();
  const auto at = [&](const Expr& expr, std::uint64_t begin, std::uint64_t n) {
    const WeightNode node = resolve(source, expr);
    return static_cast<const std::byte*>(WeightReader(node, source).read(begin, n).data);
  };
  CHECK(at("a", 1, 3) == a + 12);
  CHECK(at(slice("a", 0, 1, 4), 1, 2) == a + 24);
  CHECK(at(reshape("a", {3, 4}), 1, 1) == a + 16);
  CHECK(at(concat(0, {"a", "b"}), 4, 2) == b);
  const auto across = at(concat(0, {"a", "b"}), 3, 2);
  CHECK((across < a || across >= a + 48));
}

TEST_CASE("rows are aligned for their type, wherever the file has them") {
  // A mapping whose tensor begins at an odd address.
  struct Shifted final : TensorSource {
    alignas(16) std::byte memory[65] = {};
    std::span<const std::byte> bytes(std::string_view) override { return {memory + 1, 48}; }
    void release(std::string_view, std::uint64_t, std::uint64_t) noexcept override {}
  } source;
  WeightNode node;
  node.type = NACELLE_TYPE_F32;
  node.shape = {4, 3};
  node.tensor = "a";
  source.memory[1 + 12] = std::byte{0x5a};
  WeightReader reader(node, source);
  const auto rows = reader.read(1, 2);
  CHECK(reinterpret_cast<std::uintptr_t>(rows.data) % 4 == 0);
  CHECK(*static_cast<const std::byte*>(rows.data) == std::byte{0x5a});
}

TEST_CASE("release passes on the ranges that were read") {
  MemorySource source;
  source.add("a", {4, 3}, std::vector<float>(12, 1));
  source.add("b", {2, 3}, std::vector<float>(6, 2));
  const WeightNode node = resolve(source, concat(0, {"a", slice("b", 0, 1, 2)}));
  WeightReader reader(node, source);
  reader.read(3, 2);
  reader.release(3, 2);
  CHECK(source.released == std::set<std::string>{"a+36:12", "b+12:12"});
  source.released.clear();
  reader.release(4, 1000);  // cut to the weight
  CHECK(source.released == std::set<std::string>{"b+12:12"});
  reader.release(1000, 1000);
  CHECK_THROWS_AS(reader.read(3, 3), Failure);
  CHECK_THROWS_AS(reader.read(~0ull, 2), Failure);
  CHECK(reader.read(5, 0).data == nullptr);
}

TEST_CASE("a tensor shorter than its shape is refused") {
  MemorySource source;
  source.add("a", NACELLE_TYPE_F32, {4, 3}, numbered(47));
  const WeightNode node = resolve(source, "a");
  CHECK_THROWS_WITH(WeightReader(node, source), "tensor 'a' has 47 bytes, 48 were expected");
}

TEST_CASE("layers, experts and choices are settled when an expression is resolved") {
  MemorySource source;
  for (int expert = 0; expert < 3; ++expert)
    source.add("l.5.e." + std::to_string(expert), {2, 4}, std::vector<float>(8, static_cast<float>(expert)));
  const WeightNode node = resolve(source, stack("l.{layer}.e.{expert}", 3), 5);
  CHECK(node.shape == Shape{3, 2, 4});
  WeightReader reader(node, source);
  CHECK(floats(reader.read(3, 2), 2) == std::vector<float>{1, 1, 1, 1, 2, 2, 2, 2});

  CHECK(resolve(source, first_of({"none", "l.5.e.1", "l.5.e.2"})).tensor == "l.5.e.1");
  CHECK(resolve(source, first_of({concat(0, {"l.5.e.0", "none"}), "l.5.e.2"})).tensor == "l.5.e.2");
  CHECK(refused(source, first_of({"x", "y"})) ==
        "tensor 'x' is missing from the model file, tensor 'y' is missing from the model file");
  CHECK(refused(source, "e.{expert}") == "tensor name 'e.{expert}' is used outside a stack");
  CHECK(refused(source, stack("l.5.e.{expert}", 4)) == "tensor 'l.5.e.3' is missing from the model file");
}

TEST_CASE("a kept expression gives what the one that it was copied from gave") {
  MemorySource source;
  source.add("blk.3.a.weight", {4, 6}, std::vector<float>(24));
  std::unique_ptr<KeptExpr> kept;
  {
    const Expr halves = reshape("blk.{layer}.a.weight", {2, 2, 6});
    kept = std::make_unique<KeptExpr>(first_of({Expr("none"), reshape(permute(halves, {1, 0, 2}), {4, 6})}).get());
  }
  const WeightNode node = resolve_weight(kept->get(), 3, lookup(source.tensors));
  CHECK(node.kind == NACELLE_EXPR_RESHAPE);
  CHECK(node.inputs[0].order == std::vector<std::uint32_t>{1, 0, 2});
  CHECK(node.inputs[0].inputs[0].inputs[0].tensor == "blk.3.a.weight");
  CHECK_THROWS_WITH(KeptExpr(nullptr), "a weight expression is missing or too small");
  Expr deep("a");
  for (int i = 0; i < 20; ++i) deep = scale(deep, 1);
  CHECK_THROWS_WITH(KeptExpr(deep.get()), "a weight expression is nested more than 16 deep");
}

TEST_CASE("malformed expressions are refused in words") {
  MemorySource source;
  source.add("a", {4, 3}, std::vector<float>(12));
  source.add("v", {4}, std::vector<float>(4));
  source.add("h", NACELLE_TYPE_F16, {4, 3}, numbered(24));
  source.tensors["big"] = {NACELLE_TYPE_F32, {1 << 30, 1 << 30}};
  source.tensors["wide"] = {NACELLE_TYPE_F32, {0x7fffffff, 2}};

  CHECK(refused(source, concat(0, {"a", "h"})) ==
        "concat of tensor 'a' (F32 [4, 3]) and tensor 'h' (F16 [4, 3]) does not fit");
  CHECK(refused(source, concat(0, {"a", "v"})).find("does not fit") != std::string::npos);
  CHECK(refused(source, concat(2, {"a", "a"})) == "concat along axis 2 of tensor 'a' (F32 [4, 3])");
  CHECK(refused(source, concat(0, {})) == "a concat expression has no inputs");
  CHECK(refused(source, first_of({})) == "a first_of expression has no inputs");
  CHECK(refused(source, slice("a", 0, 2, 5)).find("is out of range") != std::string::npos);
  CHECK(refused(source, slice("a", 0, -1, 2)).find("is out of range") != std::string::npos);
  CHECK(refused(source, slice("a", 0, 2, 2)).find("is out of range") != std::string::npos);
  CHECK(refused(source, slice("a", 7, 0, 1)).find("is out of range") != std::string::npos);
  CHECK(refused(source, reshape("a", {5, 3})) ==
        "reshape of tensor 'a' (F32 [4, 3]) to [5, 3] changes the element count");
  CHECK(refused(source, reshape("a", {-4, -3})).find("has an extent out of range") != std::string::npos);
  CHECK(refused(source, reshape("a", {})) == "a reshape has rank 0");
  CHECK(refused(source, permute("a", {0, 0})) == "permute of tensor 'a' (F32 [4, 3]) does not name each axis once");
  CHECK(refused(source, permute("a", {0, 2})) == "permute of tensor 'a' (F32 [4, 3]) does not name each axis once");
  CHECK(refused(source, permute("a", {0})) == "permute of tensor 'a' (F32 [4, 3]) names 1 axes");
  CHECK(refused(source, stack("a", 0)) == "a stack of 0 experts is out of range");
  CHECK(refused(source, stack("a", 1 << 20)) == "a stack of 1048576 experts is out of range");
  CHECK(refused(source, stack(stack(reshape("a", {1, 4, 3}), 2), 2)).find("does not have 1 to 4 axes") !=
        std::string::npos);
  CHECK(refused(source, "big").find("has too many elements") != std::string::npos);
  CHECK(refused(source, concat(0, {"wide", "wide"})).find("has an extent out of range") != std::string::npos);
  CHECK(refused(source, scale("a", std::numeric_limits<double>::infinity())) ==
        "the constant of an add or scale expression is not finite");

  CHECK(refused(source, constant(std::numeric_limits<double>::quiet_NaN(), {2})) ==
        "the value of a constant expression is not finite");
  CHECK(refused(source, mxfp4("a", "a")) ==
        "mxfp4 of blocks tensor 'a' (F32 [4, 3]) and scales tensor 'a' (F32 [4, 3]) does not fit");

  Expr deep("a");
  for (int i = 0; i < 20; ++i) deep = scale(deep, 1);
  CHECK(refused(source, deep) == "a weight expression is nested more than 16 deep");
  Expr wide("a");
  for (int i = 0; i < 14; ++i) wide = slice(concat(0, {wide, wide}), 0, 0, 4);  // shared below, doubled when walked
  CHECK_FALSE(refused(source, wide).empty());

  auto unknown = make<nacelle_weight_expr>();
  unknown.kind = 99;
  CHECK_THROWS_WITH(resolve_weight(&unknown, -1, lookup(source.tensors)), "weight expression kind 99 is not known");
  unknown.struct_size = 8;
  CHECK_THROWS_WITH(resolve_weight(&unknown, -1, lookup(source.tensors)),
                    "a weight expression is missing or too small");
  CHECK_THROWS_AS(resolve_weight(nullptr, -1, lookup(source.tensors)), Failure);
}
