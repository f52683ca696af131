// The JSON Schema Test Suite as an oracle: of every schema that is taken, each valid instance is allowed in some order
// of its members, and each invalid one in none.
#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "core/constrain/decimal.hpp"
#include "tests/shared_data.hpp"
#include "tests/unit/constrain/support.hpp"

namespace nacelle::test {
namespace {

using SuiteJson = nlohmann::ordered_json;

// Numbers are written without exponents and 1.0 as 1: the form that grammars generate.
std::string canonical_scalar(const SuiteJson& value) {
  return value.is_number() ? constrain::decimal_of(value).text() : value.dump();
}

constexpr std::size_t kMaxOrders = 2000;

// The instance with its members in every order, or in as many as are worth trying.
std::vector<std::string> spellings(const SuiteJson& value) {
  if (!value.is_structured()) return {canonical_scalar(value)};
  std::vector<std::vector<std::string>> items;
  for (const auto& [name, item] : value.items()) {
    items.push_back(spellings(item));
    if (value.is_object())
      for (std::string& text : items.back()) text = SuiteJson(name).dump() + ":" + text;
  }
  std::vector<std::size_t> order(items.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::vector<std::string> all;
  do {
    std::vector<std::string> partial{value.is_array() ? "[" : "{"};
    for (std::size_t i = 0; i < order.size(); ++i) {
      std::vector<std::string> longer;
      for (const std::string& head : partial)
        for (const std::string& tail : items[order[i]])
          if (longer.size() < kMaxOrders) longer.push_back(head + (i ? "," : "") + tail);
      partial = std::move(longer);
    }
    for (const std::string& text : partial) all.push_back(text + (value.is_array() ? "]" : "}"));
  } while (value.is_object() && all.size() < kMaxOrders && std::next_permutation(order.begin(), order.end()));
  return all;
}

bool suite_allows(const std::shared_ptr<const Grammar>& grammar, const SuiteJson& value) {
  const auto texts = spellings(value);
  return std::any_of(texts.begin(), texts.end(), [&](const std::string& text) { return allows(grammar, text); });
}

struct Tally {
  int taken = 0, refused = 0, cases = 0, mismatched = 0, on_purpose = 0;
};

// Where this differs from the suite on purpose (docs/constrained.md): formats are enforced, not noted; leap seconds and
// "xn--" host names are never generated, nor numbers of more than 40 digits beside bounds.
bool is_on_purpose(const std::string& test, const SuiteJson& data) {
  const auto has = [&](const char* words) { return test.find(words) != std::string::npos; };
  return (test.starts_with("format.json") && has("only an annotation by default")) || has("leap second") ||
         (test.starts_with("hostname.json") && data.is_string() && data.get<std::string>().find("xn--") == 0) ||
         test.starts_with("float-overflow.json");
}

void run_suite_file(const std::filesystem::path& path, Tally& tally, std::map<std::string, int>& reasons) {
  std::ifstream in(path);
  const SuiteJson groups = SuiteJson::parse(in);
  for (const SuiteJson& group : groups) {
    std::shared_ptr<const Grammar> grammar;
    try {
      grammar = schema(group["schema"].dump());
      ++tally.taken;
    } catch (const Error& error) {
      ++tally.refused;
      const std::string why = error.what();
      if (std::getenv("NACELLE_SUITE_VERBOSE")) {
        std::printf("refused %s / %s: %s\n", path.filename().c_str(), group["description"].get<std::string>().c_str(),
                    why.c_str());
      }
      const auto quote = why.find("keyword \"");
      ++reasons[quote == std::string::npos ? why.substr(0, 60)
                                           : why.substr(quote + 9, why.find('"', quote + 9) - quote - 9)];
      continue;
    }
    for (const SuiteJson& test : group["tests"]) {
      const std::string name = path.filename().string() + ": " + group["description"].get<std::string>() + ": " +
                               test["description"].get<std::string>();
      ++tally.cases;
      if (suite_allows(grammar, test["data"]) == test["valid"].get<bool>()) continue;
      if (test["valid"].get<bool>() && is_on_purpose(name, test["data"])) {
        ++tally.on_purpose;
        continue;
      }
      ++tally.mismatched;
      FAIL_CHECK(name << ": " << test["data"].dump() << (test["valid"] ? " is valid" : " is not valid") << " under "
                      << group["schema"].dump());
    }
  }
}

}  // namespace

TEST_CASE("The official suite agrees with every schema that is taken", "[constrain]") {
  const std::string root = "conformance/json-schema-test-suite/draft2020-12";
  if (!have_shared(root)) return;
  Tally tally;
  std::map<std::string, int> reasons;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(shared_dir() / root))
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const auto& file : files) run_suite_file(file, tally, reasons);
  std::printf("JSON Schema suite: %d schemas taken (%d instances, %d stricter on purpose), %d refused, %d mismatched\n",
              tally.taken, tally.cases, tally.on_purpose, tally.refused, tally.mismatched);
  for (const auto& [why, count] : reasons) std::printf("  refused %3d: %s\n", count, why.c_str());
  CHECK(tally.mismatched == 0);
  CHECK(tally.taken >= 240);
}

}  // namespace nacelle::test
