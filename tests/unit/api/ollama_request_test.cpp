// Bodies of Ollama's routes: its defaults, what each member becomes, and what is refused by name.
#include <catch2/catch.hpp>

#include "api/ollama/option_fields.hpp"
#include "api/ollama/request.hpp"
#include "tests/unit/api/failure.hpp"

using namespace nacelle;
using fields::Json;
using fields::to_text;
using test::failure_of;

namespace {

ollama::ChatBody ollama_chat(const std::string& members) {
  return ollama::parse_chat(R"({"model": "m", "messages": [{"role": "user", "content": "Hi"}])" +
                            (members.empty() ? "" : ", " + members) + "}");
}
std::string chat_fault(const std::string& members) {
  return failure_of([&] { ollama_chat(members); }).param;
}
ollama::GenerateBody ollama_prompt(const std::string& members) {
  return ollama::parse_generate(R"({"model": "m", "prompt": "Hi")" + (members.empty() ? "" : ", " + members) + "}");
}
std::string generate_fault(const std::string& members) {
  return failure_of([&] { ollama_prompt(members); }).param;
}
GenerationRequest ollama_options(const std::string& text) {
  return ollama::read_options("options", Json::parse(text)).request;
}
std::string option_refused(const std::string& text) {
  const http::ApiError error = failure_of([&] { ollama_options(text); });
  CHECK((error.status == 0 || error.message.find(error.param) != std::string::npos));  // clients see the message alone
  return error.param;
}
std::string ollama_messages(const char* text) { return to_text(ollama::read_messages("messages", Json::parse(text))); }
std::string message_fault(const char* text) {
  return failure_of([&] { ollama_messages(text); }).param;
}

}  // namespace

TEST_CASE("without options a request has Ollama's defaults") {
  const auto body = ollama_chat("");
  CHECK(body.stream);
  CHECK(body.truncate);
  CHECK_FALSE(body.unload);
  CHECK_FALSE(body.think);
  CHECK(body.request.sampling.temperature == 0.8f);
  CHECK(body.request.sampling.top_k == 40);
  CHECK(body.request.sampling.top_p == 0.9f);
  CHECK(body.request.sampling.repetition_penalty == 1.0f);
  CHECK(body.request.sampling.penalty_window == 64);
  CHECK(body.request.max_tokens == 0);
  CHECK_FALSE(body.request.sampling.seed);
  CHECK(ollama_chat(R"("options": {}, "stream": null)").request.sampling.top_k == 40);
  CHECK(ollama_chat(R"("stream": null)").stream);
}

TEST_CASE("Ollama's options reach the request") {
  const GenerationRequest request = ollama_options(R"({"temperature": 0.5, "top_k": 7, "top_p": 0.25, "min_p": 0.125,
      "typical_p": 0.75, "seed": 42, "stop": ["a", "b"], "num_predict": 9, "repeat_penalty": 1.5, "repeat_last_n": 16,
      "presence_penalty": 0.25, "frequency_penalty": -0.5, "mirostat": 0, "mirostat_tau": 5, "tfs_z": 1.0,
      "penalize_newline": true, "num_keep": 5, "num_batch": 2, "num_gpu": -1, "main_gpu": 0, "num_thread": 8,
      "low_vram": false, "use_mmap": true, "numa": null, "draft_num_predict": 4})");
  const SamplingParams& sampling = request.sampling;
  CHECK(sampling.temperature == 0.5f);
  CHECK(sampling.top_k == 7);
  CHECK(sampling.top_p == 0.25f);
  CHECK(sampling.min_p == 0.125f);
  CHECK(sampling.typical_p == 0.75f);
  CHECK(sampling.seed == 42u);
  CHECK(request.stop == std::vector<std::string>{"a", "b"});
  CHECK(request.max_tokens == 9);
  CHECK(sampling.repetition_penalty == 1.5f);
  CHECK(sampling.penalty_window == 16);
  CHECK(sampling.presence_penalty == 0.25f);
  CHECK(sampling.frequency_penalty == -0.5f);
  CHECK(ollama_options(R"({"stop": "END"})").stop == std::vector<std::string>{"END"});
}

TEST_CASE("numbers of Ollama's that mean something else") {
  for (const char* endless : {R"({"num_predict": -1})", R"({"num_predict": -2})"}) {
    CHECK(ollama_options(endless).max_tokens == 0);
    CHECK_FALSE(ollama_options(endless).prompt_only);
  }
  CHECK(ollama_options(R"({"num_predict": 0})").prompt_only);
  CHECK_FALSE(ollama_options(R"({"seed": -1})").sampling.seed);
  CHECK(ollama_options(R"({"seed": 0})").sampling.seed == 0u);
  CHECK(ollama_options(R"({"top_k": -1})").sampling.top_k == 0);
  CHECK(ollama_options(R"({"repeat_last_n": -1, "repeat_penalty": 1.1})").sampling.penalty_window == 0);
  const SamplingParams off =
      ollama_options(R"({"repeat_last_n": 0, "repeat_penalty": 1.1, "presence_penalty": 1, "frequency_penalty": 1})")
          .sampling;
  CHECK(off.repetition_penalty == 1.0f);
  CHECK(off.presence_penalty == 0.0f);
  CHECK(off.frequency_penalty == 0.0f);
}

TEST_CASE("an option of the wrong type, out of range or unknown is named") {
  for (const char* name : {"temperature",
                           "top_k",
                           "top_p",
                           "min_p",
                           "typical_p",
                           "seed",
                           "num_predict",
                           "repeat_penalty",
                           "repeat_last_n",
                           "presence_penalty",
                           "frequency_penalty",
                           "num_ctx",
                           "num_keep",
                           "num_batch",
                           "num_gpu",
                           "main_gpu",
                           "num_thread",
                           "draft_num_predict",
                           "mirostat",
                           "mirostat_tau",
                           "mirostat_eta",
                           "tfs_z",
                           "penalize_newline",
                           "numa",
                           "low_vram",
                           "f16_kv",
                           "logits_all",
                           "vocab_only",
                           "use_mmap",
                           "use_mlock",
                           "embedding_only",
                           "stop"}) {
    const std::string quoted = '"' + std::string(name) + "\": ";
    for (const char* wrong : {"{}", "[[]]", "[null]", "1e308", "-1e308"}) {
      INFO(name << " " << wrong);
      CHECK(option_refused('{' + quoted + wrong + '}').starts_with("options." + std::string(name)));
    }
    CHECK(option_refused('{' + quoted + "null}") == "");
    if (std::string(name) != "stop") CHECK(option_refused('{' + quoted + "\"1\"}") == "options." + std::string(name));
  }
  CHECK(option_refused(R"({"colour": 1})") == "options.colour");
  CHECK(option_refused(R"({"temperature": -0.1})") == "options.temperature");
  CHECK(option_refused(R"({"num_predict": -3})") == "options.num_predict");
  CHECK(option_refused(R"({"top_k": 1.5})") == "options.top_k");
  CHECK(option_refused(R"({"seed": 18446744073709551615})") == "options.seed");
  CHECK(option_refused(R"({"mirostat": 2})") == "options.mirostat");
  CHECK(option_refused(R"({"tfs_z": 0.5})") == "options.tfs_z");
  CHECK(option_refused(R"({"stop": [""]})") == "options.stop[0]");
  CHECK(option_refused(R"({"stop": ["a", 1]})") == "options.stop[1]");
  CHECK(chat_fault(R"("options": [])") == "options");
}

TEST_CASE("format and think") {
  CHECK_FALSE(ollama_chat(R"("format": "")").constraint);
  CHECK(ollama_chat(R"("format": "json")").constraint->kind == constrain::ConstraintSpec::Kind::kJsonObject);
  CHECK(ollama_chat(R"("format": {"type": "object"})").constraint->text == R"({"type":"object"})");
  for (const char* wrong : {R"("format": "xml")", R"("format": 1)", R"("format": [])", R"("format": true)"})
    CHECK(chat_fault(wrong) == "format");
  CHECK(ollama_chat(R"("think": true)").think->on);
  CHECK_FALSE(ollama_chat(R"("think": false)").think->on);
  CHECK(ollama_chat(R"("think": "max")").think->on);
  CHECK(ollama_chat(R"("think": "low")").think->level == "low");
  for (const char* wrong : {R"("think": "")", R"("think": 1)", R"("think": "none")", R"("think": {})"})
    CHECK(chat_fault(wrong) == "think");
}

TEST_CASE("keep_alive is seconds or a duration of Go's; 0 would unload") {
  for (const char* kept : {"\"5m\"", "300", "-1", "\"-1s\"", "\"1h30m\"", "\"1.5s\"", "0.5", "\"100ms\"", "\"2µs\""}) {
    INFO(kept);
    CHECK_FALSE(ollama_chat(std::string("\"keep_alive\": ") + kept).unload);
  }
  for (const char* gone : {"0", "0.0", "\"0\"", "\"0s\"", "\"-0m\"", "\"0h0m\""}) {
    INFO(gone);
    CHECK(ollama_chat(std::string("\"keep_alive\": ") + gone).unload);
  }
  for (const char* wrong :
       {"\"5\"", "\"\"", "\"m\"", "\"5 m\"", "\"5min\"", "\"1..5s\"", "\".s\"", "\"-\"", "true", "[]", "{}"}) {
    INFO(wrong);
    CHECK(chat_fault(std::string("\"keep_alive\": ") + wrong) == "keep_alive");
  }
}

TEST_CASE("messages become those of a chat template") {
  CHECK(ollama_messages(R"([{"role": "System", "content": "Brief."}, {"role": "USER", "content": "a", "images": []},
      {"role": "assistant", "thinking": "Hm.", "content": "b"}, {"role": "user", "content": ""}])") ==
        R"([{"role":"system","content":"Brief."},{"role":"user","content":"a"},)"
        R"({"role":"assistant","content":"b","reasoning_content":"Hm."},{"role":"user","content":""}])");
  CHECK(ollama_messages("[]") == "[]");
}

// Clients leave out ids, names or both: LangChain's tool results have neither.
TEST_CASE("results find their calls") {
  CHECK(ollama_messages(R"([{"role": "assistant", "tool_calls": [
        {"function": {"name": "f", "arguments": {"a": 1}}},
        {"index": 1, "id": "x", "type": "function", "function": {"index": 1, "name": "g"}}]},
      {"role": "tool", "content": "1", "tool_name": "g"}, {"role": "tool", "content": "2"}])") ==
        R"([{"role":"assistant","content":"","tool_calls":[)"
        R"({"type":"function","function":{"name":"f","arguments":{"a":1}},"id":"call00001"},)"
        R"({"type":"function","function":{"name":"g","arguments":{}},"id":"x"}]},)"
        R"({"role":"tool","content":"1","name":"g","tool_call_id":"x"},)"
        R"({"role":"tool","content":"2","name":"f","tool_call_id":"call00001"}])");
  CHECK(ollama_messages(R"([{"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "f"}},
        {"id": "y", "function": {"name": "f"}}]}, {"role": "tool", "content": "1", "tool_call_id": "y"}])")
            .ends_with(R"({"role":"tool","content":"1","name":"f","tool_call_id":"y"}])"));
  CHECK(ollama_messages(R"([{"role": "tool", "content": "1", "tool_name": "f"}])") ==
        R"([{"role":"tool","content":"1","name":"f"}])");
}

TEST_CASE("what a message of Ollama's cannot have is named") {
  CHECK(message_fault("{}") == "messages");
  CHECK(message_fault("[1]") == "messages[0]");
  CHECK(message_fault(R"([{"content": "x"}])") == "messages[0].role");
  CHECK(message_fault(R"([{"role": "user"}])") == "messages[0].content");
  CHECK(message_fault(R"([{"role": "user", "content": null}])") == "messages[0].content");
  CHECK(message_fault(R"([{"role": "user", "content": [{"type": "text"}]}])") == "messages[0].content");
  CHECK(message_fault(R"([{"role": "developer", "content": "x"}])") == "messages[0].role");
  CHECK(message_fault(R"([{"role": "user", "content": "x", "name": "n"}])") == "messages[0].name");
  CHECK(message_fault(R"([{"role": "user", "content": "x", "images": ["aGk="]}])") == "messages[0].images");
  CHECK(message_fault(R"([{"role": "user", "content": "x", "thinking": "y"}])") == "messages[0].thinking");
  CHECK(message_fault(R"([{"role": "user", "content": "x", "tool_name": "y"}])") == "messages[0].tool_name");
  CHECK(message_fault(R"([{"role": "user", "content": "x", "tool_calls": [{"function": {"name": "f"}}]}])") ==
        "messages[0].tool_calls");
  CHECK(message_fault(R"([{"role": "assistant", "tool_calls": [{}]}])") == "messages[0].tool_calls[0].function.name");
  CHECK(message_fault(R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}])") ==
        "messages[0].tool_calls[0].function.arguments");
}

TEST_CASE("a last message of the assistant's is the beginning of the answer") {
  const auto body = ollama::parse_chat(R"({"model": "m", "messages": [{"role": "user", "content": "Hi"},
      {"role": "assistant", "content": "Well,"}]})");
  CHECK(body.prompt.prefill == "Well,");
  CHECK(body.prompt.messages.size() == 1);
  const auto fault = [](const char* more) {
    return failure_of([&] { ollama::parse_chat(std::string(R"({"model": "m", )") + more + "}"); }).param;
  };
  CHECK(fault(R"("messages": [{"role": "assistant", "content": "x"}])") == "messages");
  CHECK(
      fault(
          R"("messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "thinking": "z"}])") ==
      "messages[1].thinking");
  CHECK(
      fault(
          R"("format": "json", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}])") ==
      "format");
}

TEST_CASE("without messages or a prompt the model is to be loaded") {
  CHECK(ollama::parse_chat(R"({"model": "m"})").prompt.messages.empty());
  CHECK(ollama::parse_chat(R"({"model": "m", "messages": []})").prompt.messages.empty());
  CHECK(ollama::parse_generate(R"({"model": "m"})").prompt.empty());
  CHECK(ollama::parse_embed(R"({"model": "m", "input": ""})").inputs.empty());
  CHECK(ollama::parse_embed(R"({"model": "m", "input": []})").inputs.empty());
  CHECK(ollama::parse_embeddings(R"({"model": "m", "prompt": ""})").inputs.empty());
}

TEST_CASE("a single prompt") {
  const auto body = ollama_prompt(R"("system": "s", "context": [1, 2], "template": "", "images": [], "logprobs": true,
      "top_logprobs": 3, "keep_alive": "5m", "shift": false, "truncate": false)");
  CHECK(body.system == "s");
  CHECK(body.before == std::vector<TokenId>{1, 2});
  CHECK(body.request.logprobs == 3u);
  CHECK_FALSE(body.truncate);
  CHECK(ollama_prompt(R"("raw": true, "think": false)").raw);
  CHECK(ollama_prompt(R"("suffix": "x", "raw": false)").suffix == "x");
  CHECK(generate_fault(R"("template": "{{ .Prompt }}")") == "template");
  CHECK(generate_fault(R"("raw": true, "system": "s")") == "system");
  CHECK(generate_fault(R"("raw": true, "context": [1])") == "context");
  CHECK(generate_fault(R"("raw": true, "suffix": "x")") == "suffix");
  CHECK(generate_fault(R"("raw": true, "think": true)") == "think");
  CHECK(generate_fault(R"("suffix": "x", "system": "s")") == "system");
  CHECK(generate_fault(R"("context": [1.5])") == "context[0]");
  CHECK(generate_fault(R"("context": "x")") == "context");
  CHECK(generate_fault(R"("images": ["x"])") == "images");
  CHECK(generate_fault(R"("tools": [])") == "tools");
  CHECK(generate_fault(R"("top_logprobs": 1)") == "top_logprobs");
  CHECK(generate_fault(R"("top_logprobs": 21, "logprobs": true)") == "top_logprobs");
  CHECK(generate_fault(R"("shift": true)") == "shift");
  CHECK(generate_fault(R"("_debug_render_only": true)") == "_debug_render_only");
  CHECK(generate_fault(R"("stream": "no")") == "stream");
  CHECK(failure_of([] { ollama::parse_generate(R"({"prompt": "x"})"); }).param == "model");
  CHECK(failure_of([] { ollama::parse_generate(R"({"model": "", "prompt": "x"})"); }).param == "model");
  CHECK(failure_of([] { ollama::parse_generate(R"([])"); }).param == "body");
}

TEST_CASE("texts to embed, and models by name") {
  const auto body = ollama::parse_embed(R"({"model": "m", "input": ["a", "b"], "truncate": false, "dimensions": 3,
      "options": {"num_ctx": 8}, "keep_alive": -1})");
  CHECK(body.inputs == std::vector<std::string>{"a", "b"});
  CHECK_FALSE(body.truncate);
  CHECK(body.dimensions == 3);
  const auto fault = [](const char* members) {
    return failure_of([&] { ollama::parse_embed(std::string(R"({"model": "m", )") + members + "}"); }).param;
  };
  CHECK(fault(R"("input": 5)") == "input");
  CHECK(fault(R"("input": {})") == "input");
  CHECK(fault(R"("input": ["a", null])") == "input[1]");
  CHECK(fault(R"("input": "a", "dimensions": -1)") == "dimensions");
  CHECK(fault(R"("input": "a", "options": {"x": 1})") == "options.x");
  CHECK(fault(R"("prompt": "a")") == "prompt");
  CHECK(ollama::parse_show(R"({"name": "m"})").model == "m");
  CHECK(ollama::parse_show(R"({"name": "n", "model": "m", "verbose": true})").model == "m");
  CHECK(failure_of([] { ollama::parse_show("{}"); }).param == "model");
  CHECK(failure_of([] { ollama::parse_show(R"({"model": "m", "system": "x"})"); }).param == "system");
  CHECK_FALSE(ollama::parse_pull(R"({"model": "m", "stream": false, "insecure": true})").stream);
}
