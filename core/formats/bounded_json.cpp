// Builds values from nlohmann's event parser, which knows no limits and lets the last of two equal names win.
#include "core/formats/bounded_json.hpp"

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/base/error.hpp"

namespace nacelle {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kMaxQuoted = 40;

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::kInvalidArgument, message); }

std::string shown_name(const std::string& name) {
  return Json(name.size() > kMaxQuoted ? name.substr(0, kMaxQuoted) + "..." : name)
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

class Builder final : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(const JsonBounds& bounds) : bounds_(bounds) {}

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
    if (!open_.back().names.insert(value).second)
      refuse("the name " + shown_name(value) + " occurs twice in an object");
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
    if (++values_ > bounds_.values) refuse("more than " + std::to_string(bounds_.values) + " values");
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
    if (open_.size() == bounds_.depth) refuse("nested deeper than " + std::to_string(bounds_.depth) + " levels");
    open_.push_back({place(std::move(value)), {}});
    return true;
  }
  bool close() { return open_.pop_back(), true; }

  const JsonBounds bounds_;
  Json root_;
  std::vector<Level> open_;
  std::string key_;
  std::size_t values_ = 0;
};

}  // namespace

nlohmann::ordered_json parse_bounded_json(std::string_view text, const JsonBounds& bounds) {
  return Builder(bounds).build(text);
}

}  // namespace nacelle
