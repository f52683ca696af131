// Chat templates: the demo model's golden prompts, Python's results for every construct (cases.json, which
// make_cases.py writes), and the interpreter's limits and error messages.
#include "core/chat/chat_template.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "core/base/error.hpp"
#include "tests/shared_data.hpp"

using nacelle::ChatTemplate;
using nacelle::Error;
using nacelle::ErrorKind;
using nacelle::RenderLimits;
using Json = nlohmann::ordered_json;

namespace {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Json read_json(const std::filesystem::path& path) { return Json::parse(read_text(path)); }

std::filesystem::path data_dir() { return nacelle::test::source_dir() / "tests/unit/chat"; }

// Friday, 26 July 2024, 09:05:07, as in make_cases.py.
RenderLimits fixed_clock() {
  RenderLimits limits;
  limits.clock = [] {
    std::tm time{};
    time.tm_year = 124, time.tm_mon = 6, time.tm_mday = 26, time.tm_wday = 5, time.tm_yday = 207;
    time.tm_hour = 9, time.tm_min = 5, time.tm_sec = 7;
    return time;
  };
  return limits;
}

// The rendered text, or nothing where an Error says what is wrong. Any other exception fails the test.
std::optional<std::string> rendered(const std::string& source, const Json& context) {
  try {
    return ChatTemplate(source).render(context, fixed_clock());
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::string error_of(const std::string& source, const Json& context = Json::object(), const RenderLimits& limits = {}) {
  try {
    ChatTemplate(source).render(context, limits);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kInvalidArgument);
    return error.what();
  }
  return "no error";
}

std::optional<std::string> expected(const Json& value) {
  return value.is_null() ? std::nullopt : std::optional(value.get<std::string>());
}

std::string shown(const std::optional<std::string>& text) { return text.value_or("(an error)"); }

}  // namespace

TEST_CASE("the demo model's template gives its golden prompts", "[chat]") {
  const std::string folder = "models/nacelle-demo/";
  if (!nacelle::test::have_shared(folder + "golden.json")) return;
  const auto config = read_json(nacelle::test::shared_dir() / (folder + "hf/tokenizer_config.json"));
  const ChatTemplate chat(config["chat_template"].get<std::string>());
  const auto golden = read_json(nacelle::test::shared_dir() / (folder + "golden.json"));
  REQUIRE(golden.size() == 20);
  for (const auto& entry : golden) {
    Json context = {{"messages", entry["messages"]}, {"add_generation_prompt", true}};
    if (entry.contains("tools")) context["tools"] = entry["tools"];
    CHECK(chat.render(context) == entry["prompt"].get<std::string>());
  }
}

TEST_CASE("expressions and statements give what Python's jinja2 gives", "[chat]") {
  const Json data = read_json(data_dir() / "cases.json");
  for (const auto& entry : data["cases"]) {
    const auto source = entry[0].get<std::string>();
    CAPTURE(source);
    CHECK(shown(rendered(source, data["context"])) == shown(expected(entry[1])));
  }
}

TEST_CASE("whole templates give what Python's jinja2 gives", "[chat]") {
  const Json data = read_json(data_dir() / "cases.json");
  for (const auto& entry : data["whole"]) {
    const auto name = entry[0].get<std::string>();
    CAPTURE(name, entry[1]);
    Json context = {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"add_generation_prompt", true}};
    context.update(data["chats"][entry[1].get<std::size_t>()]);
    CHECK(shown(rendered(read_text(data_dir() / "templates" / name), context)) == shown(expected(entry[2])));
  }
}

TEST_CASE("list and dict methods that Python's sandbox refuses work on the render's own copy", "[chat]") {
  const Json context = {{"l", {1, 2}}, {"d", {{"a", 1}}}};
  const auto text = [&](const std::string& source) { return ChatTemplate(source).render(context); };
  CHECK(text("{% set _ = l.append(3) %}{{ l }}") == "[1, 2, 3]");
  CHECK(text("{% do l.extend([5, 6]) %}{% do l.insert(1, 9) %}{{ l }}{{ l.pop() }}{{ l.pop(0) }}") ==
        "[1, 9, 2, 5, 6]61");
  CHECK(text("{% do l.remove(1) %}{% do l.reverse() %}{{ l }}{% do l.clear() %}{{ l }}") == "[2][]");
  CHECK(text("{% do d.update({'b': 2}, c=3) %}{{ d }}{{ d.pop('a') }}{{ d.pop('x', 7) }}") ==
        "{'a': 1, 'b': 2, 'c': 3}17");
  CHECK(text("{{ d.setdefault('a', 5) }}{{ d.setdefault('z', 5) }}{{ d }}") == "15{'a': 1, 'z': 5}");
  CHECK(text("{{ l }}{{ d }}") == "[1, 2]{'a': 1}");
}

TEST_CASE("a syntax error quotes the line and says what was expected", "[chat]") {
  CHECK(error_of("a\n{% if x %}\nb") ==
        "chat template: this tag has no end; expected '{% endif %}'; line 2: `{% if x %}`");
  CHECK(error_of("a\n\n{{ f(1 }}") == "chat template: expected ')', not '}'; line 3: `{{ f(1 }}`");
  CHECK(error_of("{{ x | }}") == "chat template: expected a filter's name behind '|', found '}}'; line 1: `{{ x | }}`");
  CHECK_THAT(error_of("{% include 'x' %}"), Catch::Contains("'include' is not supported"));
  CHECK_THAT(error_of("{% import 'x' as y %}"), Catch::Contains("'import' is not supported"));
  CHECK_THAT(error_of("{% extends 'x' %}"), Catch::Contains("'extends' is not supported"));
  CHECK_THAT(error_of(std::string(500, 'x') + "{% é %}" + std::string(500, 'y')), Catch::Contains("`...xxx"));
}

TEST_CASE("a render error quotes the line; raise_exception gives its author's words", "[chat]") {
  CHECK(error_of("\n{{ messages[0].role }}") ==
        "chat template: 'messages' is undefined; line 2: `{{ messages[0].role }}`");
  CHECK(error_of("a\n{{ raise_exception('Roles must alternate') }}") ==
        "Roles must alternate (raised by the chat template, line 2: `{{ raise_exception('Roles must alternate') }}`)");
  CHECK(error_of("{% macro m() %}{{ 1 }}{% endmacro %}\n{{ m()\n + 1 }}") ==
        "chat template: '+' does not take 'string' and 'int'; line 3: ` + 1 }}`");
  CHECK(error_of("{{ 1 }}", Json::array()) == "chat template: the context must be an object with messages");
  CHECK_THAT(error_of("{{ x|nope }}"), Catch::Contains("no filter named 'nope'"));
}

TEST_CASE("every way to grow without end meets a limit", "[chat]") {
  const auto refused = [](const std::string& source, const std::string& why) {
    CAPTURE(source.substr(0, 100));
    CHECK_THAT(error_of(source), Catch::Contains(why));
  };
  const std::string loop = "{% for i in range(90000) %}";
  refused(loop + loop + "{% endfor %}{% endfor %}", "steps");
  refused("{% for i in range(100) %}{% for j in range(10) %}{{ 'x' * 100000 }}{% endfor %}{% endfor %}",
          "prints more than");
  refused("{{ 'a' * 1000000000 }}", "memory");
  refused("{{ 'a' * 9223372036854775807 }}", "memory");
  refused("{{ [0] * 1000000000 }}", "memory");
  refused("{{ range(100000000) }}", "at most 100000");
  refused("{{ 'a'.center(1000000000) }}", "width");
  refused("{{ '%1000000000d' % 1 }}", "too large");
  refused("{{ '{:1000000000}'.format(1) }}", "too large");
  refused("{{ 'a'|indent(100000000000) }}", "memory");
  refused("{{ [1]|batch(100000000000, 0) }}", "memory");
  refused("{{ [1]|slice(100000000000) }}", "memory");
  refused("{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}", "memory");
  refused("{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set n.s = n.s.replace('', n.s) %}{% endfor %}",
          "too long");
  refused("{% set n = namespace(l=[1]) %}{% for i in range(99) %}{% set n.l = n.l + n.l %}{% endfor %}", "memory");
  refused("{% set n = namespace(l=[1]) %}{% for i in range(999) %}{% set n.l = [n.l, n.l] %}{% endfor %}{{ n.l }}",
          "nested");
  refused("{% set l = [] %}{% do l.append(l) %}{{ l }}", "nested");
  refused("{% set l = [] %}{% do l.append(l) %}{{ l|tojson }}", "nested");
  refused("{% set l = [] %}{% do l.append(l) %}{% set m = [] %}{% do m.append(m) %}{{ l == m }}", "nested");
  refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "deep");
  refused("{% for x in [[]] recursive %}{{ loop([[]]) }}{% endfor %}", "deep");
  refused("{{ " + std::string(100000, '(') + "1" + std::string(100000, ')') + " }}", "nested deeper");
  refused("{{ " + std::string(100000, '-') + "1 }}", "nested deeper");
  std::string chain = "{{ 1", blocks;
  for (int i = 0; i < 100000; ++i) chain += " + 1", blocks += "{% if 1 %}";
  refused(chain + " }}", "too deep");
  refused(blocks, "nested deeper");
  Json deep = 1;
  for (int i = 0; i < 200; ++i) deep = Json::array({deep});
  CHECK_THAT(error_of("{{ x }}", Json{{"x", deep}}), Catch::Contains("nested deeper"));
}

TEST_CASE("limits can be set", "[chat]") {
  RenderLimits limits;
  limits.max_output_bytes = 3;
  CHECK(ChatTemplate("{{ 'abc' }}").render(Json::object(), limits) == "abc");
  CHECK_THAT(error_of("{{ 'abcd' }}", Json::object(), limits), Catch::Contains("more than 3 bytes"));
  limits = {};
  limits.max_steps = 10;
  CHECK_THAT(error_of("{% for i in range(50) %}{{ i }}{% endfor %}", Json::object(), limits),
             Catch::Contains("10 steps"));
}
