#include "api/chat/xml_calls.hpp"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <utility>

#include "core/base/error.hpp"

namespace nacelle::chat {
namespace {

constexpr std::size_t kMaxName = 256;  // of a function or parameter: more is no call

bool may_begin(std::string_view text, std::string_view mark) { return mark.starts_with(text.substr(0, mark.size())); }

// What the schema says of a parameter's values; 0 where the tools do not say.
unsigned kinds_of(const Json& tools, std::string_view function, std::string_view parameter) {
  for (const Json& tool : tools) {
    const auto found = tool.find("function");
    if (found == tool.end() || found->value("name", "") != function) continue;
    const auto parameters = found->find("parameters");
    if (parameters == found->end() || !parameters->is_object()) return 0;
    const auto properties = parameters->find("properties");
    if (properties == parameters->end() || !properties->is_object()) return 0;
    const auto schema = properties->find(std::string(parameter));
    return schema == properties->end() ? 0 : value_kinds(*parameters, *schema);
  }
  return 0;
}

// Values are written bare: as JSON where the schema asks for another type than text, else as text.
Json value_of(unsigned kinds, std::string_view text) {
  const std::string_view word = trimmed(text.substr(leading_space(text)));
  if (kinds == 0 || (kinds & kTextValue)) return (kinds & kNullValue) && word == "null" ? Json() : Json(text);
  if (word == "True" || word == "False") return word == "True";  // as Python writes them
  if (word == "None") return nullptr;
  try {
    return fields::parse_json(word);
  } catch (const Error&) {  // a model wrote it
    return text;
  }
}

class XmlCallParser final : public CallParser {
 public:
  XmlCallParser(const Json& tools, const XmlMarks& marks) : tools_(tools), marks_(marks) {}

 protected:
  std::size_t step(std::string_view text, bool last, AnswerEvents& out) override {
    switch (state_) {
      case State::kText: return plain(text, last, out);
      case State::kFunction: return function(text, last, out);
      case State::kParameters: return parameters(text, last, out);
      case State::kValue: return value(text, last, out);
      case State::kAfter: return after(text, last);
    }
    return text.size();
  }

 private:
  enum class State {
    kText,
    kFunction,    // after the opening mark
    kParameters,  // inside a function, between parameters
    kValue,
    kAfter  // behind a function
  };

  std::size_t plain(std::string_view text, bool last, AnswerEvents& out) {
    const Shown shown = show_until(marks_.open, text, last, out, marks_.function);  // some leave the opening mark out
    if (shown.opened) state_ = State::kFunction;
    return shown.taken;
  }

  // The name in <function=NAME> or <parameter=NAME>: none at once where it cannot be one.
  struct Tag {
    std::size_t end = 0;  // behind the '>'; 0: none
    std::string_view name;
    bool more = false;
  };
  Tag tag(std::string_view text, std::string_view open) const {
    if (!text.starts_with(open)) return {0, {}, may_begin(text, open) && text.size() < open.size()};
    const std::string_view rest = text.substr(open.size(), kMaxName);
    const std::size_t stop = std::min(rest.find_first_of("<>\n"), rest.find(marks_.name_end.front()));
    if (stop == std::string_view::npos) return {0, {}, rest.size() < kMaxName};
    const std::string_view behind = rest.substr(stop);
    if (stop == 0 || !may_begin(behind, marks_.name_end)) return {};
    if (behind.size() < marks_.name_end.size()) return {0, {}, rest.size() < kMaxName};
    return {open.size() + stop + marks_.name_end.size(), rest.substr(0, stop), false};
  }

  std::size_t function(std::string_view text, bool last, AnswerEvents& out) {
    const std::size_t space = leading_space(text);
    const Tag found = tag(text.substr(space), marks_.function);
    if (found.end == 0) {
      if (found.more && !last) return kMore;
      show_lead(out);
      state_ = State::kText;
      const std::size_t taken = last && found.more ? text.size() : std::min(text.size(), space + 1);
      add(out, AnswerEvent::Kind::kContent, text.substr(0, taken));  // its '<' would be found again
      return taken;
    }
    lead_.clear();
    called_ = true;
    first_ = true;
    name_ = found.name;
    out.push_back({AnswerEvent::Kind::kCall, name_});
    add(out, AnswerEvent::Kind::kArguments, "{");
    state_ = State::kParameters;
    return space + found.end;
  }

  std::size_t parameters(std::string_view text, bool last, AnswerEvents& out) {
    const std::size_t space = leading_space(text);
    const std::string_view rest = text.substr(space);
    if (rest.starts_with(marks_.function_end)) return close(State::kAfter, space + marks_.function_end.size(), out);
    const Tag found = tag(rest, marks_.parameter);
    if (found.end > 0) {
      key_ = found.name;
      state_ = State::kValue;
      return space + found.end;
    }
    if (!last && (found.more || may_begin(rest, marks_.function_end))) return kMore;
    return last && rest.empty() ? text.size() : close(State::kText, 0, out);
  }

  std::size_t close(State next, std::size_t taken, AnswerEvents& out) {
    add(out, AnswerEvent::Kind::kArguments, "}");
    state_ = next;
    return taken;
  }

  std::size_t value(std::string_view text, bool last, AnswerEvents& out) {
    const std::size_t end = text.find(marks_.parameter_end);
    if (end == std::string_view::npos && !last) return kMore;
    std::string_view inner = text.substr(0, end);
    if (inner.starts_with('\n')) inner.remove_prefix(1);
    if (end != std::string_view::npos && inner.ends_with('\n')) inner.remove_suffix(1);
    const std::string member = bare_member(tools_, name_, key_, inner, end != std::string_view::npos);
    add(out, AnswerEvent::Kind::kArguments, (std::exchange(first_, false) ? "" : ", ") + member);
    state_ = State::kParameters;
    return end == std::string_view::npos ? text.size() : end + marks_.parameter_end.size();
  }

  std::size_t after(std::string_view text, bool last) {
    const std::size_t space = leading_space(text);
    const std::string_view rest = text.substr(space);
    if (rest.starts_with(marks_.close)) {
      state_ = State::kText;
      return space + marks_.close.size();
    }
    if (!last && may_begin(rest, marks_.close) && rest.size() < marks_.close.size()) return kMore;
    state_ = State::kText;
    return 0;
  }

  const Json tools_;
  const XmlMarks marks_;
  State state_ = State::kText;
  std::string name_, key_;
  bool first_ = true;  // no parameter was written yet
};

}  // namespace

const Json& resolved(const Json& root, const Json& schema) {
  const Json* found = &schema;
  for (int steps = 0; steps < 8 && found->is_object() && found->contains("$ref"); ++steps) {
    const Json& reference = (*found)["$ref"];
    if (!reference.is_string() || !reference.get_ref<const std::string&>().starts_with("#")) break;
    try {
      found = &root.at(Json::json_pointer(reference.get<std::string>().substr(1)));
    } catch (const Json::exception&) {  // a client wrote it: whoever enforces it says what is wrong
      break;
    }
  }
  return *found;
}

namespace {

unsigned kind_of(std::string_view type) {
  return type == "string" ? kTextValue : type == "null" ? kNullValue : kOtherValue;
}

unsigned kinds(const Json& root, const Json& given, int depth) {
  const Json& schema = resolved(root, given);
  if (!schema.is_object() || depth > 8) return 0;
  unsigned result = 0;
  if (const auto type = schema.find("type"); type != schema.end()) {
    for (const Json& one : type->is_array() ? *type : Json::array({*type}))
      if (one.is_string()) result |= kind_of(one.get_ref<const std::string&>());
    return result;
  }
  for (const char* key : {"enum", "anyOf", "oneOf"}) {
    const auto list = schema.find(key);
    if (list == schema.end() || !list->is_array()) continue;
    for (const Json& one : *list)
      result |= std::string_view(key) == "enum" ? kind_of(one.type_name()) : kinds(root, one, depth + 1);
  }
  if (const auto one = schema.find("const"); one != schema.end()) result |= kind_of(one->type_name());
  return result;
}

}  // namespace

unsigned value_kinds(const Json& root, const Json& schema) { return kinds(root, schema, 0); }

std::string bare_member(const Json& tools, std::string_view function, std::string_view parameter, std::string_view text,
                        bool whole) {
  std::string value = fields::to_text(whole ? value_of(kinds_of(tools, function, parameter), text) : Json(text));
  if (!whole) value.pop_back();
  return fields::to_text(Json(parameter)) + ": " + value;
}

AnswerParserPtr make_xml_call_parser(const Json& tools, const XmlMarks& marks) {
  return std::make_unique<XmlCallParser>(tools, marks);
}

}  // namespace nacelle::chat
