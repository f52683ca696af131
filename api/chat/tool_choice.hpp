// What a request says about the use of its tools.
#pragma once

#include <string>
#include <vector>

namespace nacelle::chat {

// Which tools a model may or must call.
struct ToolChoice {
  enum class Kind { kAuto, kNone, kRequired, kNamed };
  Kind kind = Kind::kAuto;
  std::string name;                       // kNamed
  std::vector<std::string> allowed = {};  // kAuto, kRequired: the tools that there are; empty: all
  bool forced() const noexcept { return kind == Kind::kRequired || kind == Kind::kNamed; }
};

}  // namespace nacelle::chat
