// What a model's text says: content, reasoning and calls of tools, told apart while the text comes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/fields/json.hpp"

namespace nacelle::chat {

using fields::Json;

struct AnswerEvent {
  enum class Kind {
    kContent,    // text for the user
    kReasoning,  // text between <think> tags, or of another channel
    kCall,       // a call begins: `text` is the function's name
    kArguments   // more of the arguments of the last call, which are a JSON object
  };
  Kind kind = Kind::kContent;
  std::string text;
  std::string id = {};  // kCall: where the model wrote one
  bool operator==(const AnswerEvent&) const = default;
};
using AnswerEvents = std::vector<AnswerEvent>;

// Pure and incremental: the events joined do not depend on how the text was cut into pieces. Text that looked like a
// call and is none comes out as content, byte by byte; what begins as a call and breaks off leaves its arguments cut.
// Only tags, and white space beside them, are dropped. Nothing throws but std::bad_alloc.
class AnswerParser {
 public:
  virtual ~AnswerParser() = default;
  virtual void push(std::string_view text, AnswerEvents& out) = 0;
  // No more text comes.
  virtual void finish(AnswerEvents& out) = 0;
  // True where all text is content as it comes, so that it need not be pushed.
  virtual bool is_plain() const noexcept { return false; }
};
using AnswerParserPtr = std::unique_ptr<AnswerParser>;

// Appends to the last event where it is of the same kind.
void add(AnswerEvents& out, AnswerEvent::Kind kind, std::string_view text);

// The texts of one kind, joined.
std::string joined(const AnswerEvents& events, AnswerEvent::Kind kind);
bool has_calls(const AnswerEvents& events) noexcept;

// How many tokens of an answer were reasoning: a token counts as what its text became, and those that a parser held
// back count as what came of them.
class ReasoningCount {
 public:
  // `tokens` came, `events` with them; `last`: no more will.
  void add(std::size_t tokens, const AnswerEvents& events, bool last) noexcept;
  std::uint32_t tokens() const noexcept { return reasoning_; }

 private:
  std::size_t held_ = 0;
  std::uint32_t reasoning_ = 0;
};

struct ToolCall {
  std::string id, name, arguments;
};
std::vector<ToolCall> calls_of(const AnswerEvents& events);

// A parser that decides about the beginning of its text and keeps what it cannot decide yet.
class HoldingParser : public AnswerParser {
 public:
  void push(std::string_view text, AnswerEvents& out) final;
  void finish(AnswerEvents& out) final;

 protected:
  static constexpr std::size_t kMore = std::string_view::npos;
  // One decision about `text`, which is not empty: the bytes that it took; 0 where only the state changed; kMore where
  // more text could change the decision, which must not be said once `last` is set.
  virtual std::size_t step(std::string_view text, bool last, AnswerEvents& out) = 0;
  // The text is over, after the last step.
  virtual void end(AnswerEvents&) {}

 private:
  void run(bool last, AnswerEvents& out);
  std::string held_;
};

// A parser of calls behind a mark. Until it is sure that a call follows, the mark and what comes behind it are its
// lead: content, should it be none.
class CallParser : public HoldingParser {
 protected:
  struct Shown {
    std::size_t taken;  // what step() returns
    bool opened;        // a call may begin here
  };
  // One decision about the user's text: it is shown up to `mark`, which is taken into the lead with the white space
  // before it. `beginning`, where it is given, opens a call too and is itself left for the next step.
  Shown show_until(std::string_view mark, std::string_view text, bool last, AnswerEvents& out,
                   std::string_view beginning = {});
  void show_lead(AnswerEvents& out);
  void end(AnswerEvents& out) override { show_lead(out); }

  std::string lead_;
  bool called_ = false;  // there was a call: white space alone is no content any more
};

// Bytes at the end of `text` that may be the beginning of `mark`.
std::size_t partial_mark(std::string_view text, std::string_view mark) noexcept;
std::size_t leading_space(std::string_view text) noexcept;
// `text` without white space at its end.
std::string_view trimmed(std::string_view text) noexcept;

}  // namespace nacelle::chat
