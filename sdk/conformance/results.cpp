// Results and rows.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "sdk/conformance/bounds.hpp"
#include "sdk/conformance/checks.hpp"
#include "sdk/conformance/grown_cases.hpp"
#include "sdk/conformance/host.hpp"
#include "sdk/conformance/requirements.hpp"
#include "sdk/runtime/names.hpp"

namespace nacelle::conformance {
namespace {

constexpr std::uint32_t kBatches[] = {2, 7, 16, 33};  // each is held against rows that came alone

// The decoders with an F16 cache, and with one of its own type.
std::vector<Case> decoders() {
  std::vector<Case> cases;
  for (const nacelle_type type : kDecoderTypes) {
    cases.push_back(tiny_decoder(type, NACELLE_TYPE_F16));
    if (type != NACELLE_TYPE_F16) cases.push_back(tiny_decoder(type, type));
  }
  for (Case& of : cases) of.steps = in_chunks(70, 35);
  cases.push_back(recurrent_decoder());
  return cases;
}

Entry entry_of(const char* check, const Case& of) {
  Entry entry;
  entry.check = check;
  entry.name = of.name;
  entry.op = subject_name(of);
  entry.type = sdk::type_name(narrowest_type(of));
  entry.required = is_required(of);
  return entry;
}

struct Measured {
  std::vector<float> rows;  // of all steps, as they give them
  double seconds = 0;       // the last step, best of three
};

Measured run_measured(Backend& backend, const Case& of) {
  Session session(backend, of, of.steps);
  Measured measured;
  for (const std::vector<Span>& spans : of.steps) {
    const std::vector<float> result = session.run({spans}).result;
    measured.rows.insert(measured.rows.end(), result.begin(), result.end());
  }
  for (int i = 0; i < 3; ++i) {
    const auto start = std::chrono::steady_clock::now();
    session.run({of.steps.back()});
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    measured.seconds = i ? std::min(measured.seconds, took.count()) : took.count();
  }
  return measured;
}

std::string describe(const Difference& of) {
  char text[80];
  std::snprintf(text, sizeof text, "nmse %.3g, peak %.3g", of.nmse, of.peak);
  return text;
}

// Runs `body` on the entry unless the backend refuses the case; an exception is a failure.
template <class Body>
void check_case(const Run& run, Entry entry, const Case& of, Body&& body) {
  run.report.begin(entry.check + ": " + entry.name);
  try {
    entry.note = run.backend.refusal(of);
    if (entry.note.empty())
      body(entry);
    else
      entry.outcome = Outcome::kSkipped;
  } catch (const std::exception& error) {
    entry.outcome = Outcome::kFailed;
    entry.note = error.what();
  }
  set_team_size(1);
  run.report.add(std::move(entry));
}

void check_result(const Run& run, const Case& of, Entry& entry) {
  const std::vector<float> expected = of.expected.empty() ? run_flat(*run.reference, of, of.steps) : of.expected;
  const Measured measured = run_measured(run.backend, of);
  const Difference off = difference(expected, measured.rows);
  const Difference limit = run.backend.is_reference() ? kDefinition : bound_of(of);
  entry.share = share_of(off, limit);
  entry.seconds = measured.seconds;
  if (within(off, limit)) return;
  entry.outcome = Outcome::kFailed;
  entry.note = describe(off) + "; at most " + describe(limit);
}

bool same_bits(const RowMap& a, const RowMap& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](const auto& x, const auto& y) {
           return x.first == y.first && x.second.size() == y.second.size() &&
                  std::memcmp(x.second.data(), y.second.data(), x.second.size() * sizeof(float)) == 0;
         });
}

// One way of cutting a case's rows into steps, and the threads that run them.
struct Cut {
  const char* kind;  // "batches", "chunks", "sequences"
  std::uint32_t size;
  Steps steps;
  unsigned threads;
};

// The first cut is what the others are held against. Few of them use a team: barriers are slow on a crowded machine.
void check_cuts(const Run& run, const Case& of, const std::vector<Cut>& cuts) {
  Entry entry = entry_of("rows", of);
  entry.required = false;  // a case that is skipped has failed before
  check_case(run, std::move(entry), of, [&](Entry& result) {
    RowMap alone;
    for (const Cut& cut : cuts) {
      set_team_size(cut.threads);
      RowMap rows = run_case(run.backend, of, cut.steps);
      if (&cut == cuts.data()) {
        alone = std::move(rows);
      } else if (!same_bits(alone, rows)) {
        result.outcome = Outcome::kFailed;
        result.note += std::string(result.note.empty() ? "" : "; ") + "other bits in " + cut.kind + " of " +
                       std::to_string(cut.size) + " with " + std::to_string(cut.threads) + " threads than in " +
                       cuts.front().kind + " of 1";
      }
    }
  });
}

// Rows of one sequence in chunks, and some rows of many sequences in batches.
void check_sequences(const Run& run, const Case& of, std::uint32_t rows) {
  if (!run.wants(of)) return;
  check_cuts(run, of,
             {{"chunks", 1, in_chunks(rows, 1), 1},
              {"chunks", 17, in_chunks(rows, 17), 1},
              {"chunks", 512, in_chunks(rows, 512), 3}});
  std::vector<Cut> cuts = {{"sequences", 1, in_batches(33, 1), 1}};
  for (const std::uint32_t batch : kBatches) cuts.push_back({"sequences", batch, in_batches(33, batch), 1});
  check_cuts(run, of, cuts);
}

}  // namespace

bool Run::wants(const Case& of) const {
  if (op.empty() || op == subject_name(of)) return true;
  const auto& ops = of.record().ops;
  return std::any_of(ops.begin(), ops.end(),
                     [&](const sdk::OpRecord& record) { return op == sdk::op_name(record.kind); });
}

std::vector<Case> all_cases() {
  std::vector<Case> cases = read_goldens().cases;
  for (auto list : {row_cases(), attention_cases(), recurrent_cases(), decoders()})
    for (Case& of : list) cases.push_back(std::move(of));
  return cases;
}

void check_results(const Run& run) {
  for (const Case& of : all_cases()) {
    if (!run.wants(of) || (of.expected.empty() && !run.reference)) continue;
    check_case(run, entry_of("results", of), of, [&](Entry& entry) {
      set_team_size(2);
      check_result(run, of, entry);
    });
  }
}

void check_rows(const Run& run) {
  for (const Case& of : row_cases()) {
    if (!run.wants(of)) continue;
    std::vector<Cut> cuts = {{"batches", 1, in_chunks(33, 1), 1}};
    for (const std::uint32_t batch : kBatches)
      cuts.push_back({"batches", batch, in_chunks(33, batch), batch == 16 ? 3u : batch == 33 ? 2u : 1u});
    check_cuts(run, of, cuts);
  }
  for (const Case& of : attention_cases())
    if (run.wants(of))
      check_cuts(run, of,
                 {{"chunks", 1, in_chunks(150, 1), 1},
                  {"chunks", 17, in_chunks(150, 17), 1},
                  {"chunks", 150, in_chunks(150, 150), 3}});
  for (const Case& of : recurrent_cases()) check_sequences(run, of, 40);
  for (const Case& of : decoders()) check_sequences(run, of, run.backend.is_slow() ? 90 : 530);
}

}  // namespace nacelle::conformance
