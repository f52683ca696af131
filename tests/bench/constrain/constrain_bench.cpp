// What constrained decoding costs on one core: bench_constrain VOCABULARY.json [WIDTH]. The file maps byte-level tokens
// to ids (GPT-2's encoder.json) or is a Hugging Face tokenizer.json. For each constraint: time to compile, the first
// mask, and the time a token (mask and accept) over random answers, the first ones of a fresh grammar and then warm.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "core/constrain/constraint.hpp"
#include "core/tokenizer/token_bytes.hpp"

namespace {

using namespace nacelle;
using namespace nacelle::constrain;
using Kind = ConstraintSpec::Kind;
using BenchClock = std::chrono::steady_clock;

double microseconds_since(BenchClock::time_point begin) {
  return std::chrono::duration<double, std::micro>(BenchClock::now() - begin).count();
}

std::shared_ptr<const Vocabulary> load_vocabulary(const char* path, std::size_t width) {
  std::ifstream in(path);
  nlohmann::json json = nlohmann::json::parse(in);
  if (json.contains("model") && json["model"].is_object()) json = nlohmann::json(json["model"]["vocab"]);
  static std::vector<std::string> texts;
  std::vector<std::pair<TokenId, std::size_t>> ids;
  for (const auto& [text, id] : json.items()) {
    if (!id.is_number_integer()) continue;
    const auto bytes = from_byte_level(text);
    if (!bytes || bytes->empty()) continue;
    ids.emplace_back(id.get<TokenId>(), texts.size());
    texts.push_back(*bytes);
  }
  std::vector<Vocabulary::Token> tokens;
  TokenId last = 0;
  for (const auto& [id, index] : ids) {
    tokens.push_back({id, texts[index]});
    last = std::max(last, id);
  }
  width = std::max<std::size_t>(width, static_cast<std::size_t>(last) + 2);
  const auto begin = BenchClock::now();
  auto vocabulary = Vocabulary::make(tokens, {last + 1}, width);
  std::printf("vocabulary: %zu tokens in rows of %zu, prepared in %.1f ms\n", tokens.size(), width,
              microseconds_since(begin) / 1000);
  return vocabulary;
}

struct Case {
  const char* name;
  ConstraintSpec spec;
};

const Case kCases[] = {
    {"small schema",
     {Kind::kJsonSchema,
      R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
      "email":{"type":"string","format":"email"}},"required":["name","age","email"],"additionalProperties":false})",
      {},
      ""}},
    {"typical schema",
     {Kind::kJsonSchema,
      R"({"$defs":{"address":{"type":"object","properties":{"street":{"type":"string","maxLength":60},"city":{"type":"string"},
      "zip":{"type":"string","pattern":"^[0-9]{5}(-[0-9]{4})?$"},"country":{"enum":["DE","FR","CH","AT","IT","US","GB"]}},
      "required":["street","city","country"],"additionalProperties":false},
      "item":{"type":"object","properties":{"sku":{"type":"string","pattern":"^[A-Z]{3}-[0-9]{6}$"},"title":{"type":"string","minLength":1,"maxLength":120},
      "quantity":{"type":"integer","minimum":1,"maximum":999},"price":{"type":"number","minimum":0,"maximum":100000},
      "tags":{"type":"array","items":{"type":"string","maxLength":20},"maxItems":8}},"required":["sku","title","quantity","price"],"additionalProperties":false}},
      "type":"object","properties":{"id":{"type":"string","format":"uuid"},"created":{"type":"string","format":"date-time"},
      "status":{"enum":["new","paid","shipped","cancelled","returned"]},"customer":{"type":"object","properties":{"name":{"type":"string"},
      "email":{"type":"string","format":"email"},"phone":{"type":["string","null"]},"billing":{"$ref":"#/$defs/address"},"shipping":{"$ref":"#/$defs/address"}},
      "required":["name","email","billing"],"additionalProperties":false},"items":{"type":"array","items":{"$ref":"#/$defs/item"},"minItems":1,"maxItems":50},
      "note":{"anyOf":[{"type":"string","maxLength":500},{"type":"null"}]},"payment":{"oneOf":[{"type":"object","properties":{"kind":{"const":"card"},
      "last4":{"type":"string","pattern":"^[0-9]{4}$"}},"required":["kind","last4"],"additionalProperties":false},{"type":"object","properties":{"kind":{"const":"bank"},
      "iban":{"type":"string"}},"required":["kind","iban"],"additionalProperties":false}]}},"required":["id","created","status","customer","items","payment"],
      "additionalProperties":false})",
      {},
      ""}},
    {"any JSON object", {Kind::kJsonObject, "", {}, ""}},
    {"regex", {Kind::kRegex, "([A-Z][a-z]+ ){2,6}[0-9]{4}-[0-9]{2}\\.", {}, ""}},
    {"any text (regex)", {Kind::kRegex, "(.|\\n)*", {}, ""}},
    {"GBNF list", {Kind::kGbnf, "root ::= (\"- \" line)+\nline ::= [^\\n\\x00-\\x08]{1,80} \"\\n\"", {}, ""}},
    {"strict tool, free text before it",
     {Kind::kComposition,
      R"([{"until":["<tool_call>"],"tokens":true},{"repeat":[{"mark":"<tool_call>"},"\n{\"name\": \"f\", \"arguments\": ",
      {"schema":{"type":"object","properties":{"city":{"type":"string"},"unit":{"enum":["c","f"]}},"required":["city","unit"],
      "additionalProperties":false}},"}\n",{"mark":"</tool_call>"},{"until":["<tool_call>"],"tokens":true}]}])",
      {},
      ""}},
    {"choice", {Kind::kChoice, "", {"positive", "negative", "neutral", "mixed", "unclear"}, ""}},
};

struct Run {
  std::vector<double> times;  // of each token
};

// A random answer that likes long tokens no more than a model does: one of the allowed ones, or the end.
void answer(const std::shared_ptr<const Grammar>& grammar, std::mt19937& random, Run& run) {
  const Vocabulary& vocabulary = grammar->vocabulary();
  std::vector<std::uint32_t> words(vocabulary.words());
  Matcher matcher(grammar);
  for (int step = 0; step < 300 && !matcher.finished(); ++step) {
    const auto begin = BenchClock::now();
    if (!matcher.mask(words)) throw std::runtime_error(matcher.error());
    double time = microseconds_since(begin);
    std::size_t at = random() % words.size();
    while (words[at] == 0) at = (at + 1) % words.size();
    std::uint32_t bit = random() % 32;
    while (!(words[at] >> bit & 1)) bit = (bit + 1) % 32;
    TokenId token = static_cast<TokenId>(at * 32 + bit);
    if (matcher.may_end() && random() % 4 == 0) token = vocabulary.stop_ids()[0];
    const auto then = BenchClock::now();
    if (!matcher.accept(token)) throw std::runtime_error("a token of the mask was refused");
    run.times.push_back(time + microseconds_since(then));
  }
}

void print_run(const char* name, Run run) {
  double sum = 0;
  for (const double time : run.times) sum += time;
  const double mean = sum / static_cast<double>(run.times.size());
  std::sort(run.times.begin(), run.times.end());
  const auto at = [&](double part) {
    return run.times[static_cast<std::size_t>(part * static_cast<double>(run.times.size() - 1))];
  };
  std::printf("  %-6s %7zu tokens: mean %7.2f us, p50 %6.2f, p99 %7.2f, largest %8.2f\n", name, run.times.size(), mean,
              at(0.5), at(0.99), run.times.back());
}

void bench(const Case& one, const std::shared_ptr<const Vocabulary>& vocabulary) {
  std::vector<double> compile_times;
  std::shared_ptr<const Grammar> grammar;
  for (int i = 0; i < 5; ++i) {
    const auto begin = BenchClock::now();
    grammar = Grammar::compile(one.spec, vocabulary);
    compile_times.push_back(microseconds_since(begin));
  }
  std::vector<std::uint32_t> words(vocabulary->words());
  Matcher matcher(grammar);
  const auto begin = BenchClock::now();
  if (!matcher.mask(words)) throw std::runtime_error(matcher.error());
  const double first = microseconds_since(begin);
  std::printf("%s: compiled in %.2f ms (again %.2f ms), %zu positions, first mask %.0f us\n", one.name,
              compile_times.front() / 1000, *std::min_element(compile_times.begin(), compile_times.end()) / 1000,
              grammar->positions(), first);
  std::mt19937 random(1);
  Run cold, warm;
  for (int i = 0; i < 4; ++i) answer(grammar, random, cold);
  for (int i = 0; i < 200; ++i) answer(grammar, random, warm);
  print_run("cold", cold);
  Run late;
  for (int i = 0; i < 100; ++i) answer(grammar, random, late);
  print_run("warm", late);
  std::printf("  memory %.1f MB\n", static_cast<double>(grammar->memory_bytes()) / 1e6);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_constrain VOCABULARY.json [WIDTH]\n");
    return 2;
  }
  try {
    const auto vocabulary = load_vocabulary(argv[1], argc > 2 ? std::stoul(argv[2]) : 0);
    for (const Case& one : kCases) bench(one, vocabulary);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_constrain: %s\n", error.what());
    return 1;
  }
}
