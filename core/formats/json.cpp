// Builds JsonNode trees from nlohmann's event parser, which itself knows no limits.
#include "core/formats/json.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/formats/file_error.hpp"

namespace nacelle {
namespace {

// Walks the text and tells the builder how far the parser has read; the parser's events carry no position.
struct CountingIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at = nullptr;
  const char** furthest = nullptr;

  const char& operator*() const { return *at; }
  CountingIterator& operator++() {
    *furthest = ++at;
    return *this;
  }
  CountingIterator operator++(int) {
    const CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at == other.at; }
};

// What the parser is given for Infinity: a number of as many bytes, so that places stay, which nothing else writes so.
constexpr std::string_view kInfinity = "Infinity", kStandIn = "1.79e308";

std::string with_stand_ins(std::string_view text) {
  std::string copy(text);
  bool quoted = false;
  for (std::size_t i = 0; i < copy.size(); ++i) {
    if (quoted && copy[i] == '\\')
      ++i;
    else if (copy[i] == '"')
      quoted = !quoted;
    else if (!quoted && text.substr(i).starts_with(kInfinity))
      copy.replace(i, kInfinity.size(), kStandIn);
  }
  return copy;
}

class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  TreeBuilder(const std::filesystem::path& path, std::string_view text, std::uint64_t base, const JsonLimits& limits)
      : path_(path), text_(text), base_(base), limits_(limits), furthest_(text.data()) {}

  JsonNode build() {
    const CountingIterator begin{text_.data(), &furthest_}, end{text_.data() + text_.size(), &furthest_};
    nlohmann::json::sax_parse(begin, end, this);  // errors leave through parse_error, which throws
    return std::move(root_);
  }

  bool null() override { return add(JsonNode::Kind::kNull), true; }
  bool boolean(bool value) override { return add(JsonNode::Kind::kBool).boolean = value, true; }
  bool number_integer(number_integer_t value) override { return add(JsonNode::Kind::kInteger).integer = value, true; }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > std::numeric_limits<std::int64_t>::max()) return number_float(static_cast<double>(value), {});
    return number_integer(static_cast<std::int64_t>(value));
  }
  bool number_float(number_float_t value, const string_t& digits) override {
    if (limits_.infinity && std::string_view(digits).ends_with(kStandIn)) value *= 2;  // of both signs
    return add(JsonNode::Kind::kFloat).number = value, true;
  }
  bool string(string_t& value) override { return add(JsonNode::Kind::kString).text = std::move(value), true; }
  bool binary(binary_t&) override { return false; }  // only binary formats have it
  bool key(string_t& value) override {
    key_ = std::move(value);
    key_end_ = position();
    return true;
  }
  bool start_object(std::size_t) override { return open(JsonNode::Kind::kObject); }
  bool end_object() override { return open_.pop_back(), true; }
  bool start_array(std::size_t) override { return open(JsonNode::Kind::kArray); }
  bool end_array() override { return open_.pop_back(), true; }

  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& error) override {
    // "[json.exception...] parse error at line 3, column 7: syntax error while ...": ours begins at "line".
    std::string_view what = error.what();
    if (const auto line = what.find("line "); line != std::string_view::npos) what.remove_prefix(line);
    fail("is no valid JSON, " + printable(what, 200));
  }

 private:
  std::uint64_t position() const { return base_ + static_cast<std::uint64_t>(furthest_ - text_.data()); }
  [[noreturn]] void fail(const std::string& what) const { fail_at(path_, "JSON", position(), what); }

  // The parents of a new node do not grow while it is open, so pointers to open nodes stay valid.
  JsonNode& add(JsonNode::Kind kind) {
    if (++nodes_ > limits_.nodes) fail("has more than " + std::to_string(limits_.nodes) + " values");
    JsonNode& node = open_.empty() ? root_ : open_.back()->items.emplace_back();
    node.kind = kind;
    node.offset = position();
    if (!open_.empty() && open_.back()->kind == JsonNode::Kind::kObject) {
      node.key = std::move(key_);
      node.offset = key_end_;
    }
    return node;
  }

  bool open(JsonNode::Kind kind) {
    if (open_.size() == limits_.depth) fail("is nested deeper than " + std::to_string(limits_.depth) + " levels");
    open_.push_back(&add(kind));
    return true;
  }

  const std::filesystem::path& path_;
  std::string_view text_;
  std::uint64_t base_;
  const JsonLimits& limits_;
  const char* furthest_;
  JsonNode root_;
  std::vector<JsonNode*> open_;
  std::string key_;
  std::uint64_t key_end_ = 0;
  std::uint64_t nodes_ = 0;
};

}  // namespace

const JsonNode* JsonNode::find(std::string_view name) const noexcept {
  const auto found = std::find_if(items.rbegin(), items.rend(), [&](const JsonNode& item) { return item.key == name; });
  return found == items.rend() ? nullptr : &*found;
}

JsonNode parse_json(const std::filesystem::path& path, std::string_view text, std::uint64_t base,
                    const JsonLimits& limits) {
  if (text.size() > limits.bytes) {
    fail_at(path, "JSON", base,
            "has " + std::to_string(text.size()) + " bytes, expected at most " + std::to_string(limits.bytes));
  }
  if (!limits.infinity || text.find(kInfinity) == text.npos) return TreeBuilder(path, text, base, limits).build();
  const std::string numbers = with_stand_ins(text);
  return TreeBuilder(path, numbers, base, limits).build();
}

}  // namespace nacelle
