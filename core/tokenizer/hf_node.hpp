// A value of a tokenizer's JSON files with the checks that all readers of it share. Errors name file, field and byte.
#pragma once

#include <cmath>
#include <filesystem>
#include <string>
#include <string_view>

#include "core/formats/file_error.hpp"
#include "core/formats/json.hpp"

namespace nacelle {

// Borrows the node; cheap to copy. A null node stands for an absent or null member.
class HfNode {
 public:
  using Kind = JsonNode::Kind;

  HfNode(const std::filesystem::path& file, const JsonNode* node, std::string name)
      : file_(&file), node_(node && node->kind != Kind::kNull ? node : nullptr), name_(std::move(name)) {}

  [[noreturn]] void fail(std::string_view what, ErrorKind kind = ErrorKind::kCorrupt) const {
    fail_at(*file_, name_, node_ ? node_->offset : 0, what, kind);
  }

  explicit operator bool() const noexcept { return node_ != nullptr; }
  bool is(Kind kind) const noexcept { return node_ && node_->kind == kind; }
  const std::string& name() const noexcept { return name_; }
  const std::string& key() const { return node_->key; }

  HfNode operator[](std::string_view member) const {
    return {*file_, is(Kind::kObject) ? node_->find(member) : nullptr,
            name_.empty() ? std::string(member) : name_ + "." + std::string(member)};
  }
  // Members or elements; an absent value has none.
  std::size_t size() const noexcept { return node_ ? node_->items.size() : 0; }
  HfNode at(std::size_t i) const { return {*file_, &node_->items[i], name_ + "[" + std::to_string(i) + "]"}; }
  // The node itself, for long lists where a name for each element would cost too much.
  const JsonNode* raw() const noexcept { return node_; }

  const std::string& text() const {
    if (!is(Kind::kString)) fail("expected a string");
    return node_->text;
  }
  std::string text_or(std::string_view fallback) const { return node_ ? text() : std::string(fallback); }
  bool flag_or(bool fallback) const {
    if (!node_) return fallback;
    if (!is(Kind::kBool)) fail("expected true or false");
    return node_->boolean;
  }
  std::int64_t integer() const {
    if (!is(Kind::kInteger)) fail("expected an integer");
    return node_->integer;
  }
  void expect(Kind kind, std::string_view what) const {
    if (!is(kind)) fail(std::string("expected ").append(what));
  }

 private:
  const std::filesystem::path* file_;
  const JsonNode* node_;
  std::string name_;
};

}  // namespace nacelle
