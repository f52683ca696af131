// What the backend ABI promises beside results. One function a rule; each throws Breach with what was seen.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <nacelle/plugin.hpp>
#include <stdexcept>

#include "sdk/conformance/bounds.hpp"
#include "sdk/conformance/checks.hpp"
#include "sdk/conformance/grown_cases.hpp"
#include "sdk/conformance/host.hpp"
#include "sdk/conformance/rules.hpp"

namespace nacelle::conformance {
namespace {

Case plain_decoder() { return tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F32); }

void device_list(Backend& backend) {
  const nacelle_device_info& info = backend.info();
  expect(info.name.size > 0, "the device has no name");
  expect(info.kind >= NACELLE_DEVICE_CPU && info.kind <= NACELLE_DEVICE_REFERENCE, "the device's kind is not known");
  expect(info.block_tokens && !(info.block_tokens & (info.block_tokens - 1)), "block_tokens is no power of two");
  expect(info.memory_free <= info.memory_total, "more memory is free than there is");
  std::uint32_t count = 0;
  nacelle_error* error = nullptr;
  expect_status(backend.api().device_count(&count, nullptr, &error), NACELLE_OK, "device_count without a reason");
  auto none = sdk::make<nacelle_device_info>();
  expect_refusal(backend.api().device_info(count, &none, &error), error, "device_info of a device that is not there");
  nacelle_device* device = nullptr;
  error = nullptr;
  expect_refusal(backend.api().device_open(count, &device, &error), error, "device_open of a device that is not there");
}

// A struct of an older host is not written past its end; one of a newer host is taken.
void struct_sizes(Backend& backend) {
  struct {
    nacelle_device_info info;
    std::uint64_t guard;
  } short_info = {sdk::make<nacelle_device_info>(), 0x5a5a5a5a5a5a5a5a};
  short_info.info.struct_size = offsetof(nacelle_device_info, memory_total);
  short_info.info.memory_total = 77;
  nacelle_error* error = nullptr;
  expect_status(backend.api().device_info(backend.device_index(), &short_info.info, &error), NACELLE_OK,
                "device_info into a shorter struct");
  expect(short_info.info.memory_total == 77, "device_info writes beyond struct_size");
  struct {
    nacelle_bucket bucket;
    std::uint64_t more[4];
  } longer = {};
  const Case of = plain_decoder();
  Session session(backend, of, {{{0, 0, 2}}});
  longer.bucket = session.bucket();
  longer.bucket.struct_size = sizeof longer;
  auto step = sdk::make<nacelle_step_layout>();
  auto output = sdk::make<nacelle_output_layout>();
  nacelle_plan* plan = nullptr;
  const nacelle_status status =
      backend.api().compile(session.weights(), &session.cache_options(), &longer.bucket, &plan, &step, &output, &error);
  take_message(error);
  expect_status(status, NACELLE_OK, "compile with the bucket of a newer host");
  backend.api().plan_destroy(plan);
}

void bad_buckets(Backend& backend) {
  const Case of = plain_decoder();
  Session session(backend, of, {{{0, 0, 2}}});
  for (std::uint32_t nacelle_bucket::*field :
       {&nacelle_bucket::rows, &nacelle_bucket::sequences, &nacelle_bucket::output_rows, &nacelle_bucket::candidates}) {
    nacelle_bucket bucket = session.bucket();
    bucket.*field = 0;
    auto step = sdk::make<nacelle_step_layout>();
    auto output = sdk::make<nacelle_output_layout>();
    nacelle_plan* plan = nullptr;
    nacelle_error* error = nullptr;
    expect_refusal(
        backend.api().compile(session.weights(), &session.cache_options(), &bucket, &plan, &step, &output, &error),
        error, "a bucket with a count of 0");
  }
}

void bad_caches(Backend& backend) {
  const Case of = plain_decoder();
  Session session(backend, of, {{{0, 0, 2}}});
  const auto refused = [&](const char* what, auto&& change) {
    nacelle_cache_options options = session.cache_options();
    change(options);
    nacelle_cache* cache = nullptr;
    nacelle_error* error = nullptr;
    expect_refusal(backend.api().cache_create(session.weights(), &options, &cache, &error), error, what);
  };
  refused("a cache with blocks of 12 tokens", [](auto& options) { options.block_tokens = 12; });
  refused("a cache with blocks of no token", [](auto& options) { options.block_tokens = 0; });
  refused("a cache of integers", [](auto& options) { options.key_type = NACELLE_TYPE_I32; });
}

void failing_source(Backend& backend) {
  const Case of = plain_decoder();
  try {
    const Session session(backend, of, {{{0, 0, 2}}}, 1, [](nacelle_weight_source& source) {
      source.read = [](void*, std::uint32_t, std::uint64_t, std::uint64_t, nacelle_weight_rows*,
                       nacelle_error** error) -> nacelle_status {
        const nacelle_host* host = conformance_host();
        *error = host->error_create(host->context, NACELLE_INTERNAL, sdk::view("the disk is gone"));
        return NACELLE_INTERNAL;
      };
    });
  } catch (const std::runtime_error& error) {
    expect(std::string(error.what()).find("the disk is gone") != std::string::npos,
           std::string("the source's message is lost: ") + error.what());
    return;
  }
  throw Breach("prepare succeeds though the weights cannot be read");
}

void cancelled_loading(Backend& backend) {
  static bool asked;
  asked = false;
  const Case of = plain_decoder();
  try {
    const Session session(backend, of, {{{0, 0, 2}}}, 1, [](nacelle_weight_source& source) {
      source.progress = [](void*, std::uint64_t, std::uint64_t) -> nacelle_status {
        asked = true;
        return NACELLE_CANCELLED;
      };
    });
  } catch (const std::runtime_error& error) {
    expect(std::string(error.what()).find("CANCELLED") != std::string::npos,
           std::string("loading was cancelled, and ended with: ") + error.what());
    return;
  }
  expect(!asked, "prepare goes on after progress has said NACELLE_CANCELLED");
}

void released_weights(Backend& backend) {
  const Case of = plain_decoder();
  const Session session(backend, of, {{{0, 0, 2}}});
  for (std::uint32_t w = 0; w < of.weights.size(); ++w) {
    const nacelle_value& value = of.record().values[of.weights[w].value];
    const std::uint64_t rows = value.rank == 1 ? 1 : static_cast<std::uint64_t>(value.shape[0]);
    expect(session.released(w) >= rows, "weight " + std::to_string(w) + ": " + std::to_string(session.released(w)) +
                                            " of its " + std::to_string(rows) + " rows were released");
  }
}

void unbound_plan(Backend& backend) {
  const Case of = plain_decoder();
  Session session(backend, of, {{{0, 0, 2}}});
  auto step = sdk::make<nacelle_step_layout>();
  auto output = sdk::make<nacelle_output_layout>();
  nacelle_plan* plan = nullptr;
  nacelle_error* error = nullptr;
  expect_status(backend.api().compile(session.weights(), &session.cache_options(), &session.bucket(), &plan, &step,
                                      &output, &error),
                NACELLE_OK, "compile");
  const nacelle_status bound = backend.api().bind(plan, nullptr, &error);
  take_message(error);
  const nacelle_status ran = backend.api().run(plan, session.stream(), 0);
  backend.api().plan_destroy(plan);
  expect(bound != NACELLE_OK, "bind without a cache is accepted by a plan that needs one");
  expect_status(ran, NACELLE_FAILED_PRECONDITION, "run before bind");
}

void slots_and_values(Backend& backend) {
  const Case of = plain_decoder();
  Session session(backend, of, {{{0, 0, 2}}});
  session.run({{{0, 0, 2}}});
  const nacelle_backend_api& api = backend.api();
  const std::uint32_t slots = session.step_layout().slot_count;
  expect(slots >= 2, "there are fewer than two slots");
  void *first = nullptr, *second = nullptr, *none = nullptr;
  const void* output = nullptr;
  expect_status(api.blocks(session.plan(), 0, &first, &output), NACELLE_OK, "blocks of slot 0");
  expect_status(api.blocks(session.plan(), 1, &second, &output), NACELLE_OK, "blocks of slot 1");
  expect(first != second, "two slots share a step block");
  expect(api.blocks(session.plan(), slots, &none, &output) != NACELLE_OK, "blocks of a slot that is not there: OK");
  expect(api.run(session.plan(), session.stream(), slots) != NACELLE_OK, "run of a slot that is not there: OK");
  std::vector<float> data(std::size_t{kVocabulary} * 100);
  const auto read = [&](std::uint32_t value, std::size_t count) {
    return api.read_value(session.plan(), session.stream(), 0, value, data.data(), count);
  };
  expect(read(session.graph().value_count, 1) != NACELLE_OK, "read_value of a value that is not there: OK");
  expect(read(of.result, data.size()) != NACELLE_OK, "read_value of more than the value holds: OK");
  expect(api.write_value(session.plan(), session.stream(), 0, of.result, data.data(), 1) != NACELLE_OK,
         "write_value of a value that is no boundary: OK");
  expect(api.read_logits(session.plan(), session.stream(), 0, 77, 0, data.data()) != NACELLE_OK,
         "read_logits of a row that is not there: OK");
}

std::uint32_t& word(std::byte* block, std::uint64_t offset, std::size_t index = 0) {
  return reinterpret_cast<std::uint32_t*>(block + offset)[index];
}

// A step block whose header promises more than the bucket holds, or names what is not there.
void broken_headers(Backend& backend) {
  struct Damage {
    const char* what;
    void (*apply)(std::byte*, const nacelle_step_layout&);
  };
  const Damage damages[] = {
      {"of version 2", [](std::byte* b, const auto& at) { word(b, at.header, 0) = 2; }},
      {"with 1000 rows", [](std::byte* b, const auto& at) { word(b, at.header, 1) = 1000; }},
      {"with 2^32-1 sequences", [](std::byte* b, const auto& at) { word(b, at.header, 2) = 0xffffffff; }},
      {"with 9 output rows", [](std::byte* b, const auto& at) { word(b, at.header, 3) = 9; }},
  };
  const Case of = plain_decoder();
  Session session(backend, of, {{{0, 0, 4}}});
  const StepInput good{{{0, 0, 4}}};
  const std::vector<float> expected = session.run(good).result;
  for (const Damage& damage : damages) {
    StepInput bad = good;
    bad.damage = damage.apply;
    expect_status(session.try_run(bad), NACELLE_INVALID_ARGUMENT, std::string("a step block ") + damage.what);
    take_logged_error();
  }
  expect(session.run(good).result == expected, "after a refused step the next one gives other logits");
}

void previous_tokens(Backend& backend) {
  const Case of = plain_decoder();
  Session given(backend, of, {{{0, 0, 20}}}), taken(backend, of, {{{0, 0, 20}}});
  const std::vector<std::uint32_t> best = given.run({{{0, 0, 20}}}).ids;
  taken.run({{{0, 0, 20}}});
  std::uint32_t row = 19;
  while (row && best[row] == best[0]) --row;
  expect(row != 0, "all rows have the same best candidate");
  const StepOutput a = given.run({{{0, 20, 1}}, {best[row]}});
  const StepOutput b = taken.run({{{0, 20, 1}}, {NACELLE_TOKEN_FROM_PREVIOUS | row}});
  expect(a.result == b.result, "a token of the previous step is not its best candidate");
  expect(
      taken.run({{{0, 21, 1}}, {NACELLE_TOKEN_FROM_PREVIOUS}}).result == given.run({{{0, 21, 1}}, {a.ids[0]}}).result,
      "a token of the previous step is not its best candidate, once more");
}

void copied_blocks(Backend& backend) {
  const Case of = tiny_decoder(NACELLE_TYPE_F32, NACELLE_TYPE_F16);
  Session session(backend, of, {{{0, 0, 20}}, {{1, 20, 1}}});
  session.run({{{0, 0, 20}}});
  session.copy_sequence(0, 1);
  const std::vector<float> original = session.run({{{0, 20, 1}}, {5}}).result;
  expect(session.run({{{1, 20, 1}}, {5}}).result == original, "a sequence continues otherwise from copied blocks");
}

// Of a backend that has them.
void copied_states(Backend& backend) {
  const Case of = recurrent_decoder();
  if (!backend.refusal(of).empty()) return;
  Session session(backend, of, {{{0, 0, 20}}, {{1, 20, 1}}});
  session.run({{{0, 0, 20}}});
  session.copy_sequence(0, 1);
  const std::vector<float> original = session.run({{{0, 20, 1}}, {5}}).result;
  expect(session.run({{{1, 20, 1}}, {5}}).result == original, "a sequence continues otherwise from a copied state");
  Session fresh(backend, of, {{{0, 0, 20}}});
  expect(session.run({{{0, 0, 3}}}).result == fresh.run({{{0, 0, 3}}}).result,
         "a sequence that begins reads what its state held before");
}

void padded_steps(Backend& backend) {
  const Case of = tiny_decoder(NACELLE_TYPE_Q8_0, NACELLE_TYPE_F16);
  Session exact(backend, of, {{{0, 0, 3}}}), padded(backend, of, {{{0, 0, 40}, {1, 0, 10}, {2, 0, 3}}});
  expect(exact.run({{{0, 0, 3}}}).result == padded.run({{{0, 0, 3}}}).result,
         "a step that does not fill its bucket gives other bits");
  padded.run({{{0, 3, 1}}});
  padded.run({{{0, 4, 1}}});
  const nacelle_plan_statistics statistics = padded.statistics();
  expect(statistics.submits_per_step == 1,
         "a steady step submits " + std::to_string(statistics.submits_per_step) + " times");
  expect(statistics.allocs_per_step == 0,
         "a steady step allocates " + std::to_string(statistics.allocs_per_step) + " times");
}

// Mask, adjustments, temperature, candidates and logsumexp as NumPy has them.
void selection(Backend& backend) {
  const SelectionGolden golden = read_goldens().selection;
  Case of("logits_select");
  const std::uint32_t rows = of.input(NACELLE_INPUT_OUTPUT_ROWS);
  const std::uint32_t logits = of.op(NACELLE_OP_GATHER, {of.rows(golden.vocabulary, 1), rows})[0];
  of.set_result(logits, NACELLE_OUTPUT_LOGITS);
  of.op(NACELLE_OP_LOGITS_SELECT, {logits}, {}, {}, 0);
  StepInput step;
  step.spans = {{0, 0, 3}};
  step.boundary = golden.logits;
  step.masks = golden.masks;
  step.temperatures = golden.temperatures;
  step.adjustments = golden.adjustments;
  Session session(backend, of, {step.spans}, golden.candidates);
  const StepOutput out = session.run(step);
  expect(out.ids == golden.ids, "other candidates than NumPy's");
  expect(within(difference(golden.adjusted, out.adjusted), kBounds[0].plain), "other adjusted logits than NumPy's");
  expect(out.raw == golden.raw, "the raw logits of the candidates are not the model's");
  expect(within(difference(golden.logsumexp, out.logsumexp), kBounds[0].plain), "another logsumexp than NumPy's");
  expect(out.result == step.boundary, "the raw rows are not the model's");
  const std::vector<float> adjusted = session.read_logits(1, true);
  expect(adjusted[golden.ids[golden.candidates]] == out.adjusted[golden.candidates],
         "an adjusted row differs from its candidates");
  expect(adjusted[2] == -INFINITY, "a masked token has a finite logit");
}

void too_many_candidates(Backend& backend) {
  const Case of = plain_decoder();
  Session session(backend, of, {{{0, 0, 1}}}, kVocabulary + 2);
  const StepOutput out = session.run({{{0, 0, 1}}});
  expect(out.ids[kVocabulary - 1] < kVocabulary, "the last token is no candidate");
  expect(out.ids[kVocabulary] == NACELLE_NO_VALUE && out.adjusted[kVocabulary + 1] == -INFINITY,
         "candidates beyond the vocabulary are not NACELLE_NO_VALUE with a logit of minus infinity");
}

void events(Backend& backend) {
  const Case of = plain_decoder();
  Session session(backend, of, {{{0, 0, 2}}});
  const nacelle_backend_api& api = backend.api();
  nacelle_event* event = nullptr;
  nacelle_error* error = nullptr;
  expect_status(api.event_create(backend.device(), &event, &error), NACELLE_OK, "event_create");
  const nacelle_status recorded = api.event_record(event, session.stream());
  const nacelle_status waited = api.event_wait(event, session.stream());
  const nacelle_status synchronised = api.event_synchronize(event);
  std::uint32_t done = 0;
  const nacelle_status queried = api.event_query(event, &done);
  api.event_destroy(event);
  expect_status(recorded, NACELLE_OK, "event_record");
  expect_status(waited, NACELLE_OK, "event_wait");
  expect_status(synchronised, NACELLE_OK, "event_synchronize");
  expect_status(queried, NACELLE_OK, "event_query");
  expect(done == 1, "an event that was waited for is not done");
}

void kernel_list(Backend& backend) {
  const Case of = plain_decoder();
  const Session session(backend, of, {{{0, 0, 2}}});
  bool named = true;
  const nacelle_status status = backend.api().kernels(
      session.weights(),
      [](void* context, const nacelle_kernel_info* info) {
        if (!info->op.size || !info->variant.size) *static_cast<bool*>(context) = false;
      },
      &named);
  expect_status(status, NACELLE_OK, "kernels");
  expect(named, "a kernel has no operation or no variant");
}

constexpr Rule<Backend&> kRules[] = {
    {"devices are listed, others refused", device_list},
    {"structs of older and newer hosts", struct_sizes},
    {"buckets without room are refused", bad_buckets},
    {"caches that cannot be are refused", bad_caches},
    {"a source that fails ends prepare with its message", failing_source},
    {"loading can be cancelled", cancelled_loading},
    {"each range of a weight is released", released_weights},
    {"a plan runs only when it is bound", unbound_plan},
    {"slots, values and rows that are not there are refused", slots_and_values},
    {"a broken step header is refused, and the next step runs", broken_headers},
    {"a token of the previous step is its best candidate", previous_tokens},
    {"copied blocks continue as the original would", copied_blocks},
    {"copied states continue as the original would, and a beginning reads none", copied_states},
    {"a step may not fill its bucket; a steady step submits once and allocates nothing", padded_steps},
    {"logits_select as NumPy has it", selection},
    {"more candidates than tokens", too_many_candidates},
    {"events", events},
    {"kernels have names", kernel_list},
};

}  // namespace

void check_contract(const Run& run) {
  check_rules("contract", kRules, run.report, run.backend);
  check_plans(run);
}

}  // namespace nacelle::conformance
