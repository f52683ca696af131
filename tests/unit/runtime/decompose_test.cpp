// Decompositions: the parts compute what the whole does (an interpreter in double precision says so), and what has no
// parts is named.
#include "sdk/runtime/decompose.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "tests/unit/runtime/graphs.hpp"

using namespace nacelle;
using namespace nacelle::sdk;
using namespace nacelle::test;

namespace {

// One row at a time is enough: no operation here mixes rows. Follows the formulas of graph.h.
class Interpreter {
 public:
  explicit Interpreter(const GraphRecord& graph) : graph_(graph) {
    for (const OpRecord& op : graph.ops) run(op);
  }
  std::vector<double> result() const {
    for (std::uint32_t id = 0; id < graph_.values.size(); ++id)
      if (graph_.values[id].output == NACELLE_OUTPUT_EMBEDDING) return rows_.at(id);
    return {};
  }

 private:
  using Row = std::vector<double>;

  // Some numbers between -2 and 2 that depend on the weight's name only.
  Row weight(std::uint32_t id) const {
    const nacelle_value& value = graph_.values[id];
    std::size_t size = 1;
    for (std::uint32_t i = 0; i < value.rank; ++i) size *= static_cast<std::size_t>(value.shape[i]);
    Row row(size);
    const double seed = static_cast<double>(std::hash<std::string>()(graph_.weights[value.weight].name) % 1000);
    for (std::size_t i = 0; i < size; ++i) row[i] = 2 * std::sin(seed + 0.7 * static_cast<double>(i));
    return row;
  }
  Row input(const OpRecord& op, std::size_t index) const {
    if (index >= op.inputs.size() || op.inputs[index] == NACELLE_NO_VALUE) return {};
    const std::uint32_t id = op.inputs[index];
    return graph_.values[id].kind == NACELLE_VALUE_WEIGHT ? weight(id) : rows_.at(id);
  }

  static double act(std::uint32_t kind, double x) {
    switch (kind) {
      case NACELLE_ACT_SILU: return x / (1 + std::exp(-x));
      case NACELLE_ACT_GELU_QUICK: return x / (1 + std::exp(-1.702 * x));
      case NACELLE_ACT_TANH: return std::tanh(x);
      case NACELLE_ACT_SIGMOID: return 1 / (1 + std::exp(-x));
      case NACELLE_ACT_RELU: return std::max(x, 0.0);
      default: FAIL("activation"); return 0;
    }
  }
  static Row map(Row row, const std::function<double(double, std::size_t)>& f) {
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = f(row[i], i);
    return row;
  }
  static double mean(const Row& row, const std::function<double(double)>& f) {
    double sum = 0;
    for (const double x : row) sum += f(x);
    return sum / static_cast<double>(row.size());
  }

  Row norm(const OpRecord& op, Row x, const Row& w, const Row& b) const {
    const auto a = op.attributes.as<nacelle_norm_attributes>();
    const double center = op.kind == NACELLE_OP_LAYER_NORM ? mean(x, [](double v) { return v; }) : 0;
    const double variance = mean(x, [&](double v) { return (v - center) * (v - center); });
    return map(std::move(x), [&](double v, std::size_t i) {
      return (v - center) / std::sqrt(variance + a.epsilon) * (w.empty() ? 1 : w[i] + a.weight_offset) +
             (b.empty() ? 0 : b[i]);
    });
  }
  static Row gated(const OpRecord& op, Row gate, const Row& up) {
    const auto a = op.attributes.as<nacelle_activation_attributes>();
    return map(std::move(gate), [&](double v, std::size_t i) {
      const double g = a.alpha == 1 ? act(a.activation, v) : v / (1 + std::exp(-a.alpha * v));
      return g * (up[i] + a.up_offset);
    });
  }
  static Row scaled(const OpRecord& op, Row x) {
    const auto a = op.attributes.as<nacelle_scale_attributes>();
    return map(std::move(x), [&](double v, std::size_t) {
      v = v * a.scale + a.shift;
      return a.soft_cap != 0 ? a.soft_cap * std::tanh(v / a.soft_cap) : v;
    });
  }
  static Row matmul(const Row& x, const Row& w, const Row& bias) {
    return map(Row(w.size() / x.size()), [&](double, std::size_t n) {
      double sum = bias.empty() ? 0 : bias[n];
      for (std::size_t k = 0; k < x.size(); ++k) sum += x[k] * w[n * x.size() + k];
      return sum;
    });
  }

  void run(const OpRecord& op) {
    const Row a = op.kind == NACELLE_OP_EMBEDDING ? Row() : input(op, 0);
    const Row b = op.kind == NACELLE_OP_GATHER ? Row() : input(op, 1);
    Row& out = rows_[op.outputs[0]];
    switch (op.kind) {
      case NACELLE_OP_EMBEDDING: {  // token 0
        const float scale = op.attributes.as<nacelle_embedding_attributes>().scale;
        out = map(Row(b.begin(), b.begin() + graph_.values[op.outputs[0]].shape[1]),
                  [&](double v, std::size_t) { return v * scale; });
        break;
      }
      case NACELLE_OP_MATMUL: out = matmul(a, b, input(op, 2)); break;
      case NACELLE_OP_RMS_NORM:
      case NACELLE_OP_LAYER_NORM: out = norm(op, a, b, input(op, 2)); break;
      case NACELLE_OP_UNARY: {
        const auto kind = op.attributes.as<nacelle_activation_attributes>().activation;
        out = map(a, [&](double v, std::size_t) { return act(kind, v); });
        break;
      }
      case NACELLE_OP_GATED: out = gated(op, a, b); break;
      case NACELLE_OP_ADD: out = map(a, [&](double v, std::size_t i) { return v + b[i]; }); break;
      case NACELLE_OP_MUL: out = map(a, [&](double v, std::size_t i) { return v * b[i]; }); break;
      case NACELLE_OP_SCALE: out = scaled(op, a); break;
      case NACELLE_OP_NORMALISE: {
        const double length = std::sqrt(mean(a, [](double v) { return v * v; }) * static_cast<double>(a.size()));
        out = map(a, [&](double v, std::size_t) { return length == 0 ? 0 : v / length; });
        break;
      }
      case NACELLE_OP_GATHER: out = a; break;
      default: FAIL("the interpreter does not know operation " << op.kind);
    }
  }

  const GraphRecord& graph_;
  std::map<std::uint32_t, Row> rows_;
};

using Kinds = std::multiset<std::uint32_t>;

Kinds kinds_of(const GraphRecord& graph) {
  Kinds kinds;
  for (const OpRecord& op : graph.ops)
    if (op.kind != NACELLE_OP_GATHER) kinds.insert(op.kind);
  return kinds;
}

nacelle_norm_attributes with_offset() { return norm_attributes(1e-5, 1); }

nacelle_activation_attributes activation(std::uint32_t kind, float alpha, float up_offset, float clamp = 0) {
  auto a = activation_attributes(kind);
  a.alpha = alpha;
  a.up_offset = up_offset;
  a.clamp = clamp;
  return a;
}

struct Case {
  const char* name;
  std::function<Value(Sketch&)> make;
  std::function<bool(const nacelle_op&)> refuses;  // what the device lacks
  Kinds parts;                                     // the whole graph's, but for the gather
};

template <class T>
T attributes_of(const nacelle_op& op) {
  return load(static_cast<const T*>(op.attributes));
}

bool lacks(const nacelle_op& op, std::uint32_t kind) { return op.kind == kind; }
// With anything behind the first `plain` inputs.
bool lacks(const nacelle_op& op, std::uint32_t kind, std::uint32_t plain) {
  return op.kind == kind && std::any_of(op.inputs + std::min(plain, op.input_count), op.inputs + op.input_count,
                                        [](std::uint32_t id) { return id != NACELLE_NO_VALUE; });
}
bool lacks_activation(const nacelle_op& op, std::uint32_t activation) {
  return op.kind == NACELLE_OP_UNARY && attributes_of<nacelle_activation_attributes>(op).activation == activation;
}

}  // namespace

TEST_CASE("the parts compute what the whole does") {
  const Case cases[] = {
      {"gated",
       [](Sketch& s) { return s.b.gated(s.x(6), s.x(6), activation(NACELLE_ACT_RELU, 1, 0)); },
       [](const nacelle_op& op) { return lacks(op, NACELLE_OP_GATED); },
       {NACELLE_OP_EMBEDDING, NACELLE_OP_EMBEDDING, NACELLE_OP_UNARY, NACELLE_OP_MUL}},
      {"gated with alpha and offset",
       [](Sketch& s) { return s.b.gated(s.x(6), s.x(6), activation(NACELLE_ACT_SILU, 1.702f, 1)); },
       [](const nacelle_op& op) { return lacks(op, NACELLE_OP_GATED); },
       {NACELLE_OP_EMBEDDING, NACELLE_OP_EMBEDDING, NACELLE_OP_SCALE, NACELLE_OP_UNARY, NACELLE_OP_SCALE,
        NACELLE_OP_SCALE, NACELLE_OP_MUL}},
      {"gated, on a device that has no silu either",
       [](Sketch& s) { return s.b.gated(s.x(6), s.x(6), activation(NACELLE_ACT_SILU, 1, 0)); },
       [](const nacelle_op& op) { return lacks(op, NACELLE_OP_GATED) || lacks_activation(op, NACELLE_ACT_SILU); },
       {NACELLE_OP_EMBEDDING, NACELLE_OP_EMBEDDING, NACELLE_OP_UNARY, NACELLE_OP_MUL, NACELLE_OP_MUL}},
      {"gelu_quick",
       [](Sketch& s) { return s.b.unary(s.x(6), NACELLE_ACT_GELU_QUICK); },
       [](const nacelle_op& op) { return lacks_activation(op, NACELLE_ACT_GELU_QUICK); },
       {NACELLE_OP_EMBEDDING, NACELLE_OP_SCALE, NACELLE_OP_UNARY, NACELLE_OP_MUL}},
      {"matmul with bias",
       [](Sketch& s) {
         return s.b.matmul(s.x(6), s.weight({5, 6}), s.weight({5}));
       },
       [](const nacelle_op& op) { return lacks(op, NACELLE_OP_MATMUL, 2); },
       {NACELLE_OP_EMBEDDING, NACELLE_OP_MATMUL, NACELLE_OP_ADD}},
      {"embedding with a scale",
       [](Sketch& s) {
         return s.b.embedding(s.b.tokens(), s.weight({7, 6}), 11.5f);
       },
       [](const nacelle_op& op) {
         return lacks(op, NACELLE_OP_EMBEDDING) && attributes_of<nacelle_embedding_attributes>(op).scale != 1;
       },
       {NACELLE_OP_EMBEDDING, NACELLE_OP_SCALE}},
      {"soft-cap",
       [](Sketch& s) { return s.b.scale(s.x(6), 3, 0.5f, 4); },
       [](const nacelle_op& op) {
         return lacks(op, NACELLE_OP_SCALE) && attributes_of<nacelle_scale_attributes>(op).soft_cap != 0;
       },
       {NACELLE_OP_EMBEDDING, NACELLE_OP_SCALE, NACELLE_OP_UNARY, NACELLE_OP_SCALE}},
      {"rms_norm with a weight",
       [](Sketch& s) { return s.b.rms_norm(s.x(6), s.weight({6}), norm_attributes(1e-5)); },
       [](const nacelle_op& op) { return lacks(op, NACELLE_OP_RMS_NORM, 1); },
       {NACELLE_OP_EMBEDDING, NACELLE_OP_RMS_NORM, NACELLE_OP_MUL}},
      {"layer_norm",
       [](Sketch& s) { return s.b.layer_norm(s.x(6), s.weight({6}), s.weight({6}), norm_attributes(1e-5)); },
       [](const nacelle_op& op) { return lacks(op, NACELLE_OP_LAYER_NORM, 1); },
       {NACELLE_OP_EMBEDDING, NACELLE_OP_LAYER_NORM, NACELLE_OP_MUL, NACELLE_OP_ADD}},
      {"layer_norm with a bias only",
       [](Sketch& s) { return s.b.layer_norm(s.x(6), {}, s.weight({6}), norm_attributes(1e-5)); },
       [](const nacelle_op& op) { return lacks(op, NACELLE_OP_LAYER_NORM, 1); },
       {NACELLE_OP_EMBEDDING, NACELLE_OP_LAYER_NORM, NACELLE_OP_ADD}},
      {"normalise",
       [](Sketch& s) { return s.b.normalise(s.x(6)); },
       [](const nacelle_op& op) { return lacks(op, NACELLE_OP_NORMALISE); },
       {NACELLE_OP_EMBEDDING, NACELLE_OP_RMS_NORM, NACELLE_OP_SCALE}},
  };
  for (const Case& c : cases) {
    INFO(c.name);
    Sketch sketch;
    const Value x = c.make(sketch);
    const auto whole = sketch.finish(x);
    std::string unsupported;
    const auto parts = decompose(
        *whole, [&](const nacelle_graph& view, std::uint32_t op) { return !c.refuses(*view.ops[op]); }, &unsupported);
    CHECK(unsupported == "");
    REQUIRE(parts);
    CHECK(kinds_of(parts->record()) == c.parts);
    const auto expected = Interpreter(whole->record()).result(), got = Interpreter(parts->record()).result();
    REQUIRE(expected.size() == got.size());
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == Approx(expected[i]).margin(1e-6));
    // The same ids mean the same values: the output is where it was, and the weights are shared.
    CHECK(parts->find_output(NACELLE_OUTPUT_EMBEDDING) == whole->find_output(NACELLE_OUTPUT_EMBEDDING));
    CHECK(&parts->weight_source(0) == &whole->weight_source(0));
  }
}

TEST_CASE("what has no parts is named") {
  const auto unsupported = [](std::uint32_t kind, const std::function<Value(Sketch&)>& make) {
    Sketch sketch;
    const auto whole = sketch.finish(make(sketch));
    std::string text;
    CHECK_FALSE(decompose(
        *whole, [&](const nacelle_graph& view, std::uint32_t op) { return view.ops[op]->kind != kind; }, &text));
    return text;
  };
  CHECK(unsupported(NACELLE_OP_ATTENTION, [](Sketch& s) {
          s.b.paged_cache(1, 16, 16, 64);
          auto a = attention_attributes(4, 2, 8);
          a.soft_cap = 30;
          a.window = 64;
          return s.b.layer(0, {}, [&] { return s.b.attention(s.x(32), s.x(16), s.x(16), a); });
        }) == "operation attention (soft-cap, window) of layer 0");
  CHECK(unsupported(NACELLE_OP_MATMUL, [](Sketch& s) {
          return s.b.matmul(s.x(32), s.weight({8, 32}, "q8"));
        }) == "operation matmul (Q8_0 weight) before the first layer");
  CHECK(unsupported(NACELLE_OP_GATED, [](Sketch& s) {
          return s.b.gated(s.x(6), s.x(6), activation(NACELLE_ACT_SILU, 1.702f, 1, 7));
        }) == "operation gated (silu, clamp) before the first layer");
  CHECK(unsupported(NACELLE_OP_RMS_NORM, [](Sketch& s) {
          return s.b.rms_norm(s.x(6), s.weight({6}), with_offset());
        }) == "operation rms_norm before the first layer");
  Sketch sketch;  // the whole has parts, but one of these has none
  const auto whole = sketch.finish(sketch.b.gated(sketch.x(6), sketch.x(6), activation(NACELLE_ACT_RELU, 1, 0)));
  std::string text;
  const auto neither = [](const nacelle_graph& view, std::uint32_t op) {
    return view.ops[op]->kind != NACELLE_OP_GATED && view.ops[op]->kind != NACELLE_OP_UNARY;
  };
  CHECK_FALSE(decompose(*whole, neither, &text));
  CHECK(text == "operation unary (relu) before the first layer");
}

TEST_CASE("a graph that is supported stays as it is") {
  Sketch sketch;
  const auto whole = sketch.finish(sketch.b.scale(sketch.x(6), 2));
  const auto same = decompose(
      *whole, [](const nacelle_graph&, std::uint32_t) { return true; }, nullptr);
  REQUIRE(same);
  CHECK(same->view().op_count == whole->view().op_count);
  CHECK(same->view().value_count == whole->view().value_count);
}
