// Small graphs for the tests of sdk/runtime, made with the author's own builder over invented tensors.
#pragma once

#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <nacelle/architecture.hpp>
#include <string>
#include <vector>

#include "sdk/runtime/graph_builder.hpp"

namespace nacelle::test {

using Shape = std::vector<std::int64_t>;

struct FakeTensor {
  nacelle_type type;
  Shape shape;
};
using FakeTensors = std::map<std::string, FakeTensor, std::less<>>;

inline sdk::TensorLookup lookup(const FakeTensors& tensors) {
  return [&tensors](std::string_view name, nacelle_type* type, std::uint32_t* rank, std::int64_t* shape) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) return false;
    *type = found->second.type;
    *rank = static_cast<std::uint32_t>(found->second.shape.size());
    for (std::size_t i = 0; i < found->second.shape.size() && i < NACELLE_MAX_RANK; ++i)
      shape[i] = found->second.shape[i];
    return true;
  };
}

// A builder whose tensors exist as they are declared: a weight "f16 w" is stored in F16, others in F32.
class Sketch {
 public:
  Sketch()
      : host([this](std::string_view name, nacelle_type* type, std::uint32_t* rank, std::int64_t* shape) {
          *type = name.starts_with("f16")  ? NACELLE_TYPE_F16
                  : name.starts_with("q8") ? NACELLE_TYPE_Q8_0
                                           : NACELLE_TYPE_F32;
          *rank = static_cast<std::uint32_t>(declared_.size());
          std::copy(declared_.begin(), declared_.end(), shape);
          return true;
        }),
        b(host.table(), NACELLE_FORMAT_GGUF) {}

  sdk::Value weight(std::initializer_list<std::int64_t> shape, const std::string& kind = "f32") {
    declared_ = shape;
    const std::string name = kind + std::to_string(++count_);
    return b.weight(name, shape, {sdk::tensor(name), sdk::tensor(name)});
  }
  // An activation [rows, width].
  sdk::Value x(std::int64_t width) { return b.embedding(b.tokens(), weight({7, width})); }

  const nacelle_value& value(sdk::Value value) {
    if (!graph_) {
      if (!host.failed()) b.mark_embedding(b.gather(value, b.output_rows()));
      graph_ = host.build();
    }
    return graph_->record().values.at(value.id);
  }
  Shape shape(sdk::Value v) {
    const nacelle_value& found = value(v);
    return {found.shape, found.shape + found.rank};
  }
  std::unique_ptr<sdk::Graph> finish(sdk::Value result) {
    b.mark_embedding(b.gather(result, b.output_rows()));
    return host.build();
  }

  sdk::GraphBuilder host;
  sdk::Builder b;

 private:
  std::vector<std::int64_t> declared_;
  int count_ = 0;
  std::unique_ptr<sdk::Graph> graph_;
};

// The first error of a builder after `body`, which throws where the builder refuses.
template <class Body>
std::string refusal(Body&& body) {
  Sketch sketch;
  try {
    body(sketch);
  } catch (const sdk::Failure&) {
    REQUIRE(sketch.host.failed());
    CHECK_THROWS_AS(sketch.host.build(), sdk::Failure);
  }
  return sketch.host.error();
}

}  // namespace nacelle::test
