// Conversations as Ollama's clients send them, turned into what chat templates read.
#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <utility>

#include "api/fields/fields.hpp"
#include "api/ollama/request.hpp"

namespace nacelle::ollama {
namespace {

using fields::custom;
using fields::element;
using fields::Fields;
using fields::integer;
using fields::Json;
using fields::only;
using fields::read_fields;
using fields::refuse_missing;
using fields::refuse_value;
using fields::string;
using fields::to_array;
using fields::to_object;

struct Call {
  std::string id, name;
  Json arguments = Json::object();
};

void set_function(Call& call, const std::string& name, const Json& value) {
  static const Fields<Call> fields = {
      integer<Call>("index", 0, INT32_MAX, [](Call&, std::int64_t) {}),  // of our answers; their order tells it too
      string<Call>("name", [](Call& c, const std::string& v) { c.name = v; }),
      custom<Call>("arguments", [](Call& c, const std::string& n, const Json& v) { c.arguments = to_object(n, v); }),
  };
  read_fields<Call>(call, to_object(name, value), fields, name + ".");
}

std::vector<Call> read_calls(const std::string& name, const Json& value) {
  static const Fields<Call> fields = {
      string<Call>("id", [](Call& c, const std::string& v) { c.id = v; }),
      only<Call>("type", {"function"}),                                  // LangChain sends it
      integer<Call>("index", 0, INT32_MAX, [](Call&, std::int64_t) {}),  // Open WebUI does
      custom<Call>("function", set_function),
  };
  std::vector<Call> calls;
  for (const Json& item : to_array(name, value)) {
    const std::string path = element(name, calls.size());
    Call& call = calls.emplace_back();
    read_fields<Call>(call, to_object(path, item), fields, path + ".");
    if (call.name.empty()) refuse_missing(path + ".function.name");
  }
  return calls;
}

struct Message {
  std::string role, thinking, tool_name, tool_call_id;
  std::optional<std::string> content;
  std::vector<Call> calls;
};

// In any case, as Ollama reads it.
void set_role(Message& message, const std::string& name, const Json& value) {
  message.role = fields::to_string(name, value);
  for (char& c : message.role) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  static constexpr std::string_view kRoles[] = {"system", "user", "assistant", "tool"};
  if (std::find(std::begin(kRoles), std::end(kRoles), message.role) == std::end(kRoles))
    refuse_value(name, "system, user, assistant or tool", value);
}

Message read_message(const std::string& path, const Json& value) {
  using M = Message;
  static const Fields<M> fields = {
      custom<M>("role", set_role),
      string<M>("content", [](M& m, const std::string& v) { m.content = v; }),
      string<M>("thinking", [](M& m, const std::string& v) { m.thinking = v; }),
      custom<M>("images", [](M&, const std::string& n, const Json& v) { refuse_images(n, v); }),
      custom<M>("tool_calls", [](M& m, const std::string& n, const Json& v) { m.calls = read_calls(n, v); }),
      string<M>("tool_name", [](M& m, const std::string& v) { m.tool_name = v; }),
      string<M>("tool_call_id", [](M& m, const std::string& v) { m.tool_call_id = v; }),
  };
  M message;
  read_fields<M>(message, to_object(path, value), fields, path + ".");
  if (message.role.empty()) refuse_missing(path + ".role");
  const auto only_of = [&](const char* member, bool absent, const char* role) {
    if (absent || message.role == role) return;
    refuse_value(path + "." + member, std::string("absent but in messages of the role ") + role, value[member]);
  };
  only_of("tool_calls", message.calls.empty(), "assistant");
  only_of("thinking", message.thinking.empty(), "assistant");
  only_of("tool_name", message.tool_name.empty(), "tool");
  only_of("tool_call_id", message.tool_call_id.empty(), "tool");
  if (!message.content && message.calls.empty() && message.thinking.empty()) refuse_missing(path + ".content");
  return message;
}

// Which calls still wait for their results. Some templates want an id in both, which many clients leave out.
class Ids {
 public:
  // Of nine letters and digits, as Mistral's templates ask for; the same again for the same conversation.
  std::string name(const Call& call) {
    std::string id = call.id;
    if (id.empty()) {
      const std::string number = std::to_string(++made_);
      id = "call" + std::string(5 - std::min<std::size_t>(number.size(), 5), '0') + number;
    }
    waiting_.emplace_back(call.name, id);
    return id;
  }

  // The result's call: by its id, else the first one of its name, else the first.
  std::pair<std::string, std::string> take(const Message& result) {
    const auto fits = [&](const auto& call) {
      return result.tool_call_id.empty() ? result.tool_name.empty() || call.first == result.tool_name
                                         : call.second == result.tool_call_id;
    };
    const auto found = std::find_if(waiting_.begin(), waiting_.end(), fits);
    if (found == waiting_.end()) return {result.tool_name, result.tool_call_id};
    std::pair<std::string, std::string> call = std::move(*found);
    waiting_.erase(found);
    return call;
  }

 private:
  std::vector<std::pair<std::string, std::string>> waiting_;  // name and id
  int made_ = 0;
};

}  // namespace

void refuse_images(const std::string& name, const Json& value) {
  if (!to_array(name, value).empty()) fields::refuse_unsupported(name, "an image");
}

Json read_messages(const std::string& name, const Json& value) {
  Json messages = Json::array();
  Ids ids;
  for (std::size_t i = 0; i < to_array(name, value).size(); ++i) {
    Message message = read_message(element(name, i), value[i]);
    Json result = {{"role", message.role}, {"content", message.content.value_or("")}};
    if (!message.thinking.empty()) result["reasoning_content"] = std::move(message.thinking);
    for (const Call& call : message.calls)
      result["tool_calls"].push_back({{"type", "function"},
                                      {"function", {{"name", call.name}, {"arguments", call.arguments}}},
                                      {"id", ids.name(call)}});
    if (message.role == "tool") {
      const auto [called, id] = ids.take(message);
      if (!called.empty()) result["name"] = called;
      if (!id.empty()) result["tool_call_id"] = id;
    }
    messages.push_back(std::move(result));
  }
  return messages;
}

}  // namespace nacelle::ollama
