// Request bodies: every field reaches its place, and every wrong one is named.
#include "api/openai/request.hpp"

#include <catch2/catch.hpp>

#include "tests/unit/api/failure.hpp"

using namespace nacelle;
using namespace nacelle::openai;
using test::failure_of;

namespace {

// A valid chat body with more members.
std::string chat_with(const std::string& members) {
  return R"({"messages": [{"role": "user", "content": "Hi"}])" + (members.empty() ? "" : ", " + members) + "}";
}
std::string text_with(const std::string& members) {
  return R"({"prompt": "Hi")" + (members.empty() ? "" : ", " + members) + "}";
}

}  // namespace

TEST_CASE("chat fields reach the request") {
  const ChatBody body = parse_chat(chat_with(R"("model": "m", "n": 3, "stream": true, "stream_options":
      {"include_usage": true}, "max_completion_tokens": 7, "stop": ["a", "b"], "seed": -1, "temperature": 0.5, "top_p": 0.25,
      "top_k": 40, "min_p": 0.125, "typical_p": 0.75, "repetition_penalty": 1.5, "frequency_penalty": -2,
      "presence_penalty": 2, "logit_bias": {"5": -100, "6": 1.5}, "logprobs": true, "top_logprobs": 4, "ignore_eos": true,
      "tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto",
      "chat_template_kwargs": {"thinking": false}, "user": "u", "metadata": {"a": "b"}, "store": false,
      "response_format": {"type": "text"}, "cache_salt": "s", "priority": -3, "timeout": 1.5,
      "prompt_cache_retention": "in_memory", "prompt_cache_options": {"mode": "implicit"})"));
  const SamplingParams& sampling = body.request.sampling;
  CHECK(body.model == "m");
  CHECK(body.n == 3);
  CHECK(body.stream);
  CHECK(body.include_usage);
  CHECK(body.request.max_tokens == 7);
  CHECK(body.request.stop == std::vector<std::string>{"a", "b"});
  CHECK(body.request.ignore_eos);
  CHECK(body.request.logprobs == 4);
  CHECK(sampling.seed == UINT64_MAX);
  CHECK(sampling.temperature == 0.5f);
  CHECK(sampling.top_p == 0.25f);
  CHECK(sampling.top_k == 40);
  CHECK(sampling.min_p == 0.125f);
  CHECK(sampling.typical_p == 0.75f);
  CHECK(sampling.repetition_penalty == 1.5f);
  CHECK(sampling.frequency_penalty == -2.0f);
  CHECK(sampling.presence_penalty == 2.0f);
  CHECK(sampling.logit_bias == std::vector<std::pair<TokenId, float>>{{5, -100.0f}, {6, 1.5f}});
  CHECK(body.request.cache_salt == "s");
  CHECK(body.request.priority == -3);
  CHECK(body.request.timeout == std::chrono::milliseconds(1500));
  CHECK(body.prompt.tools.size() == 1);
  CHECK(to_text(body.prompt.template_variables) == R"({"thinking":false})");
}

TEST_CASE("what constrains an answer is kept as it was asked for") {
  using Kind = constrain::ConstraintSpec::Kind;
  const auto of = [](const char* members) { return parse_chat(chat_with(members)).constraint.value(); };
  CHECK(of(R"("response_format": {"type": "json_object"})").kind == Kind::kJsonObject);
  const auto schema = of(R"("response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true,
      "schema": {"b": 1, "a": [2.5]}}})");
  CHECK(schema.kind == Kind::kJsonSchema);
  CHECK(schema.text == R"({"b":1,"a":[2.5]})");  // the order of the members is the order of the answer
  CHECK(schema.param == "response_format");
  CHECK(of(R"("guided_json": "{}")").text == "{}");
  CHECK(of(R"("guided_regex": "a+")").param == "guided_regex");
  CHECK(of(R"("grammar": "root ::= x")").kind == Kind::kGbnf);
  CHECK(of(R"("choice": ["a", "b"])").choices == std::vector<std::string>{"a", "b"});
  CHECK_FALSE(parse_chat(chat_with(R"("response_format": {"type": "text"})")).constraint);
  CHECK(parse_completion(text_with(R"("regex": "a")")).constraint);
}

TEST_CASE("null counts as absent, and defaults are OpenAI's") {
  const ChatBody body =
      parse_chat(chat_with(R"("temperature": null, "n": null, "stop": null, "tools": null, "audio": null)"));
  CHECK(body.request.sampling.temperature == 1.0f);
  CHECK(body.request.max_tokens == 0);
  CHECK(body.n == 1);
  CHECK_FALSE(body.request.logprobs);
  CHECK_FALSE(body.request.sampling.seed);
  CHECK(parse_completion(text_with("")).request.max_tokens == 16);
  CHECK(parse_chat(chat_with(R"("top_k": -1)")).request.sampling.top_k == 0);
  CHECK(parse_chat(chat_with(R"("logprobs": true)")).request.logprobs == 0);
  CHECK_FALSE(parse_chat(chat_with(R"("logprobs": false, "top_logprobs": 0)")).request.logprobs);
  CHECK(parse_chat(chat_with(R"("max_tokens": 5.0)")).request.max_tokens == 5);
  CHECK(parse_chat(chat_with(R"("tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none")"))
            .prompt.tools.is_null());
}

TEST_CASE("a null asks for nothing, whatever its name") {
  const ChatBody body = parse_chat(R"({"colour": null, "stream": true, "stream_options": {"shade": null},
      "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "hue": null}], "tint": null}],
      "tools": [{"type": "function", "tone": null, "function": {"name": "f", "strict": null, "tinge": null}}]})");
  CHECK(to_text(body.prompt.tools) == R"([{"type":"function","function":{"name":"f"}}])");  // as templates write it
  CHECK(parse_completion(text_with(R"("colour": null)")).prompts.size() == 1);
  CHECK(failure_of([] { parse_chat(chat_with(R"("colour": false)")); }).param == "colour");
  CHECK(failure_of([] { parse_chat(chat_with(R"("colour": {})")); }).param == "colour");
}

TEST_CASE("what Mistral's, Together's and others' clients call by names of their own") {
  CHECK(parse_chat(chat_with(R"("random_seed": 7)")).request.sampling.seed == 7);
  CHECK(parse_chat(chat_with(R"("tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "any")"))
            .prompt.tool_choice.kind == chat::ToolChoice::Kind::kRequired);
  using Kind = constrain::ConstraintSpec::Kind;
  const auto format = [](const char* value) {
    return *parse_chat(chat_with(std::string(R"("response_format": )") + value)).constraint;
  };
  CHECK(format(R"({"type": "json_object", "schema": {"type": "array"}})").kind == Kind::kJsonSchema);
  CHECK(format(R"({"type": "json_object", "schema": {"type": "array"}})").text == R"({"type":"array"})");
  CHECK(format(R"({"type": "json_object", "schema": null})").kind == Kind::kJsonObject);
  CHECK(format(R"({"type": "regex", "pattern": "a|b"})").kind == Kind::kRegex);
}

TEST_CASE("a last message of the assistant's may be the answer's beginning") {
  const auto chat = [](const char* messages, const char* more = "") {
    return parse_chat(std::string(R"({"messages": )") + messages + more + "}");
  };
  const char* begun =
      R"([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well,", "prefix": true}])";
  CHECK(chat(begun).prompt.prefill == "Well,");
  CHECK(chat(begun).prompt.messages.size() == 1);
  const ChatBody plain =
      chat(R"([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well.", "prefix": false}])");
  CHECK(plain.prompt.prefill.empty());
  CHECK(plain.prompt.messages.size() == 2);
  CHECK(failure_of([&] { chat(begun, R"(, "response_format": {"type": "json_object"})"); }).param == "response_format");
  for (const char* bad :
       {R"([{"role": "assistant", "content": "a", "prefix": true}, {"role": "user", "content": "b"}])",
        R"([{"role": "user", "content": "a", "prefix": true}])"})
    CHECK(failure_of([&] { chat(bad); }).param == "messages[0].prefix");
  CHECK(failure_of([&] { chat(R"([{"role": "assistant", "content": "a", "prefix": true}])"); }).param == "messages");
}

TEST_CASE("an answer that was reasoning alone may be sent back") {
  CHECK(to_text(parse_chat(R"({"messages": [{"role": "user", "content": "a"},
            {"role": "assistant", "content": null, "reasoning_content": "Hm.", "refusal": null}]})")
                    .prompt.messages[1]) == R"({"role":"assistant","content":"","reasoning_content":"Hm."})");
  CHECK(failure_of([] { parse_chat(R"({"messages": [{"role": "assistant", "content": null}]})"); }).param ==
        "messages[0].content");
}

TEST_CASE("choices among tools") {
  const auto choice = [](const char* value) {
    return parse_chat(chat_with(std::string(R"("parallel_tool_calls": false, "tools": [{"type": "function", "function":
        {"name": "f"}}], "tool_choice": )") +
                                value))
        .prompt;
  };
  CHECK(choice("\"auto\"").tool_choice.kind == chat::ToolChoice::Kind::kAuto);
  CHECK_FALSE(choice("\"auto\"").parallel_calls);
  CHECK(choice("\"required\"").tool_choice.forced());
  CHECK(choice(R"({"type": "function", "function": {"name": "f"}})").tool_choice.name == "f");
  CHECK(choice("\"none\"").tools.is_null());

  const char* some =
      R"("tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "g"}}],
      "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "g"}}]}})";
  const ChatPrompt allowed = parse_chat(chat_with(some)).prompt;
  CHECK(to_text(allowed.tools) == R"([{"type":"function","function":{"name":"g"}}])");
  CHECK(allowed.tool_choice.forced());
}

TEST_CASE("the deprecated functions are tools of which one is called") {
  const ChatBody body = parse_chat(
      R"({"messages": [{"role": "user", "content": "Hi"},
          {"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{\"a\": 1}"}},
          {"role": "function", "name": "f", "content": "2"}],
          "functions": [{"name": "f", "parameters": {"type": "object"}}], "function_call": {"name": "f"}})");
  CHECK(body.functions);
  CHECK(to_text(body.prompt.tools) ==
        R"([{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}])");
  CHECK(body.prompt.tool_choice.name == "f");
  CHECK_FALSE(body.prompt.parallel_calls);
  CHECK(to_text(body.prompt.messages[1]["tool_calls"]) ==
        R"([{"type":"function","function":{"name":"f","arguments":{"a":1}}}])");
  CHECK(to_text(body.prompt.messages[2]) == R"({"role":"tool","content":"2","name":"f"})");
}

TEST_CASE("an unknown field that is nearly a known one") {
  const auto message = [](const std::string& members) {
    return failure_of([&] { parse_chat(chat_with(members)); }).message;
  };
  CHECK(message(R"("max_token": 5)") == "there is no field 'max_token'; did you mean 'max_tokens'?");
  CHECK(message(R"("temprature": 1)") == "there is no field 'temprature'; did you mean 'temperature'?");
  CHECK(message(R"("stream": true, "stream_options": {"include_use": true})") ==
        "there is no field 'stream_options.include_use'; did you mean 'stream_options.include_usage'?");
  CHECK(message(R"("colour": 1)") == "there is no field 'colour'");
  CHECK(message(R"("chat_template_kwargs": {"messages": []})") == "there is no field 'chat_template_kwargs.messages'");
  CHECK(message("\"" + std::string(100000, 'x') + "\": 1") == "there is no field '" + std::string(80, 'x') + "...'");
}

TEST_CASE("a wrong field of a chat is named") {
  struct Case {
    const char* members;
    const char* param;
    const char* code;
  };
  const Case cases[] = {
      {R"("temprature": 1)", "temprature", "unknown_parameter"},
      {R"("tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "allowed_tools",
          "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "h"}}]}})",
       "tool_choice", "invalid_value"},
      {R"("tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "any", "tools": []}})",
       "tool_choice.allowed_tools.mode", "invalid_value"},
      {R"("temperature": "hot")", "temperature", "invalid_value"},
      {R"("temperature": 2.5)", "temperature", "invalid_value"},
      {R"("temperature": -0.1)", "temperature", "invalid_value"},
      {R"("top_p": 1.01)", "top_p", "invalid_value"},
      {R"("n": 0)", "n", "invalid_value"},
      {R"("n": 129)", "n", "invalid_value"},
      {R"("n": 1.5)", "n", "invalid_value"},
      {R"("stream": 1)", "stream", "invalid_value"},
      {R"("stream_options": {"include_usage": true})", "stream_options", "invalid_value"},
      {R"("stream": true, "stream_options": {"x": true})", "stream_options.x", "unknown_parameter"},
      {R"("stream": true, "stream_options": {"include_usage": 1})", "stream_options.include_usage", "invalid_value"},
      {R"("max_tokens": 0)", "max_tokens", "invalid_value"},
      {R"("max_tokens": 99999999999999999999)", "max_tokens", "invalid_value"},
      {R"("max_tokens": 18446744073709551615)", "max_tokens", "invalid_value"},
      {R"("max_tokens": 1, "max_completion_tokens": 2)", "max_tokens", "invalid_value"},
      {R"("seed": 9223372036854775808)", "seed", "invalid_value"},
      {R"("stop": ["a", "b", "c", "d", "e"])", "stop", "invalid_value"},
      {R"("stop": "")", "stop", "invalid_value"},
      {R"("stop": [1])", "stop[0]", "invalid_value"},
      {R"("logit_bias": {"x": 1})", "logit_bias", "invalid_value"},
      {R"("logit_bias": {"-1": 1})", "logit_bias", "invalid_value"},
      {R"("logit_bias": {"1": 101})", "logit_bias.1", "invalid_value"},
      {R"("top_logprobs": 2)", "top_logprobs", "invalid_value"},
      {R"("logprobs": true, "top_logprobs": 21)", "top_logprobs", "invalid_value"},
      {R"("logprobs": 2)", "logprobs", "invalid_value"},
      {R"("metadata": 1)", "metadata", "invalid_value"},
      {R"("response_format": {"type": "xml"})", "response_format.type", "invalid_value"},
      {R"("response_format": {"type": "text", "schema": {"type": "object"}})", "response_format.schema",
       "invalid_value"},
      {R"("response_format": {"type": "json_object", "schema": "x"})", "response_format.schema", "invalid_value"},
      {R"("response_format": {"type": "json_object", "pattern": "x"})", "response_format.pattern", "invalid_value"},
      {R"("response_format": {"type": "regex"})", "response_format.pattern", "missing_required_parameter"},
      {R"("response_format": {"type": "regex", "pattern": 1})", "response_format.pattern", "invalid_value"},
      {R"("safe_prompt": true)", "safe_prompt", "unsupported_parameter"},
      {R"("response_format": {"type": "json_schema", "strict": true, "json_schema": {"schema": {}}})",
       "response_format.strict", "unknown_parameter"},
      {R"("response_format": {"type": "text", "json_schema": {"schema": {}}})", "response_format.json_schema",
       "invalid_value"},
      {R"("prompt_cache_retention": "24h")", "prompt_cache_retention", "unsupported_parameter"},
      {R"("response_format": {"type": "json_schema"})", "response_format.json_schema", "missing_required_parameter"},
      {R"("response_format": {"type": "json_schema", "json_schema": {"schem": {}}})",
       "response_format.json_schema.schem", "unknown_parameter"},
      {R"("regex": 1)", "regex", "invalid_value"},
      {R"("choice": ["a", 1])", "choice", "invalid_value"},
      {R"("json_schema": 1)", "json_schema", "invalid_value"},
      {R"("grammar": "g", "guided_regex": "r")", "guided_regex", "invalid_value"},
      {R"("grammar": "g", "ignore_eos": true)", "ignore_eos", "invalid_value"},
      {R"("tool_choice": "required")", "tools", "missing_required_parameter"},
      {R"("tool_choice": "always")", "tool_choice", "invalid_value"},
      {R"("tool_choice": {"type": "custom"})", "tool_choice.type", "unsupported_parameter"},
      {R"("tool_choice": {"type": "function"})", "tool_choice.function", "missing_required_parameter"},
      {R"("tool_choice": {"type": "function", "function": {"name": "g"}},
          "tools": [{"type": "function", "function": {"name": "f"}}])",
       "tool_choice", "invalid_value"},
      {R"("response_format": {})", "response_format.type", "missing_required_parameter"},
      {R"("parallel_tool_calls": 1)", "parallel_tool_calls", "invalid_value"},
      {R"("functions": [{"description": "x"}])", "functions[0].name", "missing_required_parameter"},
      {R"("functions": [{"name": "f"}], "function_call": {"name": "g"})", "function_call", "invalid_value"},
      {R"("functions": [{"name": "f"}], "tools": [{"type": "function", "function": {"name": "f"}}])", "functions",
       "invalid_value"},
      {R"("function_call": "required")", "function_call", "invalid_value"},
      {R"("modalities": ["text", "audio"])", "modalities", "unsupported_parameter"},
      {R"("chat_template_kwargs": {"messages": []})", "chat_template_kwargs.messages", "unknown_parameter"},
      {R"("echo": true)", "echo", "unknown_parameter"},
  };
  for (const Case& c : cases) {
    INFO(c.members);
    const auto failure = failure_of([&] { parse_chat(chat_with(c.members)); });
    CHECK(failure.status == 400);
    CHECK(failure.param == c.param);
    CHECK(failure.code == c.code);
    CHECK(failure.message.find(c.param) != std::string::npos);
  }
  CHECK(failure_of([] { parse_chat("{}"); }).param == "messages");
  CHECK(failure_of([] { parse_chat("[]"); }).status == 400);
  CHECK(failure_of([] { parse_chat(""); }).code == "invalid_json");
}

TEST_CASE("a thousand template variables are enough") {
  const auto failure_with = [](int count) {
    std::string members;
    for (int i = 0; i < count; ++i) members += (i ? ",\"v" : "\"v") + std::to_string(i) + "\":0";
    return failure_of([&] { parse_chat(chat_with("\"chat_template_kwargs\": {" + members + "}")); });
  };
  CHECK(failure_with(1000).status == 0);
  const auto failure = failure_with(1001);
  CHECK(failure.status == 400);
  CHECK(failure.param == "chat_template_kwargs");
}

TEST_CASE("an endless name or value is cut in the message") {
  const std::string name(1 << 20, 'x');
  CHECK(failure_of([&] { parse_chat(chat_with("\"" + name + "\": 1")); }).message.size() < 200);
  CHECK(failure_of([&] { parse_chat(chat_with(R"("temperature": ")" + name + "\"")); }).message.size() < 200);
}

TEST_CASE("a completion's prompt has four forms") {
  const auto prompts = [](const char* prompt) {
    return parse_completion(std::string(R"({"prompt": )") + prompt + "}").prompts;
  };
  using Tokens = std::vector<TokenId>;
  CHECK(prompts(R"("a")") == std::vector<Prompt>{"a"});
  CHECK(prompts(R"(["a", "b"])") == std::vector<Prompt>{"a", "b"});
  CHECK(prompts("[1, 2]") == std::vector<Prompt>{Tokens{1, 2}});
  CHECK(prompts("[[1], [2, 3]]") == std::vector<Prompt>{Tokens{1}, Tokens{2, 3}});
  const std::pair<const char*, const char*> faults[] = {{"5", "prompt"},
                                                        {"[]", "prompt"},
                                                        {"{}", "prompt"},
                                                        {"[[]]", "prompt[0]"},
                                                        {R"(["a", 1])", "prompt[1]"},
                                                        {R"([1, "a"])", "prompt[1]"},
                                                        {"[-1]", "prompt[0]"},
                                                        {"[1.5]", "prompt[0]"},
                                                        {"[null]", "prompt[0]"},
                                                        {"[[1], 2]", "prompt[1]"},
                                                        {"[1, 2, 2147483648]", "prompt[2]"},
                                                        {"[[1], [2, true]]", "prompt[1][1]"}};
  for (const auto& fault : faults) {
    INFO(fault.first);
    CHECK(failure_of([&] { prompts(fault.first); }).param == fault.second);
  }
  CHECK(failure_of([&] { prompts("null"); }).code == "missing_required_parameter");
}

TEST_CASE("fields of text completions") {
  CHECK(parse_completion(text_with(R"("echo": true)")).echo);
  CHECK(parse_completion(text_with(R"("logprobs": 5)")).request.logprobs == 5);
  CHECK(parse_completion(text_with(R"("n": 2, "best_of": 2, "suffix": "")")).n == 2);
  const auto param = [](const char* members) {
    return failure_of([&] { parse_completion(text_with(members)); }).param;
  };
  CHECK(param(R"("logprobs": 6)") == "logprobs");
  CHECK(param(R"("logprobs": true)") == "logprobs");
  CHECK(parse_completion(text_with(R"("best_of": 3)")).best_of == 3);
  CHECK(parse_completion(text_with(R"("n": 2)")).best_of == 2);
  CHECK(parse_completion(text_with(R"("suffix": "x")")).suffix == "x");
  CHECK(param(R"("n": 3, "best_of": 2)") == "best_of");
  CHECK(param(R"("best_of": 2, "stream": true)") == "stream");
  CHECK(param(R"("suffix": "x", "echo": true)") == "echo");
  CHECK(failure_of([] { parse_completion(R"({"prompt": [1], "suffix": "x"})"); }).param == "suffix");
  CHECK(param(R"("messages": [])") == "messages");
  CHECK(failure_of([] { parse_completion(R"({"prompt": ["a","b","c"], "n": 128})"); }).param == "n");
}

TEST_CASE("what a completion asks about its prompt") {
  const auto request = [](const char* members) { return parse_completion(text_with(members)).request; };
  const GenerationRequest echo = request(R"("echo": true, "logprobs": 1, "max_tokens": 0)");
  CHECK(echo.prompt_logprobs == 1);
  CHECK(echo.logprobs == 1);
  CHECK(echo.stop_logprob);
  CHECK(echo.prompt_only);
  CHECK(request(R"("echo": true, "logprobs": 1, "prompt_logprobs": 20)").prompt_logprobs == 20);
  CHECK(request(R"("echo": true, "logprobs": 5, "prompt_logprobs": 2)").prompt_logprobs == 5);
  CHECK(request(R"("prompt_logprobs": 2, "max_tokens": 0)").prompt_only);
  CHECK(request(R"("echo": true, "max_tokens": 0)").prompt_only);
  for (const char* plain : {R"("echo": true)", R"("logprobs": 1)", R"("max_tokens": 1)"}) {
    CHECK_FALSE(request(plain).prompt_logprobs);
    CHECK_FALSE(request(plain).stop_logprob);
    CHECK_FALSE(request(plain).prompt_only);
  }
  CHECK(request(R"("echo": true, "logprobs": 0, "stream": true)").prompt_logprobs == 0);
  const auto failure = [](const char* members) { return failure_of([&] { parse_completion(text_with(members)); }); };
  CHECK(failure(R"("max_tokens": 0)").param == "max_tokens");
  CHECK(failure(R"("max_tokens": 0, "logprobs": 1)").message.find("'echo'") != std::string::npos);
  CHECK(failure(R"("prompt_logprobs": 21)").param == "prompt_logprobs");
  CHECK(failure(R"("prompt_logprobs": -1)").param == "prompt_logprobs");
  CHECK(failure(R"("prompt_logprobs": 0, "stream": true)").param == "prompt_logprobs");
  CHECK(parse_chat(chat_with(R"("prompt_logprobs": 3)")).request.prompt_logprobs == 3);
  CHECK(failure_of([] { parse_chat(chat_with(R"("prompt_logprobs": 3, "max_tokens": 0)")); }).param == "max_tokens");
}

TEST_CASE("tokenise and detokenise bodies") {
  CHECK(std::get<std::string>(parse_tokenize(R"({"content": "x", "add_special": true})").text) == "x");
  CHECK(std::get<std::string>(parse_tokenize(R"({"prompt": "x"})").text) == "x");
  CHECK(std::get<ChatPrompt>(parse_tokenize(R"({"messages": [{"role": "user", "content": "x"}]})").text)
            .messages.size() == 1);
  CHECK(failure_of([] { parse_tokenize("{}"); }).param == "content");
  CHECK(failure_of([] { parse_tokenize(R"({"content": "x", "prompt": "y"})"); }).param == "prompt");
  CHECK(failure_of([] {
          parse_tokenize(R"({"content": "x", "tools": [{"type": "function", "function": {"name": "f"}}]})");
        }).param == "messages");
  CHECK(parse_detokenize(R"({"tokens": [1, 2]})").tokens == std::vector<TokenId>{1, 2});
  CHECK(failure_of([] { parse_detokenize("{}"); }).param == "tokens");
  CHECK(failure_of([] { parse_detokenize(R"({"tokens": ["a"]})"); }).param == "tokens[0]");
  CHECK(failure_of([] { parse_detokenize(R"({"tokens": "a"})"); }).param == "tokens");
}
