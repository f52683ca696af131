// Rules about more than one call: plans that grow and repeat, functions called from many threads at once, what is left
// behind.
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <nacelle/plugin.hpp>
#include <thread>

#include "sdk/conformance/checks.hpp"
#include "sdk/conformance/grown_cases.hpp"
#include "sdk/conformance/host.hpp"
#include "sdk/conformance/rules.hpp"

namespace nacelle::conformance {
namespace {

constexpr unsigned kPlanThreads = 8;

Case mixed_decoder() { return tiny_decoder(NACELLE_TYPE_Q8_0, NACELLE_TYPE_F16); }

// Every error is optional: the same refusals as elsewhere, and nobody to take the message.
void no_errors(Backend& backend) {
  const nacelle_backend_api& api = backend.api();
  const Case of = mixed_decoder();
  Session session(backend, of, {{{0, 0, 2}}});
  std::uint32_t count = 0;
  expect_status(api.device_count(&count, nullptr, nullptr), NACELLE_OK, "device_count without reason and error");
  auto info = sdk::make<nacelle_device_info>();
  expect(api.device_info(count, &info, nullptr) != NACELLE_OK, "device_info of a device that is not there: OK");
  nacelle_device* device = nullptr;
  expect(api.device_open(count, &device, nullptr) != NACELLE_OK, "device_open of a device that is not there: OK");
  expect(!device, "a failed device_open leaves a device behind");
  nacelle_bucket bucket = session.bucket();
  bucket.rows = 0;
  auto step = sdk::make<nacelle_step_layout>();
  auto output = sdk::make<nacelle_output_layout>();
  nacelle_plan* plan = nullptr;
  expect(
      api.compile(session.weights(), &session.cache_options(), &bucket, &plan, &step, &output, nullptr) != NACELLE_OK &&
          !plan,
      "compile of an empty bucket leaves a plan behind");
  nacelle_cache_options options = session.cache_options();
  options.block_tokens = 0;
  nacelle_cache* cache = nullptr;
  expect(api.cache_create(session.weights(), &options, &cache, nullptr) != NACELLE_OK && !cache,
         "cache_create without tokens in a block leaves a cache behind");
  std::uint64_t bytes = 0;
  expect(api.cache_block_bytes(session.weights(), &session.cache_options(), 99, &bytes, nullptr) != NACELLE_OK,
         "cache_block_bytes of a group that is not there: OK");
}

// A step block, a layout and options of an older host are shorter.
void older_structs(Backend& backend) {
  const nacelle_backend_api& api = backend.api();
  const Case of = mixed_decoder();
  Session session(backend, of, {{{0, 0, 2}}});
  struct {
    nacelle_output_layout layout = sdk::make<nacelle_output_layout>();
    std::uint64_t guard = 0x5a5a5a5a5a5a5a5a;
  } shorter;
  shorter.layout.struct_size = offsetof(nacelle_output_layout, embedding);
  shorter.layout.embedding = 77;
  auto step = sdk::make<nacelle_step_layout>();
  nacelle_plan* plan = nullptr;
  nacelle_error* error = nullptr;
  const nacelle_status status = api.compile(session.weights(), &session.cache_options(), &session.bucket(), &plan,
                                            &step, &shorter.layout, &error);
  take_message(error);
  expect_status(status, NACELLE_OK, "compile into a shorter layout");
  api.plan_destroy(plan);
  expect(shorter.layout.embedding == 77 && shorter.guard == 0x5a5a5a5a5a5a5a5a, "compile writes beyond struct_size");
  // Without pins, and without a packed cache: both came at the end of their structs.
  const Session older(backend, of, {{{0, 0, 2}}}, 1, [](nacelle_weight_source& source) {
    source.struct_size = offsetof(nacelle_weight_source, packed_find);
    source.packed_find = nullptr;
    source.packed_keep = nullptr;
  });
}

// A sequence that begins in a plan of one row goes on in larger ones, on one cache.
void growing_buckets(Backend& backend) {
  const Case of = mixed_decoder();
  const Steps growing = {{{0, 0, 1}}, {{0, 1, 4}}, {{0, 5, 16}}, {{0, 21, 33}}};
  Session session(backend, of, growing), whole(backend, of, {{{0, 0, 54}}});
  std::vector<float> rows;
  for (const auto& spans : growing) {
    const std::vector<float> part = session.run({spans}).result;
    rows.insert(rows.end(), part.begin(), part.end());
  }
  expect(rows == whole.run({{{0, 0, 54}}}).result, "plans of growing buckets give other bits than one large plan");
  const std::vector<float> small = session.run({{{0, 53, 1}}}).result;
  expect(std::equal(small.begin(), small.end(), rows.end() - static_cast<std::ptrdiff_t>(small.size())),
         "back in the smallest plan, a row has other bits");
}

// Slots take turns; a step that is run again writes the same keys and values to the same places.
void replayed_steps(Backend& backend) {
  const Case of = mixed_decoder();
  Session session(backend, of, {{{0, 0, 20}}, {{0, 20, 1}}});
  session.run({{{0, 0, 20}}});
  const std::vector<float> first = session.run({{{0, 20, 1}}, {5}}).result;
  for (int i = 0; i < 8; ++i)
    expect(session.run({{{0, 20, 1}}, {5}}).result == first, "a step that is run again gives other bits");
}

template <class Body>
void on_threads(Body&& body) {
  std::vector<std::thread> threads;
  std::atomic<unsigned> wrong{0};
  for (unsigned t = 0; t < kPlanThreads; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i)
        if (!body(t)) ++wrong;
    });
  for (std::thread& thread : threads) thread.join();
  expect(wrong == 0, std::to_string(wrong) + " calls from " + std::to_string(kPlanThreads) +
                         " threads at once answer otherwise than from one");
}

// What backend.h marks [any], each from many threads at once.
void any_thread(Backend& backend) {
  const nacelle_backend_api& api = backend.api();
  const Case of = mixed_decoder();
  Session session(backend, of, {{{0, 0, 4}}});
  session.run({{{0, 0, 4}}});
  const std::uint32_t present = api.hardware_present();
  const std::uint64_t weights = api.weights_bytes(session.weights());
  const std::vector<float> logits = session.read_logits(1, false);
  std::uint64_t block = 0;
  expect_status(api.cache_block_bytes(session.weights(), &session.cache_options(), 0, &block, nullptr), NACELLE_OK,
                "cache_block_bytes");
  on_threads([&](unsigned thread) {
    const nacelle_graph& graph = session.graph();
    for (std::uint32_t op = 0; op < graph.op_count; ++op)
      if (api.supports(backend.device(), &graph, op) != NACELLE_OK) return false;
    std::uint64_t bytes = 0;
    void* step = nullptr;
    const void* output = nullptr;
    return api.hardware_present() == present && api.weights_bytes(session.weights()) == weights &&
           api.cache_block_bytes(session.weights(), &session.cache_options(), 0, &bytes, nullptr) == NACELLE_OK &&
           bytes == block && api.blocks(session.plan(), thread % 2, &step, &output) == NACELLE_OK &&
           session.read_logits(1, false) == logits &&
           api.kernels(
               session.weights(), [](void*, const nacelle_kernel_info*) {}, nullptr) == NACELLE_OK;
  });
}

// Two models, each on its own stream and thread.
void two_streams(Backend& backend) {
  const Case of = mixed_decoder();
  const StepInput prompt{{{0, 0, 20}}}, next{{{0, 20, 1}}, {5}};
  Session alone(backend, of, {prompt.spans, next.spans});
  alone.run(prompt);
  const std::vector<float> expected = alone.run(next).result;
  Session first(backend, of, {prompt.spans, next.spans}), second(backend, of, {prompt.spans, next.spans});
  std::string failure[2];
  const auto drive = [&](Session& session, std::string& why) {
    try {
      for (int i = 0; i < 10; ++i) {
        session.run(prompt);
        expect(session.run(next).result == expected, "two streams at once give other bits than one");
      }
    } catch (const std::exception& error) {
      why = error.what();
    }
  };
  std::thread beside([&] { drive(second, failure[1]); });
  drive(first, failure[0]);
  beside.join();
  for (const std::string& why : failure) expect(why.empty(), why);
}

std::size_t heap_bytes() { return mallinfo2().uordblks; }

// The host's memory, and what the plugin takes by itself: growth in each of the last cycles is a leak. Under the
// sanitizers the heap is theirs, and they tell.
void memory(Backend& backend) {
  const auto once = [&] {
    const Case of = mixed_decoder();
    Session session(backend, of, {{{0, 0, 20}}});
    session.run({{{0, 0, 20}}});
  };
  once();
  const std::uint64_t before = allocated_bytes();
  once();
  expect(allocated_bytes() == before, std::to_string(allocated_bytes() - before) + " bytes are not given back");
  const std::int64_t errors = live_errors();
  std::size_t growth = SIZE_MAX, heap = heap_bytes();
  for (int i = 0; i < 5; ++i) {
    once();
    const std::size_t now = heap_bytes();
    if (i > 1) growth = std::min(growth, now > heap ? now - heap : 0);
    heap = now;
  }
  expect(growth <= backend.heap_slack,
         "each time a model is loaded and dropped, " + std::to_string(growth) + " bytes are lost");
  expect(live_errors() == errors, "errors are made where nothing fails, and not destroyed");
}

constexpr Rule<Backend&> kPlanRules[] = {
    {"errors and reasons are optional", no_errors},
    {"shorter structs of an older host", older_structs},
    {"a sequence goes on in larger buckets", growing_buckets},
    {"a step may be run again, in any slot", replayed_steps},
    {"functions marked [any], from many threads", any_thread},
    {"two streams at once", two_streams},
    {"all memory is given back", memory},
};

}  // namespace

void check_plans(const Run& run) { check_rules("contract", kPlanRules, run.report, run.backend); }

}  // namespace nacelle::conformance
