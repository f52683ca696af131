// Bodies of the other dialects: what reaches the one internal request, and what is refused by name.
#include <catch2/catch.hpp>

#include "api/anthropic/request.hpp"
#include "api/openai/embedding_request.hpp"
#include "api/openai/responses_request.hpp"
#include "api/takeoff/request.hpp"
#include "tests/unit/api/failure.hpp"

using namespace nacelle;
using openai::Json;
using openai::to_text;
using test::failure_of;

namespace {

std::string message_body(const std::string& members) {
  return R"({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}])" +
         (members.empty() ? "" : ", " + members) + "}";
}

std::string anthropic_messages(const char* messages) {
  return to_text(
      anthropic::parse_messages(std::string(R"({"model": "m", "max_tokens": 9, "messages": )") + messages + "}")
          .prompt.messages);
}

std::string input_messages(const char* input) {
  return to_text(openai::parse_responses(std::string(R"({"input": )") + input + "}").prompt.messages);
}

}  // namespace

TEST_CASE("Anthropic's fields reach the request") {
  const auto body = anthropic::parse_messages(message_body(R"("system": [{"type": "text", "text": "Be brief.",
      "cache_control": {"type": "ephemeral"}}], "stop_sequences": ["a", "b"], "stream": true, "temperature": 0.5,
      "top_p": 0.25, "top_k": 7, "metadata": {"user_id": "u"}, "thinking": {"type": "disabled"},
      "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
      "tool_choice": {"type": "auto", "disable_parallel_tool_use": true})"));
  CHECK(body.model == "m");
  CHECK(body.stream);
  CHECK(body.request.max_tokens == 9);
  CHECK(body.request.stop == std::vector<std::string>{"a", "b"});
  CHECK(body.request.sampling.temperature == 0.5f);
  CHECK(body.request.sampling.top_p == 0.25f);
  CHECK(body.request.sampling.top_k == 7);
  CHECK(to_text(body.prompt.messages) == R"([{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}])");
  CHECK(to_text(body.prompt.tools) ==
        R"([{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}])");
  CHECK(to_text(body.prompt.template_variables) == R"({"enable_thinking":false})");
  CHECK_FALSE(body.prompt.parallel_calls);
  const auto output = anthropic::parse_messages(message_body(R"("thinking": {"type": "adaptive"}, "output_config":
      {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}})"));
  CHECK(output.constraint->text == R"({"type":"object"})");
  CHECK(output.prompt.reasoning_effort == "high");
  CHECK(output.prompt.template_variables.empty());
  CHECK(anthropic::parse_count_tokens(R"({"model": "m", "messages": [{"role": "user", "content": "x"}]})").model ==
        "m");
}

TEST_CASE("Anthropic's blocks become messages of a chat") {
  CHECK(anthropic_messages(R"([{"role": "user", "content": "Weather?"},
      {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "text", "text": "I look."}, {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
      {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "5"}]},
        {"type": "tool_result", "tool_use_id": "t2", "is_error": true},
        {"type": "text", "text": "So?"}]}])") ==
        R"([{"role":"user","content":"Weather?"},)"
        R"({"role":"assistant","content":"I look.","reasoning_content":"Hm.","tool_calls":[)"
        R"({"type":"function","function":{"name":"f","arguments":{"a":1}},"id":"t1"}]},)"
        R"({"role":"tool","content":"5","tool_call_id":"t1"},)"
        R"({"role":"tool","content":"error","tool_call_id":"t2"},{"role":"user","content":"So?"}])");
  const auto body = anthropic::parse_messages(R"({"model": "m", "max_tokens": 9, "messages": [
      {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well,"}]})");
  CHECK(body.prompt.prefill == "Well,");
  CHECK(body.prompt.messages.size() == 1);
}

TEST_CASE("what Anthropic's API lacks is named") {
  const auto param = [](const std::string& members) {
    return failure_of([&] { anthropic::parse_messages(message_body(members)); }).param;
  };
  CHECK(param("") == "");
  CHECK(param(R"("colour": 1)") == "colour");
  CHECK(param(R"("temperature": 1.5)") == "temperature");
  CHECK(param(R"("tools": [{"name": "f"}])") == "tools[0].input_schema");
  CHECK(param(R"("tools": [{"type": "bash_20250124", "name": "bash"}])") == "tools[0].type");
  CHECK(param(R"("tool_choice": {"type": "any"})") == "tools");
  CHECK(param(R"("thinking": {"type": "enabled"})") == "thinking.budget_tokens");
  CHECK(param(R"("thinking": {"type": "enabled", "budget_tokens": 2000})") == "thinking.budget_tokens");
  CHECK(param(R"("stop_sequences": [""])") == "stop_sequences[0]");
  CHECK(param(R"("service_tier": "priority")") == "service_tier");
  const auto content = [](const char* blocks) { return failure_of([&] { anthropic_messages(blocks); }).param; };
  CHECK(param(R"("output_config": {"format": {"type": "xml"}})") == "output_config.format.type");
  CHECK(param(R"("output_config": {"format": {"type": "json_schema"}})") == "output_config.format.schema");
  CHECK(content("[]") == "messages");
  CHECK(content(R"([{"role": "assistant", "content": "x"}])") == "messages");
  CHECK(content(R"([{"role": "user"}])") == "messages[0].content");
  CHECK(content(R"([{"role": "user", "content": [{"type": "image"}]}])") == "messages[0].content[0].type");
  CHECK(content(R"([{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]}])") ==
        "messages[0].content[0].type");
  CHECK(content(R"([{"role": "user", "content": [{"type": "text"}]}])") == "messages[0].content[0].text");
  CHECK(failure_of([] { anthropic::parse_messages(R"({"messages": []})"); }).param == "messages");
  CHECK(failure_of([] {
          anthropic::parse_count_tokens(
              R"({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]})");
        }).param == "max_tokens");
}

TEST_CASE("input items become messages of a chat") {
  CHECK(input_messages(R"("Hi")") == R"([{"role":"user","content":"Hi"}])");
  CHECK(input_messages(R"([{"role": "developer", "content": "Brief."},
      {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
      {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
      {"type": "message", "id": "m", "status": "completed", "role": "assistant",
       "content": [{"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}]},
      {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1}"},
      {"type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}"},
      {"type": "function_call_output", "call_id": "c1", "output": "5"}])") ==
        R"([{"role":"system","content":"Brief."},{"role":"user","content":"ab"},)"
        R"({"role":"assistant","content":"I look.","reasoning_content":"Hm.","tool_calls":[)"
        R"({"type":"function","function":{"name":"f","arguments":{"a":1}},"id":"c1"},)"
        R"({"type":"function","function":{"name":"g","arguments":{}},"id":"c2"}]},)"
        R"({"role":"tool","content":"5","tool_call_id":"c1"}])");
}

TEST_CASE("what the responses API lacks is named") {
  const auto param = [](const std::string& members) {
    return failure_of([&] { openai::parse_responses(R"({"input": "Hi", )" + members + "}"); }).param;
  };
  CHECK(param(R"("include": ["reasoning.encrypted_content"])") == "");
  CHECK(param(R"("include": ["reasoning.encrypted_content", "file_search_call.results"])") == "include[1]");
  CHECK(param(R"("text": {"format": {"type": "json_schema"}})") == "text.format.json_schema.schema");
  CHECK(param(R"("text": {"format": {"type": "xml"}})") == "text.format.type");
  CHECK(param(R"("tools": [{"type": "function", "name": "f", "strict": 1}])") == "tools[0].strict");
  CHECK(param(R"("tools": [{"type": "mcp"}])") == "tools[0].type");
  CHECK(param(R"("tool_choice": {"type": "function", "name": "f"})") == "tools");
  CHECK(param(R"("truncation": "auto")") == "truncation");
  CHECK(param(R"("max_tokens": 5)") == "max_tokens");
  const auto body = openai::parse_responses(
      R"({"input": "Hi", "tools": [{"type": "function", "name": "f"}], "max_output_tokens": 5, "store": false})");
  CHECK(body.request.max_tokens == 5);
  CHECK_FALSE(body.store);
  CHECK(to_text(body.prompt.tools) == R"([{"type":"function","function":{"name":"f"}}])");
  CHECK(to_text(body.repeated["tools"]) == R"([{"type":"function","name":"f","parameters":null,"strict":false}])");
}

TEST_CASE("Takeoff's fields and defaults") {
  const auto body = takeoff::parse_generate(R"({"text": "a"})");
  CHECK(body.texts == std::vector<std::string>{"a"});
  CHECK_FALSE(body.list);
  CHECK(body.consumer_group == "primary");
  CHECK(body.request.max_tokens == 128);
  CHECK(body.request.sampling.top_k == 1);
  const auto all = takeoff::parse_generate(R"({"text": ["a", "b"], "sampling_temperature": 0.5, "sampling_topp": 0.25,
      "sampling_topk": 9, "repetition_penalty": 1.5, "max_new_tokens": 3, "consumer_group": "g", "regex_string": ""})");
  CHECK(all.list);
  CHECK(all.request.sampling.temperature == 0.5f);
  CHECK(all.request.sampling.top_p == 0.25f);
  CHECK(all.request.sampling.top_k == 9);
  CHECK(all.request.sampling.repetition_penalty == 1.5f);
  CHECK(all.request.max_tokens == 3);
  for (const char* field : {"json_schema", "regex_string", "no_repeat_ngram_size", "min_new_tokens"}) {
    const std::string text = std::string(R"({"text": "a", ")") + field + R"(": 7})";
    CHECK(failure_of([&] { takeoff::parse_generate(text); }).param == field);
  }
}

TEST_CASE("bodies of embeddings and rerank") {
  const auto inputs = [](const char* input) {
    return openai::parse_embedding(std::string(R"({"input": )") + input + "}").inputs;
  };
  using Tokens = std::vector<TokenId>;
  CHECK(inputs(R"("a")") == std::vector<openai::Prompt>{"a"});
  CHECK(inputs("[1, 2]") == std::vector<openai::Prompt>{Tokens{1, 2}});
  CHECK(inputs(R"(["a", "b"])") == std::vector<openai::Prompt>{"a", "b"});
  CHECK(failure_of([&] { inputs(R"(["a", 1])"); }).param == "input");
  CHECK(openai::parse_embedding(R"({"input": "a", "encoding_format": "base64", "normalize": false})").base64);
  CHECK(failure_of([] { openai::parse_embedding(R"({"input": "a", "dimensions": 5})"); }).param == "dimensions");
  CHECK(openai::parse_rerank(R"({"query": "q", "documents": ["a", "b"], "top_n": 1})").documents.size() == 2);
  CHECK(openai::parse_rerank(R"({"query": "q", "documents": ["a", "b"], "top_n": 1})").top_n == 1);
  CHECK(failure_of([] { openai::parse_rerank(R"({"query": "q", "documents": [1]})"); }).param == "documents[0]");
  for (const auto& [bytes, text] :
       {std::pair{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}}) {
    CHECK(openai::to_base64(bytes) == text);
  }
}
