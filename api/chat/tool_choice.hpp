// What a request says about the use of its tools.
#pragma once

#include <string>

namespace nacelle::chat {

// Which tools a model may or must call.
struct ToolChoice {
  enum class Kind { kAuto, kNone, kRequired, kNamed };
  Kind kind = Kind::kAuto;
  std::string name;  // kNamed
  bool forced() const noexcept { return kind == Kind::kRequired || kind == Kind::kNamed; }
};

}  // namespace nacelle::chat
