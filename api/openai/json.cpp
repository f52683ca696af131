// Builds a Json value from nlohmann's event parser, which itself knows no limits and lets the last of two equal names
// win.
#include "api/openai/json.hpp"

#include <algorithm>
#include <unordered_set>
#include <utility>
#include <vector>

#include "api/http/message.hpp"

namespace nacelle::openai {
namespace {

constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxValues = 1'000'000;  // some 16 to 100 bytes each
constexpr std::size_t kMaxQuoted = 40;

[[noreturn]] void refuse(std::string message) {
  throw http::RequestError({400, "the request body is not valid JSON: " + std::move(message), "", "invalid_json"});
}

class Builder final : public nlohmann::json_sax<Json> {
 public:
  Json build(std::string_view text) {
    if (text.find('\0') != std::string_view::npos) refuse("a NUL byte");  // where nlohmann would see the end
    Json::sax_parse(text.begin(), text.end(), this);  // errors leave through parse_error, which throws
    return std::move(root_);
  }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // only binary formats have it
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }

  bool key(string_t& value) override {
    if (!open_.back().names.insert(value).second) refuse("the name " + describe(value) + " occurs twice in an object");
    key_ = std::move(value);
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& error) override {
    // "[json.exception...] parse error at line 3, column 7: syntax error while ...": ours begins at "line".
    std::string_view what = error.what();
    if (const auto line = what.find("line "); line != std::string_view::npos) {
      what.remove_prefix(line);
    } else if (const auto name = what.find("] "); name != std::string_view::npos) {
      what.remove_prefix(name + 2);
    }
    refuse(std::string(what.substr(0, 200)));
  }

 private:
  struct Level {
    Json* value;
    std::unordered_set<std::string> names;
  };

  Json* place(Json value) {
    if (++values_ > kMaxValues) refuse("more than " + std::to_string(kMaxValues) + " values");
    if (open_.empty()) return &(root_ = std::move(value));
    Json& parent = *open_.back().value;
    if (parent.is_array()) return &parent.get_ref<Json::array_t&>().emplace_back(std::move(value));
    // Not operator[], which would search the whole object again.
    return &parent.get_ref<Json::object_t&>()
                .std::vector<std::pair<const std::string, Json>>::emplace_back(std::move(key_), std::move(value))
                .second;
  }
  bool add(Json value) { return place(std::move(value)), true; }
  bool open(Json value) {
    if (open_.size() == kMaxDepth) refuse("nested deeper than " + std::to_string(kMaxDepth) + " levels");
    open_.push_back({place(std::move(value)), {}});
    return true;
  }
  bool close() { return open_.pop_back(), true; }

  Json root_;
  std::vector<Level> open_;
  std::string key_;
  std::size_t values_ = 0;
};

}  // namespace

Json parse_json(std::string_view text) { return Builder().build(text); }

std::string json_string(std::string_view text) {
  const auto plain = [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; };
  if (!std::all_of(text.begin(), text.end(), plain)) return to_text(Json(text));
  std::string result;
  result.reserve(text.size() + 2);
  result += '"';
  result += text;
  return result += '"';
}

std::string to_text(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

bool is_utf8(std::string_view bytes) {
  try {
    (void)Json(bytes).dump();
    return true;
  } catch (const Json::type_error&) {  // nlohmann offers no other way to its check
    return false;
  }
}

Json byte_list(std::string_view bytes) {
  Json list = Json::array();
  for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
  return list;
}

std::string describe(const Json& value) {
  if (value.is_array()) return value.empty() ? "an empty array" : "an array";
  if (value.is_object()) return "an object";
  if (!value.is_string()) return to_text(value);
  const auto& text = value.get_ref<const std::string&>();
  return to_text(text.size() > kMaxQuoted ? Json(text.substr(0, kMaxQuoted) + "...") : value);
}

}  // namespace nacelle::openai
