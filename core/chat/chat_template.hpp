// A model's chat template: the Jinja program that turns messages and tools into the text of a prompt, as Hugging Face's
// transformers renders it.
#pragma once

#include <cstddef>
#include <ctime>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace nacelle {

// What one render may take. A template or context comes from outside: beyond a limit it is refused.
struct RenderLimits {
  std::size_t max_steps = 1'000'000;             // statements and expressions evaluated, and work in proportion
  std::size_t max_output_bytes = 8u << 20;       // of the prompt, and of each text captured on the way
  int max_depth = 100;                           // nested macro calls; levels of nested lists and dicts
  std::size_t max_memory_bytes = 64u << 20;      // what the template builds, the context not counted
  std::function<std::tm()> clock = local_clock;  // what strftime_now() prints

  static std::tm local_clock();
};

// A parsed template. Immutable; any thread may render.
class ChatTemplate {
 public:
  // Throws Error(kInvalidArgument) that quotes the template's line (number and text) and says what was expected.
  explicit ChatTemplate(const std::string& source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // The prompt's text. `context` is an object: messages, tools, add_generation_prompt, bos_token, eos_token, documents
  // and any extra variables. Throws Error(kInvalidArgument), param "messages", that quotes the template's line; where
  // the template itself calls raise_exception(), the message begins with its author's words.
  std::string render(const nlohmann::ordered_json& context, const RenderLimits& limits = {}) const;

 private:
  struct Parsed;
  std::unique_ptr<const Parsed> parsed_;
};

}  // namespace nacelle
