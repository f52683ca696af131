// Fuzzes the chat template interpreter: the input is a template, rendered against one fixed conversation. Anything but
// a prompt within the limits or a nacelle::Error of one line is a finding.
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "core/base/error.hpp"
#include "core/chat/chat_template.hpp"

namespace {

const nlohmann::ordered_json& context() {
  static const auto parsed = nlohmann::ordered_json::parse(R"({
    "messages": [
      {"role": "system", "content": "Be brief."},
      {"role": "user", "content": "Wie spät ist es in Zürich? 🌧"},
      {"role": "assistant", "content": "", "tool_calls": [{"id": "a1", "type": "function",
        "function": {"name": "now", "arguments": {"city": "Zürich", "n": 3, "x": 1.5, "y": null, "z": [true, {}]}}}]},
      {"role": "tool", "name": "now", "content": "{\"t\": 12}"},
      {"role": "assistant", "content": "<think>\nhm\n</think>\n12", "reasoning_content": "hm"},
      {"role": "user", "content": [{"type": "text", "text": "a b  c"}, {"type": "image"}]}],
    "tools": [{"type": "function", "function": {"name": "now", "description": "Time.", "parameters": {"type": "object",
      "properties": {"city": {"type": "string", "enum": ["a", "b"]}}, "required": ["city"]}}}],
    "documents": null, "n": -3, "f": 0.1, "big": 9223372036854775807, "empty": {},
    "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"})");
  return parsed;
}

void check(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  nacelle::RenderLimits limits;
  limits.max_steps = 100'000;
  limits.max_output_bytes = 1u << 20;
  limits.max_memory_bytes = 16u << 20;
  limits.clock = [] { return std::tm{}; };
  try {
    const nacelle::ChatTemplate chat(std::string(reinterpret_cast<const char*>(data), size));
    check(chat.render(context(), limits).size() <= limits.max_output_bytes);
  } catch (const nacelle::Error& error) {
    check(error.kind() == nacelle::ErrorKind::kInvalidArgument);
  }
  return 0;
}
