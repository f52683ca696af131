#include "sdk/conformance/architecture.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <nacelle/plugin.hpp>
#include <nacelle/types.hpp>
#include <thread>

#include "sdk/conformance/bounds.hpp"
#include "sdk/conformance/grown_cases.hpp"
#include "sdk/conformance/rules.hpp"
#include "sdk/runtime/graph_builder.hpp"
#include "sdk/runtime/weight_reader.hpp"

namespace nacelle::conformance {
namespace {

constexpr unsigned kCallers = 8;
constexpr std::uint32_t kChunkedRows = 33;  // of the sequence that is cut into chunks

// The model of one check.
struct Subjects {
  const nacelle_architecture_api& api;
  const TestModel& model;
  Backend& reference;
};

// What a plugin makes of one model: either a graph, or a status and a line that says why not.
struct Built {
  std::unique_ptr<sdk::Graph> graph;
  nacelle_model_description description = sdk::make<nacelle_model_description>();
  nacelle_status status = NACELLE_OK;
  std::string message;
};

sdk::TensorLookup lookup_of(const TestConfig& config) {
  return [table = config.table()](std::string_view name, nacelle_type* type, std::uint32_t* rank, std::int64_t* shape) {
    return table->get_tensor(table->context, sdk::view(name), type, rank, shape) == NACELLE_OK;
  };
}

// Match, describe, build: as the host does it. Breach where a failure has no message, or where a builder that refused
// is reported as a success.
Built build(const nacelle_architecture_api& api, const TestModel& model, std::set<std::string>* asked = nullptr) {
  const TestConfig config(model);
  Built built;
  nacelle_error* error = nullptr;
  const auto failed = [&](const char* what) {
    built.message = take_message(error);
    expect(!built.message.empty(), std::string(what) + " fails without a message");
    expect(built.message.find('\n') == std::string::npos, std::string(what) + " fails with more than one line");
    if (asked) *asked = config.asked();
    return std::move(built);
  };
  built.status = api.match(config.table());
  if (built.status != NACELLE_OK) return built;
  built.status = api.describe(config.table(), &built.description, &error);
  if (built.status != NACELLE_OK) return failed("describe");
  sdk::GraphBuilder builder(lookup_of(config));
  built.status = api.build(config.table(), builder.table(), &error);
  expect(built.status != NACELLE_OK || !builder.failed(),
         "build succeeds though the builder refused: " + builder.error());
  if (built.status != NACELLE_OK) {
    Built result = failed("build");
    if (builder.failed()) result.message = builder.error();
    return result;
  }
  builder.add_logits_select();
  if (asked) *asked = config.asked();
  try {
    built.graph = builder.build();
  } catch (const sdk::Failure& failure) {
    throw Breach(std::string("build succeeds with a graph that is none: ") + failure.what());
  }
  return built;
}

Built sound(const Subjects& of) {
  Built built = build(of.api, of.model);
  expect(built.status != NACELLE_NOT_FOUND || !built.message.empty(), "match does not know the model");
  expect_status(built.status, NACELLE_OK, "the model, " + built.message + ":");
  return built;
}

// ---- Answers --------------------------------------------------------------------------------------------------------

void known_model(Subjects& of) { sound(of); }

void honest_description(Subjects& of) {
  const Built built = sound(of);
  const nacelle_model_description& said = built.description;
  const sdk::GraphRecord& graph = built.graph->record();
  const auto same = [](const char* what, std::uint64_t described, std::uint64_t found) {
    expect(described == found, std::string("describe says ") + what + " " + std::to_string(described) +
                                   ", the graph has " + std::to_string(found));
  };
  expect(said.kind == NACELLE_MODEL_DECODER || said.kind == NACELLE_MODEL_ENCODER, "describe gives an unknown kind");
  expect(said.context_length > 0, "describe gives a context of 0 tokens");
  same("layer_count", said.layer_count, graph.layer_count);
  if (said.kind == NACELLE_MODEL_DECODER) {
    expect(graph.vocabulary > 0, "a decoder's graph has no logits");
    same("vocabulary", said.vocabulary, graph.vocabulary);
    expect(!graph.cache_groups.empty(), "a decoder's graph has no cache group");
  }
}

void foreign_model(Subjects& of) {
  TestModel other = of.model;
  for (const char* key : {"general.architecture", "architectures"}) other.config.erase(key);
  other.config["general.architecture"] = std::string("nobody-knows-this");
  other.config["architectures"] = std::vector<std::string>{"NobodyKnowsThisForCausalLM"};
  const TestConfig config(other);
  expect_status(of.api.match(config.table()), NACELLE_NOT_FOUND, "match of a foreign model");
}

// Whether the line says where to look: a key that the plugin reads, or a tensor.
bool names_cause(const std::string& message, const std::set<std::string>& keys) {
  return message.find("tensor") != std::string::npos || message.find("weight") != std::string::npos ||
         std::ranges::any_of(keys, [&](const std::string& key) { return message.find(key) != std::string::npos; });
}

// Each key in turn is missing, of another kind, or senseless: the model is described all the same, or refused with one
// line.
void broken_keys(Subjects& of) {
  std::set<std::string> asked;
  build(of.api, of.model, &asked);
  const ConfigValue kSenseless[] = {std::int64_t{-1},
                                    std::int64_t{0},
                                    std::int64_t{1} << 40,
                                    std::string("odd"),
                                    0.5,
                                    true,
                                    std::vector<double>{1, 2, 3}};
  unsigned refused = 0;
  for (const std::string& key : asked) {
    if (!of.model.config.contains(key)) continue;
    TestModel without = of.model;
    without.config.erase(key);
    const Built missing = build(of.api, without);
    const bool named =
        missing.status == NACELLE_OK || missing.status == NACELLE_NOT_FOUND || names_cause(missing.message, asked);
    expect(named, "without '" + key + "' it fails with a line that names no key and no tensor: " + missing.message);
    refused += missing.status != NACELLE_OK;
    for (const ConfigValue& value : kSenseless) {
      TestModel broken = of.model;
      broken.config[key] = value;
      refused += build(of.api, broken).status != NACELLE_OK;
    }
  }
  expect(refused > 0, "no key is missed, and no value refused: are the sizes read from the configuration?");
}

void missing_tensors(Subjects& of) {
  unsigned refused = 0;
  for (const auto& [name, tensor] : of.model.tensors) {
    TestModel without = of.model;
    without.tensors.erase(name);
    const Built built = build(of.api, without);
    if (built.status == NACELLE_OK) continue;
    ++refused;
    // Where a family has several names for one, any of them.
    expect(built.message.find("tensor") != std::string::npos,
           "without tensor " + name + " it fails with a line that names none: " + built.message);
  }
  expect(refused > 0, "no tensor is missed");
}

// A longer one may be fused, and cut into parts; a shorter one has no excuse.
void short_tensors(Subjects& of) {
  for (const auto& [name, tensor] : of.model.tensors) {
    const std::int64_t columns = tensor.shape.back() - type_info(tensor.type)->block_elements;
    if (columns < 1) continue;
    TestModel bent = of.model;
    bent.tensors[name].shape.back() = columns;
    expect(build(of.api, bent).status != NACELLE_OK, "tensor " + name + " with " + std::to_string(columns) +
                                                         " columns is taken for one with " +
                                                         std::to_string(tensor.shape.back()));
  }
}

// The builder of a host that refuses the n-th call.
struct Refusing {
  nacelle_graph_builder table;
  const nacelle_graph_builder* real;
  unsigned left;
  bool refuses() { return left == 0 || --left == 0; }
};
template <auto Member, class... Arguments>
nacelle_status counted(void* context, Arguments... arguments) {
  auto& of = *static_cast<Refusing*>(context);
  if (of.refuses()) return NACELLE_INVALID_ARGUMENT;
  return (of.real->*Member)(of.real->context, arguments...);
}

void refusing_builder(Subjects& of) {
  const TestConfig config(of.model);
  for (unsigned n = 1; n < 10000; ++n) {
    sdk::GraphBuilder builder(lookup_of(config));
    Refusing refusing{*builder.table(), builder.table(), n};
    refusing.table.context = &refusing;
    refusing.table.input = counted<&nacelle_graph_builder::input>;
    refusing.table.weight = counted<&nacelle_graph_builder::weight>;
    refusing.table.cache_group = counted<&nacelle_graph_builder::cache_group>;
    refusing.table.layer_begin = counted<&nacelle_graph_builder::layer_begin>;
    refusing.table.layer_end = counted<&nacelle_graph_builder::layer_end>;
    refusing.table.op = counted<&nacelle_graph_builder::op>;
    refusing.table.mark_output = counted<&nacelle_graph_builder::mark_output>;
    refusing.table.set_flags = counted<&nacelle_graph_builder::set_flags>;
    nacelle_error* error = nullptr;
    const nacelle_status status = of.api.build(config.table(), &refusing.table, n % 2 ? &error : nullptr);
    take_message(error);
    const bool reached = refusing.left == 0;
    expect(reached ? status != NACELLE_OK : status == NACELLE_OK,
           reached ? "build succeeds though call " + std::to_string(n) + " of the builder was refused"
                   : "build fails where nothing was refused");
    if (!reached) return;
  }
}

bool same_graph(const sdk::GraphRecord& a, const sdk::GraphRecord& b) {
  const auto same_value = [](const nacelle_value& x, const nacelle_value& y) {
    return std::memcmp(&x, &y, sizeof x) == 0;
  };
  const auto same_op = [](const sdk::OpRecord& x, const sdk::OpRecord& y) {
    return x.kind == y.kind && x.layer == y.layer && x.inputs == y.inputs && x.outputs == y.outputs &&
           (x.attributes.data() == nullptr) == (y.attributes.data() == nullptr);
  };
  return std::ranges::equal(a.values, b.values, same_value) && std::ranges::equal(a.ops, b.ops, same_op) &&
         std::ranges::equal(a.weights, b.weights, {}, &sdk::WeightRecord::name, &sdk::WeightRecord::name);
}

void many_threads(Subjects& of) {
  const Built first = sound(of);
  std::atomic<unsigned> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < kCallers; ++t)
    threads.emplace_back([&] {
      try {
        for (int i = 0; i < 4; ++i) wrong += !same_graph(first.graph->record(), sound(of).graph->record());
      } catch (const std::exception&) {
        ++wrong;
      }
    });
  for (std::thread& thread : threads) thread.join();
  expect(wrong == 0, std::to_string(wrong) + " graphs built from " + std::to_string(kCallers) +
                         " threads at once differ from the first");
}

void short_structs(Subjects& of) {
  const TestConfig config(of.model);
  auto description = sdk::make<nacelle_model_description>();
  description.struct_size = offsetof(nacelle_model_description, window);
  description.window = 77;
  expect_status(of.api.describe(config.table(), &description, nullptr), NACELLE_OK, "describe into a shorter struct");
  expect(description.window == 77, "describe writes beyond struct_size");
}

// ---- Results --------------------------------------------------------------------------------------------------------

class TestTensors final : public sdk::TensorSource {
 public:
  explicit TestTensors(const TestModel& model) : model_(model) {}
  std::span<const std::byte> bytes(std::string_view tensor) override {
    auto& bytes = bytes_[std::string(tensor)];
    if (bytes.empty()) bytes = model_.bytes(std::string(tensor));
    return bytes;
  }
  void release(std::string_view, std::uint64_t, std::uint64_t) noexcept override {}

 private:
  const TestModel& model_;
  std::map<std::string, std::vector<std::byte>> bytes_;
};

Case case_of(const Subjects& of) {
  const Built built = sound(of);
  TestTensors tensors(of.model);
  std::vector<std::vector<std::byte>> stored;
  for (std::uint32_t w = 0; w < built.graph->record().weights.size(); ++w) {
    sdk::WeightReader reader(built.graph->weight_source(w).value, tensors);
    const nacelle_weight_rows rows = reader.read(0, reader.row_count());
    const auto* data = static_cast<const std::byte*>(rows.data);
    stored.emplace_back(data, data + reader.row_count() * rows.row_bytes);
  }
  Case result(of.model.name, built.graph->record(), std::move(stored));
  expect(result.result != NACELLE_NO_VALUE, "the graph has neither logits nor an embedding");
  expect(!result.record().vocabulary || result.record().vocabulary >= kVocabulary,
         "a test model needs a vocabulary of at least " + std::to_string(kVocabulary));
  result.block_tokens = 16;
  result.context = built.description.context_length;
  expect(result.context >= kChunkedRows && result.context <= 4096,
         "a test model needs a context of 33 to 4096 tokens, it has " + std::to_string(result.context));
  return result;
}

bool keeps_cache(const Case& of) { return !(of.record().flags & NACELLE_GRAPH_WHOLE_SEQUENCE); }

void finite_rows(Subjects& of) {
  const Case model = case_of(of);
  const std::vector<float> rows = run_flat(of.reference, model, in_chunks(9, 9));
  expect(std::ranges::all_of(rows, [](float value) { return std::isfinite(value); }), "some results are not finite");
  expect(std::ranges::any_of(rows, [&](float value) { return value != rows.front(); }), "all results are the same");
}

void chunks(Subjects& of) {
  const Case model = case_of(of);
  if (!keeps_cache(model)) return;
  const RowMap whole = run_case(of.reference, model, in_chunks(kChunkedRows, kChunkedRows));
  for (const std::uint32_t chunk : {1u, 7u, 16u})
    expect(run_case(of.reference, model, in_chunks(kChunkedRows, chunk)) == whole,
           "rows that come in chunks of " + std::to_string(chunk) + " have other bits than in one step");
}

void batches(Subjects& of) {
  const Case model = case_of(of);
  const auto of_batch = [&](std::uint32_t batch) {
    if (keeps_cache(model)) return in_batches(5, batch);
    Steps steps;  // five sequences of 5 to 9 rows
    for (std::uint32_t s = 0; s < 5; ++s) {
      if (s % batch == 0) steps.emplace_back();
      steps.back().push_back({s, 0, 5 + s});
    }
    return steps;
  };
  const RowMap alone = run_case(of.reference, model, of_batch(1));
  for (const std::uint32_t batch : {2u, 5u})
    expect(run_case(of.reference, model, of_batch(batch)) == alone,
           "sequences in batches of " + std::to_string(batch) + " have other bits than alone");
}

void stored_results(Subjects& of) {
  expect(!of.model.expected.empty() && !of.model.tokens.empty(),
         "the model has no stored logits to be held against: see golden.py of `nacelle plugin new architecture`");
  const Case model = case_of(of);
  const auto rows = static_cast<std::uint32_t>(of.model.tokens.size());
  Session session(of.reference, model, {{{0, 0, rows}}});
  StepInput step{{{0, 0, rows}}};
  step.tokens = of.model.tokens;
  const std::vector<float> found = session.run(step).result;
  const Difference off = difference(of.model.expected, found), limit = bound_of(model);
  char text[160];
  std::snprintf(text, sizeof text, "%zu stored results, %zu found; nmse %.3g, peak %.3g; at most %.3g and %.3g",
                of.model.expected.size(), found.size(), off.nmse, off.peak, limit.nmse, limit.peak);
  expect(within(off, limit), text);
}

constexpr Rule<Subjects&> kModelRules[] = {
    {"is matched, described and built", known_model},
    {"the description fits the graph", honest_description},
    {"a foreign model is left to others", foreign_model},
    {"missing and senseless keys end in one line", broken_keys},
    {"a missing tensor ends in a line that names one", missing_tensors},
    {"a tensor that is too short is refused", short_tensors},
    {"a builder that refuses ends the build", refusing_builder},
    {"match, describe and build, from many threads", many_threads},
    {"shorter structs of an older host", short_structs},
    {"runs on the reference backend", finite_rows},
    {"a row does not depend on its chunk", chunks},
    {"a row does not depend on its batch", batches},
    {"gives the stored results", stored_results},
};

}  // namespace

void check_architecture(const Plugin& plugin, const std::vector<TestModel>& models, Backend& reference,
                        Report& report) {
  const auto& api = *static_cast<const nacelle_architecture_api*>(plugin.info.api);
  check_rule("model", "there are test models", report, [&] {
    expect(!models.empty(),
           "none is in the plugin (nacelle_add_plugin's MODELS) and none was given (--models FILE): nothing is proved");
  });
  for (const TestModel& model : models) {
    Subjects of{api, model, reference};
    for (const auto& rule : kModelRules)
      check_rule("model", model.name + ": " + rule.name, report, [&] { rule.check(of); });
  }
}

}  // namespace nacelle::conformance
