// Bodies of the other dialects: what reaches the one internal request, and what is refused by name.
#include <catch2/catch.hpp>

#include "api/anthropic/request.hpp"
#include "api/openai/embedding_request.hpp"
#include "api/openai/query.hpp"
#include "api/openai/responses_request.hpp"
#include "api/takeoff/request.hpp"
#include "tests/unit/api/failure.hpp"

using namespace nacelle;
using fields::Json;
using fields::to_text;
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

TEST_CASE("what Claude Code and Anthropic's clients send beside it") {
  const auto body = anthropic::parse_messages(message_body(R"("thinking": {"type": "adaptive", "display": "summarized"},
      "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}, "speed": "standard",
      "tools": [{"name": "f", "input_schema": {}, "eager_input_streaming": true, "defer_loading": false,
                 "allowed_callers": ["direct"], "cache_control": {"type": "ephemeral"}}])"));
  CHECK(to_text(body.prompt.tools) == R"([{"type":"function","function":{"name":"f","parameters":{}}}])");
  CHECK(anthropic::parse_count_tokens(R"({"model": "m", "messages": [{"role": "user", "content": "x"}],
      "output_config": {"effort": "low"}, "context_management": {"edits": []}})")
            .prompt.reasoning_effort == "low");
  CHECK(anthropic_messages(R"([{"role": "user", "content": [{"type": "text", "text": "a"}]},
      {"role": "user", "content": "b"}, {"role": "system", "content": "New rules."},
      {"role": "system", "content": [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}]},
      {"role": "user", "content": "e"}])") ==
        R"([{"role":"user","content":"a\nb"},{"role":"system","content":"New rules."},)"
        R"({"role":"system","content":"c\nd"},{"role":"user","content":"e"}])");
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

TEST_CASE("what Anthropic's newest clients send") {
  const auto body = anthropic::parse_messages(message_body(R"("diagnostics": null, "user_profile_id": null,
      "workspace_id": null, "thread": null, "thinking": {"type": "adaptive", "display": "omitted", "effort": null})"));
  CHECK(body.omit_thinking);
  CHECK_FALSE(anthropic::parse_messages(message_body("")).omit_thinking);
  CHECK(anthropic_messages(R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": [
        {"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "b"}]}, {"role": "user", "content": "c"},
        {"role": "assistant", "content": []}, {"role": "user", "content": "d"}])") ==
        R"([{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},)"
        R"({"role":"assistant","content":""},{"role":"user","content":"d"}])");
}

TEST_CASE("tools that are deferred are in the prompt once a result has loaded them") {
  const auto prompt = [](const std::string& result) {
    return anthropic::parse_messages(R"({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "a"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "search", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [)" +
                                     result + R"(]}]}],
        "tools": [{"name": "search", "input_schema": {}}, {"name": "f", "input_schema": {}, "defer_loading": true},
        {"name": "g", "input_schema": {}, "defer_loading": true, "input_examples": [{"a": 1}]}]})")
        .prompt;
  };
  const auto names = [](const Json& tools) {
    std::string all;
    for (const Json& tool : tools) all += tool["function"]["name"].get<std::string>() + " ";
    return all;
  };
  CHECK(names(prompt("").tools) == "search ");
  const auto loaded = prompt(R"({"type": "tool_reference", "tool_name": "g"})");
  CHECK(names(loaded.tools) == "search g ");
  CHECK(loaded.tools[1]["function"]["parameters"] == Json({{"examples", {{{"a", 1}}}}}));
  CHECK(loaded.messages.back()["content"] == "Loaded tool: g");
}

TEST_CASE("what Anthropic's API lacks is named") {
  const auto param = [](const std::string& members) {
    return failure_of([&] { anthropic::parse_messages(message_body(members)); }).param;
  };
  CHECK(param("") == "");
  CHECK(param(R"("colour": 1)") == "colour");
  CHECK(param(R"("temperature": 1.5)") == "temperature");
  CHECK(param(R"("tools": [{"name": "f"}])") == "tools[0].input_schema");
  CHECK(param(R"("tools": [{"name": "", "input_schema": {}}])") == "tools[0].name");
  CHECK(param(R"("tools": [{"type": "bash_20250124", "name": "bash"}])") == "tools[0].type");
  CHECK(param(R"("tool_choice": {"type": "any"})") == "tools");
  CHECK(param(R"("thinking": {"type": "enabled"})") == "thinking.budget_tokens");
  CHECK(param(R"("thinking": {"type": "enabled", "budget_tokens": 2000})") == "thinking.budget_tokens");
  CHECK(param(R"("stop_sequences": [""])") == "stop_sequences[0]");
  CHECK(param(R"("service_tier": "priority")") == "service_tier");
  CHECK(param(R"("context_management": {"edits": [{"type": "clear_thinking_20251015"}]})") ==
        "context_management.edits[0].keep");
  CHECK(param(R"("context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]})") ==
        "context_management.edits[0].type");
  CHECK(param(R"("thinking": {"type": "adaptive", "display": "shouted"})") == "thinking.display");
  CHECK(param(R"("thread": {"type": "create"})") == "thread");
  CHECK(param(R"("user_profile_id": "u")") == "user_profile_id");
  CHECK(param(R"("tools": [{"name": "f", "input_schema": {}, "input_examples": [1]}])") ==
        "tools[0].input_examples[0]");
  const auto content = [](const char* blocks) { return failure_of([&] { anthropic_messages(blocks); }).param; };
  CHECK(param(R"("output_config": {"format": {"type": "xml"}})") == "output_config.format.type");
  CHECK(param(R"("output_config": {"format": {"type": "json_schema"}})") == "output_config.format.schema");
  CHECK(content("[]") == "messages");
  CHECK(content(R"([{"role": "assistant", "content": "x"}])") == "messages");
  CHECK(content(R"([{"role": "user"}])") == "messages[0].content");
  CHECK(content(R"([{"role": "user", "content": []}])") == "messages[0].content");
  CHECK(content(R"([{"role": "user", "content": [{"type": "tool_reference", "tool_name": "f"}]}])") ==
        "messages[0].content[0].type");
  CHECK(content(R"([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [
      {"type": "tool_reference", "tool_name": "f"}]}]}])") == "messages[0].content[0].content[0].tool_name");
  CHECK(content(R"([{"role": "system", "content": "x"}, {"role": "user", "content": "x"}])") == "messages[0].role");
  CHECK(content(R"([{"role": "user", "content": [{"type": "image"}]}])") == "messages[0].content[0].type");
  CHECK(content(R"([{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]}])") ==
        "messages[0].content[0].type");
  CHECK(content(R"([{"role": "user", "content": [{"type": "text"}]}])") == "messages[0].content[0].text");
  CHECK(content(R"([{"role": "user", "content": "x"}, {"role": "assistant", "content": [
      {"type": "tool_use", "id": "a", "name": "f", "input": null}]}])") == "messages[1].content[0].input");
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
      {"type": "message", "id": "m", "status": "completed", "role": "assistant", "phase": "commentary",
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
  CHECK(param(R"("include": ["reasoning.encrypted_content", "file_search_call.results"])") == "");
  CHECK(param(R"("include": ["reasoning.encrypted_content", "everything"])") == "include[1]");
  CHECK(param(R"("text": {"format": {"type": "json_schema"}})") == "text.format.json_schema.schema");
  CHECK(param(R"("text": {"format": {"type": "xml"}})") == "text.format.type");
  CHECK(param(R"("tools": [{"type": "function", "name": "f", "strict": 1}])") == "tools[0].strict");
  CHECK(param(R"("tools": [{"type": "function", "name": ""}])") == "tools[0].name");
  CHECK(param(R"("tools": [{"type": "mcp"}])") == "tools[0].type");
  CHECK(param(R"("tool_choice": {"type": "function", "name": "f"})") == "tools");
  CHECK(param(R"("truncation": "auto")") == "");
  CHECK(param(R"("truncation": "some")") == "truncation");
  CHECK(param(R"("background": true, "store": false)") == "store");
  CHECK(param(R"("conversation": "conv_1", "previous_response_id": "resp_1")") == "previous_response_id");
  CHECK(param(R"("conversation": {})") == "conversation");
  CHECK(param(R"("top_logprobs": 21)") == "top_logprobs");
  CHECK(param(R"("metadata": {"a": 1})") == "metadata.a");
  CHECK(param(R"("text": {"verbosity": "low"})") == "text.verbosity");
  CHECK(param(R"("reasoning": {"context": "all_turns"})") == "reasoning.context");
  CHECK(param(R"("prompt_cache_options": {"mode": "implicit"}, "prompt_cache_retention": "in_memory")") == "");
  CHECK(param(R"("prompt_cache_retention": "24h")") == "prompt_cache_retention");
  CHECK(param(R"("max_tokens": 5)") == "max_tokens");
  CHECK(param(R"("client_metadata": {"session_id": "s"})") == "");  // Codex
  const auto body = openai::parse_responses(
      R"({"input": "Hi", "tools": [{"type": "function", "name": "f"}], "max_output_tokens": 5, "store": false})");
  CHECK(body.request.max_tokens == 5);
  CHECK_FALSE(body.store);
  CHECK(to_text(body.prompt.tools) == R"([{"type":"function","function":{"name":"f"}}])");
  CHECK(to_text(body.repeated["tools"]) == R"([{"type":"function","name":"f","parameters":null,"strict":false}])");
}

TEST_CASE("a response repeats what it was asked for") {
  const auto body = openai::parse_responses(
      R"({"input": "Hi", "background": true, "truncation": "auto", "max_tool_calls": 3, "prompt_cache_key": "k",
          "safety_identifier": "s", "conversation": {"id": "conv_1"}, "top_logprobs": 2})");
  CHECK(body.background);
  CHECK(body.truncate);
  CHECK(body.conversation == "conv_1");
  CHECK(body.request.logprobs == 2u);
  const Json asked = Json::parse(R"({"background": true, "truncation": "auto", "max_tool_calls": 3,
      "prompt_cache_key": "k", "safety_identifier": "s", "conversation": {"id": "conv_1"}, "top_logprobs": 2})");
  for (const auto& [name, value] : asked.items()) CHECK(body.repeated[name] == value);
  const auto logprobs = [](const char* include) {
    return openai::parse_responses(std::string(R"({"input": "Hi", "include": [)") + include + "]}").request.logprobs;
  };
  CHECK_FALSE(logprobs(R"("reasoning.encrypted_content")"));
  CHECK(logprobs(R"("message.output_text.logprobs")") == 0u);
}

TEST_CASE("input items as the API lists them") {
  const auto body = openai::parse_responses(R"({"input": [{"role": "user", "content": "a"},
      {"id": "m", "type": "message", "role": "assistant", "status": "incomplete", "content": [{"type": "output_text", "text": "b"}]},
      {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
      {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "d"}]}]})");
  CHECK(
      to_text(body.items) ==
      R"([{"id":"","type":"message","status":"completed","role":"user","content":[{"type":"input_text","text":"a"}]},)"
      R"({"id":"m","type":"message","status":"incomplete","role":"assistant","content":[{"type":"output_text","text":"b","annotations":[],"logprobs":[]}]},)"
      R"({"id":"","type":"function_call","status":"completed","call_id":"c","name":"f","arguments":"{}"},)"
      R"({"id":"","type":"function_call_output","status":"completed","call_id":"c","output":"d"}])");
  Json items = body.items;
  openai::name_items(items, {&body.items[1]});  // its id is taken
  CHECK(items[0]["id"].get<std::string>().starts_with("msg_"));
  CHECK(items[1]["id"].get<std::string>().starts_with("msg_"));
  CHECK(items[2]["id"].get<std::string>().starts_with("fc_"));
  CHECK(items[3]["id"].get<std::string>().starts_with("fco_"));
  CHECK(openai::parse_items("conversation", items).messages == body.prompt.messages);
}

TEST_CASE("a reference stands for the item that has its id") {
  std::string asked;
  const openai::FindItem find = [&](const std::string& path, const std::string& id) {
    asked += path + ":" + id + " ";
    return Json::parse(R"({"id": "m", "type": "message", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "b", "annotations": [], "logprobs": []}]})");
  };
  const char* text =
      R"({"input": [{"role": "user", "content": "a"}, {"type": "item_reference", "id": "m"}, {"id": "n"}]})";
  const auto body = openai::parse_responses(text, find);
  CHECK(asked == "input[1]:m input[2]:n ");
  CHECK(body.items[1]["id"] == "m");
  CHECK(to_text(body.prompt.messages) == R"([{"role":"user","content":"a"},{"role":"assistant","content":"bb"}])");
  const auto fault = [&](const char* item) {
    return failure_of([&] { openai::parse_responses(std::string(R"({"input": [)") + item + "]}", find); }).param;
  };
  CHECK(fault(R"({"type": "item_reference"})") == "input[0].id");
  CHECK(fault(R"({"type": "item_reference", "id": "m", "role": "user"})") == "input[0].role");
  CHECK(failure_of([&] { openai::parse_responses(text); }).param == "input[1].type");  // nothing to look in
}

TEST_CASE("what counts for the prompt is all that counting takes") {
  CHECK(openai::parse_input_tokens(R"({"input": "Hi", "instructions": "Be brief."})").instructions == "Be brief.");
  CHECK(openai::parse_input_tokens(R"({"previous_response_id": "resp_1"})").prompt.messages.empty());
  CHECK(failure_of([] { openai::parse_input_tokens("{}"); }).param == "input");
  CHECK(failure_of([] { openai::parse_input_tokens(R"({"input": "Hi", "stream": true})"); }).param == "stream");
}

TEST_CASE("pages of models, as Anthropic's clients ask for them") {
  std::vector<Json> items;
  for (int i = 0; i < 25; ++i) items.push_back({{"id", std::to_string(i)}});
  items.push_back({{"id", "007"}});
  const auto page = [&](std::vector<std::pair<std::string, std::string>> query, bool anthropic = false) {
    std::vector<const Json*> all;
    for (const Json& item : items) all.push_back(&item);
    http::Request request;
    request.query = std::move(query);
    if (anthropic) request.headers = {{"anthropic-version", "2023-06-01"}};
    const Json list = openai::model_page(all, request);
    const auto id = [&](const char* name) { return list[name].is_null() ? "-" : list[name].get<std::string>(); };
    return id("first_id") + " to " + id("last_id") + " of " + std::to_string(list["data"].size()) +
           (list["has_more"] == true ? " +" : "");
  };
  CHECK(page({}) == "0 to 007 of 26");
  CHECK(page({}, true) == "0 to 19 of 20 +");
  CHECK(page({{"limit", "1000"}}, true) == "0 to 007 of 26");
  CHECK(page({{"limit", "2"}}) == "0 to 1 of 2 +");
  CHECK(page({{"limit", "2"}, {"after_id", "1"}}) == "2 to 3 of 2 +");
  CHECK(page({{"limit", "2"}, {"after_id", "23"}}) == "24 to 007 of 2");
  CHECK(page({{"limit", "2"}, {"before_id", "007"}}) == "23 to 24 of 2 +");
  CHECK(page({{"limit", "2"}, {"before_id", "2"}}) == "0 to 1 of 2");
  CHECK(page({{"after_id", "007"}}) == "- to - of 0");
  CHECK(page({{"before_id", "0"}}, true) == "- to - of 0");
  CHECK(page({{"beta", "true"}, {"client_version", "0.171.0"}, {"api-version", "2024-10-21"}}) == "0 to 007 of 26");
  const auto wrong = [&](std::vector<std::pair<std::string, std::string>> query) {
    return failure_of([&] { page(std::move(query)); }).param;
  };
  CHECK(wrong({{"limit", "0"}}) == "limit");
  CHECK(wrong({{"limit", "1001"}}) == "limit");
  CHECK(wrong({{"after_id", "7"}, {"before_id", "9"}}) == "before_id");
  CHECK(wrong({{"after_id", "none"}}) == "after_id");
  CHECK(wrong({{"after_id", "1"}, {"after_id", "2"}}) == "after_id");
  CHECK(wrong({{"before_id", ""}}) == "before_id");
  CHECK(wrong({{"lmit", "2"}}) == "lmit");
}

TEST_CASE("pages of items by a query") {
  std::vector<Json> items;
  for (const char* id : {"a", "b", "c"}) items.push_back({{"id", id}});
  const auto page = [&](std::vector<std::pair<std::string, std::string>> query) {
    http::Request request;
    request.query = std::move(query);
    const Json list = openai::item_page({&items[0], &items[1], &items[2]}, request);
    std::string ids = list["has_more"] == true ? "+" : "";
    for (const Json& item : list["data"]) ids += item["id"].get<std::string>();
    return ids + " " + list["first_id"].get<std::string>() + list["last_id"].get<std::string>();
  };
  CHECK(page({}) == "cba ca");
  CHECK(page({{"order", "asc"}, {"limit", "2"}}) == "+ab ab");
  CHECK(page({{"order", "asc"}, {"limit", "2"}, {"after", "b"}}) == "c cc");
  CHECK(page({{"after", "a"}}) == " ");
  CHECK(page({{"include[]", "message.output_text.logprobs"}, {"include[]", "file_search_call.results"}}) == "cba ca");
  const auto wrong = [&](const std::string& name, const std::string& value) {
    return failure_of([&] { page({{name, value}}); }).param;
  };
  CHECK(wrong("limit", "0") == "limit");
  CHECK(wrong("limit", "101") == "limit");
  CHECK(wrong("limit", "x") == "limit");
  CHECK(wrong("order", "up") == "order");
  CHECK(wrong("after", "d") == "after");
  CHECK(wrong("before", "a") == "before");
  CHECK(wrong("include", "all") == "include[0]");
}

TEST_CASE("Takeoff's fields and defaults") {
  const auto body = takeoff::parse_generate(R"({"text": "a"})");
  CHECK(body.texts == std::vector<std::string>{"a"});
  CHECK_FALSE(body.list);
  CHECK(body.consumer_group == "primary");
  CHECK(body.request.max_tokens == 128);
  CHECK(body.request.sampling.top_k == 1);
  const auto all = takeoff::parse_generate(R"({"text": ["a", "b"], "sampling_temperature": 0.5, "sampling_topp": 0.25,
      "sampling_topk": 9, "repetition_penalty": 1.5, "max_new_tokens": 3, "min_new_tokens": 3, "consumer_group": "g", "regex_string": ""})");
  CHECK(all.list);
  CHECK(all.request.sampling.temperature == 0.5f);
  CHECK(all.request.sampling.top_p == 0.25f);
  CHECK(all.request.sampling.top_k == 9);
  CHECK(all.request.sampling.repetition_penalty == 1.5f);
  CHECK(all.request.max_tokens == 3);
  CHECK(all.request.min_tokens == 3);
  for (const char* field : {"json_schema", "regex_string", "no_repeat_ngram_size", "min_new_tokens"}) {
    const std::string text = std::string(R"({"text": "a", "max_new_tokens": 6, ")") + field + R"(": 7})";
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
  CHECK(failure_of([&] { inputs(R"(["a", 1])"); }).param == "input[1]");
  CHECK(failure_of([&] { inputs("[7, -7]"); }).param == "input[1]");
  CHECK(openai::parse_embedding(R"({"input": "a", "encoding_format": "base64", "normalize": false})").base64);
  CHECK(failure_of([] { openai::parse_embedding(R"({"input": "a", "dimensions": 5})"); }).param == "dimensions");
  CHECK(openai::parse_rerank(R"({"query": "q", "documents": ["a", "b"], "top_n": 1})").documents.size() == 2);
  CHECK(openai::parse_rerank(R"({"query": "q", "documents": ["a", "b"], "top_n": 1})").top_n == 1);
  CHECK(failure_of([] { openai::parse_rerank(R"({"query": "q", "documents": [1]})"); }).param == "documents[0]");
  CHECK(failure_of([] { openai::parse_rerank(R"({"query": "q", "documents": []})"); }).message ==
        "'documents' must be a list of at least one document, not an empty array");
  CHECK(openai::parse_rerank(R"({"query": "q", "documents": [{"text": "a"}, "b"]})").documents ==
        std::vector<std::string>{"a", "b"});
  CHECK(failure_of([] { openai::parse_rerank(R"({"query": "q", "documents": [{"title": "a"}]})"); }).param ==
        "documents[0].text");
  for (const auto& [bytes, text] :
       {std::pair{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}}) {
    CHECK(openai::to_base64(bytes) == text);
  }
}
