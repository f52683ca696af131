#include "api/openai/quoting.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "core/engine/sampler.hpp"

namespace nacelle::openai {
namespace {

constexpr const char* kParts[] = {"messages", "tools"};

// Templates compare roles and types with words of their own, which some vocabularies have as special tokens.
bool is_word(const std::string& name, const Json& value) {
  if ((name != "role" && name != "type") || !value.is_string()) return false;
  const auto& text = value.get_ref<const std::string&>();
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

// Whether some string of a document, members' names too, has it.
template <class Has>
bool any_string(const Json& json, const Has& has) {
  if (json.is_string()) return has(json.get_ref<const std::string&>());
  if (json.is_array())
    return std::any_of(json.begin(), json.end(), [&](const Json& item) { return any_string(item, has); });
  if (!json.is_object()) return false;
  const auto& members = json.get_ref<const Json::object_t&>();
  return std::any_of(members.begin(), members.end(),
                     [&](const auto& member) { return has(member.first) || any_string(member.second, has); });
}

// Not operator[], which searches the whole object.
void append(Json& object, std::string name, Json value) {
  object.get_ref<Json::object_t&>().std::vector<std::pair<const std::string, Json>>::emplace_back(std::move(name),
                                                                                                  std::move(value));
}

// The document with `change(text)` in place of each string but those words.
template <class Change>
Json with_strings(const Json& json, const Change& change) {
  if (json.is_string()) return change(json.get_ref<const std::string&>());
  if (!json.is_structured()) return json;
  if (json.is_array()) {
    Json result = Json::array();
    for (const Json& item : json) result.push_back(with_strings(item, change));
    return result;
  }
  Json result = Json::object();
  const auto& members = json.get_ref<const Json::object_t&>();
  for (const auto& [name, value] : members)
    append(result, change(name), is_word(name, value) ? value : with_strings(value, change));
  return result;
}

// Noncharacters. Nobody knows them beforehand, so nobody can write them into a message.
std::string make_mark() {
  std::string mark;
  std::uint64_t bits = random_seed();
  for (int i = 0; i < 8; ++i, bits >>= 5) mark += {'\xEF', '\xB7', static_cast<char>(0x90 + (bits & 31))};
  return mark;
}

}  // namespace

Quoting::Quoting(const Tokenizer& tokenizer, Json& context) {
  const auto any = [&](const auto& has) {
    return std::any_of(std::begin(kParts), std::end(kParts),
                       [&](const char* part) { return context.contains(part) && any_string(context[part], has); });
  };
  if (!any([&](const std::string& text) { return !tokenizer.special_spellings(text).empty(); })) return;
  do mark_ = make_mark();
  while (any([&](const std::string& text) { return text.find(mark_) != std::string::npos; }));
  const auto marked = [&](const std::string& text) {
    std::string result;
    std::size_t done = 0;
    for (const std::size_t at : tokenizer.special_spellings(text)) {
      result.append(text, done, at - done).append(mark_);
      done = at;
    }
    return result.append(text, done);
  };
  for (const char* part : kParts)
    if (context.contains(part)) context[part] = with_strings(context[part], marked);
}

RenderedChat Quoting::read(const std::string& text) const {
  RenderedChat rendered;
  std::size_t done = 0;
  for (std::size_t at; !mark_.empty() && (at = text.find(mark_, done)) != std::string::npos; done = at + mark_.size()) {
    rendered.text.append(text, done, at - done);
    rendered.quoted.push_back(rendered.text.size());
  }
  rendered.text.append(text, done);
  return rendered;
}

}  // namespace nacelle::openai
