// The rules of nacelle/tuning.hpp on samples that are written down, and its cache over a store that is a map.
#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <nacelle/build_id.hpp>
#include <nacelle/tuning.hpp>
#include <set>

using namespace nacelle::sdk;

namespace {

// A candidate that takes `seconds` each time, after `first` the first time.
TuningCandidate takes(const std::string& name, double first, std::vector<double> seconds,
                      std::string* order = nullptr) {
  auto turn = std::make_shared<std::size_t>(0);
  return {name, 1, [=] {
            const std::size_t at = (*turn)++;
            if (order) *order += name;
            return at == 0 ? first : seconds[(at - 1) % seconds.size()];
          }};
}

TuningCandidate takes(const std::string& name, double seconds) { return takes(name, seconds, {seconds}); }

constexpr TuningLimits kTenRounds{1e9, 3, 10};

std::string winner(std::vector<TuningCandidate> candidates) { return rank(candidates, kTenRounds)[0].variant; }

// The tuning half of a host, and its log.
struct Store {
  std::map<std::string, std::string> entries;
  std::vector<std::string> lines;
  nacelle_host table = make<nacelle_host>();

  Store() {
    table.context = this;
    table.log_enabled = [](void*, std::uint32_t) -> std::uint32_t { return 1; };
    table.log = [](void* context, std::uint32_t level, nacelle_string, nacelle_string message) {
      static_cast<Store*>(context)->lines.push_back(std::to_string(level) + " " + std::string(view(message)));
    };
    table.tuning_get = [](void* context, nacelle_string key, void* buffer, std::uint64_t capacity,
                          std::uint64_t* size) -> nacelle_status {
      const auto& kept = static_cast<Store*>(context)->entries;
      const auto found = kept.find(std::string(view(key)));
      if (found == kept.end()) return NACELLE_NOT_FOUND;
      *size = found->second.size();
      std::memcpy(buffer, found->second.data(), std::min(capacity, *size));
      return NACELLE_OK;
    };
    table.tuning_put = [](void* context, nacelle_string key, const void* data, std::uint64_t size) -> nacelle_status {
      static_cast<Store*>(context)->entries[std::string(view(key))] = std::string(static_cast<const char*>(data), size);
      return NACELLE_OK;
    };
  }
  Host host() const { return Host(&table, "test"); }
};

const TuningScope kScope{"cpu", "c0ffee", "EPYC, avx2, 2 cores", 2};
const TuningCase kCase{"matmul", "q8_0 q8a", 3072, 2048, 0};
const Verdict kVerdict{1, 1.25e-4, Bound::kMemory, {{"fast_avx2", 3, 1.5e-4, 1e-6}, {"slow", 1, 2.0e-4, 0}}};

}  // namespace

TEST_CASE("a key tells apart whatever a verdict depends on") {
  std::set<std::string> keys = {tuning_key(kScope, kCase)};
  const auto differs = [&](TuningScope scope, TuningCase of) { CHECK(keys.insert(tuning_key(scope, of)).second); };
  differs({"cuda", "c0ffee", "EPYC, avx2, 2 cores", 2}, kCase);
  differs({"cpu", "c0ffed", "EPYC, avx2, 2 cores", 2}, kCase);
  differs({"cpu", "c0ffee", "EPYC, avx512, 2 cores", 2}, kCase);
  differs({"cpu", "c0ffee", "EPYC, avx2, 2 cores", 1}, kCase);
  for (const TuningCase& of :
       {TuningCase{"moe", "q8_0 q8a", 3072, 2048, 0}, TuningCase{"matmul", "q4_0 q8a", 3072, 2048, 0},
        TuningCase{"matmul", "q8_0 q8a", 3073, 2048, 0}, TuningCase{"matmul", "q8_0 q8a", 3072, 2049, 0},
        TuningCase{"matmul", "q8_0 q8a", 3072, 2048, 1}, TuningCase{"matmul", "q8_0 q8a", 3072, 2048, 2}})
    differs(kScope, of);
  // A device's name cannot play another field.
  differs({"cpu", "c0ffee", "EPYC\nthreads=2\nschema=1", 2}, kCase);
  CHECK(row_bucket(1) == 0);
  CHECK(row_bucket(2) == 1);
  CHECK(row_bucket(16) == 1);
  CHECK(row_bucket(17) == 2);
}

TEST_CASE("a verdict survives its text, and nothing but a whole verdict is read") {
  const std::string text = to_text(kVerdict);
  const auto read = parse_verdict(text);
  REQUIRE(read);
  CHECK(to_text(*read) == text);
  CHECK(read->measured[0].seconds == 1.5e-4);
  CHECK(read->bound == Bound::kMemory);
  for (const char* bad : {"", "\n", "1 0 0\n", "1 0 2\nv 1 1 0\n", "1 0 0\nv 1 1 0", "1 0 0\nv 1 1\n",
                          "1 0 0\nv -1 1 0\n", "1 0 0\nv 1 nan 0\n", "1 0 0\nv 1 -1 0\n", "1 inf 0\nv 1 1 0\n",
                          "x 0 0\nv 1 1 0\n", "1 0 0\n 1 1 0\n", "1 0 0\nv 1 1 0\nrest"})
    CHECK_FALSE(parse_verdict(bad));
  for (std::size_t cut = 0; cut < text.size(); ++cut) {
    const auto part = parse_verdict(text.substr(0, cut));
    if (part) CHECK(part->measured.size() == 1);  // cut between two lines
  }
}

TEST_CASE("the static winner is displaced by 3 % in three rounds of four, and by nothing less") {
  CHECK(winner({takes("static", 1.00), takes("other", 0.96)}) == "other");
  CHECK(winner({takes("static", 1.00), takes("other", 0.98)}) == "static");
  CHECK(winner({takes("static", 1.00), takes("a", 0.95), takes("b", 0.90)}) == "b");
  // Faster in the median, but not often enough.
  CHECK(winner({takes("static", 1, {1.0, 0.9, 1.3, 1.3}), takes("other", 1, {0.9, 1.0, 1.0, 1.4})}) == "static");
  // One slow burst does not cost the static winner its place, be it in the first run.
  CHECK(winner({takes("static", 50, {1.0}), takes("other", 1.02)}) == "static");
  CHECK(winner({takes("static", 1, {1.0, 9.0, 1.0, 1.0, 1.0}), takes("other", 1.02)}) == "static");
}

TEST_CASE("rounds are interleaved, each begins with another candidate, and the hopeless are left out") {
  std::string order;
  const std::vector<TuningCandidate> three = {takes("a", 1, {1}, &order), takes("b", 1, {1.1}, &order),
                                              takes("c", 1, {1.2}, &order)};
  measure_rounds(three, {1e9, 3, 4});
  CHECK(order ==
        "abc"
        "abc"
        "bca"
        "cab"
        "abc");
  order.clear();
  const std::vector<TuningCandidate> mixed = {takes("a", 1, {1}, &order), takes("b", 4, {4}, &order),
                                              takes("c", 1, {1.6}, &order)};
  const auto samples = measure_rounds(mixed, {1e9, 2, 4});
  CHECK(order ==
        "abc"
        "ac"
        "ca"
        "a"
        "a");
  CHECK(samples[1] == std::vector<double>{4});
  CHECK(samples[2].size() == 2);
  // Out of time: the least count of rounds, no more.
  CHECK(measure_rounds(three, {0, 3, 100})[0].size() == 3);
  const auto ranked = rank(mixed, kTenRounds);
  CHECK(ranked[0].variant == "a");
  CHECK(ranked[1].variant == "c");
  CHECK(ranked[2].seconds == 4);
}

TEST_CASE("the cache gives back verdicts, and tells in one line why it cannot") {
  const auto any = [](const Measurement&) { return true; };
  const auto none = [](const Measurement&) { return false; };
  Store store;
  {
    TuningCache cache(store.host(), kScope);
    CHECK_FALSE(cache.get(kCase, any));
    cache.tell();
    REQUIRE(store.lines.size() == 1);
    CHECK(store.lines[0].substr(0, 24) == "2 tuning: 1 cases were n");
    REQUIRE(cache.put(kCase, kVerdict));
    cache.mark();
  }
  const auto lines_after = [&](const TuningScope& scope, auto&& usable) {
    store.lines.clear();
    TuningCache cache(store.host(), scope);
    const bool found = cache.get(kCase, usable).has_value();
    cache.tell();
    CHECK(found == store.lines.empty());
    return store.lines.empty() ? "" : store.lines[0].substr(0, 40);
  };
  CHECK(lines_after(kScope, any) == "");
  CHECK(lines_after(kScope, none) == "3 tuning: 1 cached verdicts name a varia");
  TuningScope rebuilt = kScope;
  rebuilt.build = "decade";
  CHECK(lines_after(rebuilt, any) == "3 tuning: the cached verdicts are those ");
  store.entries[tuning_key(kScope, kCase)] = std::string(5000, 'x');  // longer than one read
  CHECK(lines_after(kScope, any) == "3 tuning: 1 cached verdicts name a varia");
  // Without a content hash nothing can be told from a stale one.
  TuningCache unknown(store.host(), {"cpu", "", "EPYC", 2});
  CHECK_FALSE(unknown.put(kCase, kVerdict));
  CHECK_FALSE(unknown.get(kCase, any));
}

TEST_CASE("the build id is the linker's") {
  const std::string id = build_id();
  CHECK(id.size() == 40);
  CHECK(id.find_first_not_of("0123456789abcdef") == std::string::npos);
}
