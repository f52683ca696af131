// The values a template computes with: Python's, as far as chat templates see them. Text is shared and immutable;
// lists, dicts and objects are owned by the Heap of one render, so a Value is cheap to copy and rings of values cannot
// leak.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace nacelle::jinja {

class Heap;
class Renderer;

// What a builtin or an operator throws; the renderer adds the line and turns it into nacelle::Error.
struct TemplateError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// The template called raise_exception(): the message is its author's.
struct RaisedError : TemplateError {
  using TemplateError::TemplateError;
};

// UTF-8 text. Text made in a render counts against its heap; text of the template itself (heap null) is free.
struct Text {
  std::string bytes;
  Heap* heap = nullptr;
  explicit Text(std::string b, Heap* h = nullptr) : bytes(std::move(b)), heap(h) {}
  ~Text();
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;
};
using TextPtr = std::shared_ptr<const Text>;

// Anything that a heap owns.
struct Cell {
  virtual ~Cell() = default;
};
struct List;
struct Dict;
struct Object;

struct Undefined {
  TextPtr name;  // what was looked up; null only in a slot that was never set
};
struct None {};

class Value {
 public:
  // In the order of the variant's alternatives.
  enum class Kind { kUndefined, kNone, kBool, kInt, kFloat, kString, kList, kDict, kObject };

  Value() = default;
  Value(None) : data_(None{}) {}
  Value(bool b) : data_(b) {}
  Value(std::int64_t i) : data_(i) {}
  Value(double d) : data_(d) {}
  Value(TextPtr t) : data_(std::move(t)) {}
  Value(List* l) : data_(l) {}
  Value(Dict* d) : data_(d) {}
  Value(Object* o) : data_(o) {}
  Value(const char*) = delete;  // would become a bool
  static Value undefined(TextPtr name) { return Value(Undefined{std::move(name)}); }

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is(Kind k) const { return kind() == k; }
  bool is_undefined() const { return is(Kind::kUndefined); }
  bool is_none() const { return is(Kind::kNone); }
  bool is_string() const { return is(Kind::kString); }
  bool is_missing() const { return is_undefined() && !std::get<Undefined>(data_).name; }
  bool is_number() const { return is(Kind::kBool) || is(Kind::kInt) || is(Kind::kFloat); }
  bool is_integral() const { return is(Kind::kBool) || is(Kind::kInt); }

  // Each is valid only for its kind; integer() also takes a bool, real() any number.
  bool boolean() const { return std::get<bool>(data_); }
  std::int64_t integer() const { return is(Kind::kBool) ? boolean() : std::get<std::int64_t>(data_); }
  double real() const { return is(Kind::kFloat) ? std::get<double>(data_) : static_cast<double>(integer()); }
  const std::string& text() const { return std::get<TextPtr>(data_)->bytes; }
  const TextPtr& text_ptr() const { return std::get<TextPtr>(data_); }
  List* list() const { return std::get<List*>(data_); }
  Dict* dict() const { return std::get<Dict*>(data_); }
  Object* object() const { return std::get<Object*>(data_); }
  const Undefined& undefined() const { return std::get<Undefined>(data_); }

 private:
  explicit Value(Undefined u) : data_(std::move(u)) {}
  std::variant<Undefined, None, bool, std::int64_t, double, TextPtr, List*, Dict*, Object*> data_;
};

struct List : Cell {
  enum class Flavour { kList, kTuple, kGroup };  // a group is groupby's (grouper, list) pair
  std::vector<Value> items;
  Flavour flavour = Flavour::kList;
};

// Keeps insertion order. Look-up is linear: the dicts of a chat are small, and the heap charges for the large ones.
struct Dict : Cell {
  std::vector<std::pair<Value, Value>> entries;
  Value* find(std::string_view key);
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<TextPtr, Value>> named;
};

// Callables, namespaces and the loop variable.
struct Object : Cell {
  virtual std::string_view type_name() const = 0;
  virtual bool callable() const { return false; }
  virtual Value call(Renderer& renderer, Arguments& arguments);
  // The attribute's value, or a missing Value.
  virtual Value attribute(std::string_view, Heap&) { return {}; }
};

struct HeapLimits {
  std::size_t max_steps;
  std::size_t max_bytes;
  int max_depth;
};

// Owns every list, dict and object of one render and holds it to its limits. One thread.
class Heap {
 public:
  explicit Heap(const HeapLimits& limits) : limits_(limits) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  Value text(std::string bytes);
  Value list(std::vector<Value> items, List::Flavour flavour = List::Flavour::kList);
  Value tuple(std::vector<Value> items) { return list(std::move(items), List::Flavour::kTuple); }
  Dict* dict();
  template <class T, class... A>
  T* make(A&&... arguments) {
    grow(sizeof(T));
    auto cell = std::make_unique<T>(std::forward<A>(arguments)...);
    T* raw = cell.get();
    cells_.push_back(std::move(cell));
    return raw;
  }

  // Both throw TypeError's equivalent where the key is a list or dict.
  Value* find(Dict& dict, const Value& key);
  void set(Dict& dict, const Value& key, Value value);
  void append(List& list, Value value);

  // Throws TemplateError beyond max_steps. Work that grows with its input spends in proportion.
  void spend(std::size_t steps) {
    if ((steps_ += steps) > limits_.max_steps) refuse_steps();
  }
  void spend_bytes(std::size_t bytes) { spend(bytes / 256); }
  // Throws TemplateError when `count` units of `size` bytes would not fit; call before building something large.
  void check_room(std::size_t count, std::size_t size = 1) const;
  void grow(std::size_t bytes);
  void shrink(std::size_t bytes) { bytes_ -= bytes < bytes_ ? bytes : bytes_; }
  // What was built so far is the caller's context, which does not count.
  void forgive() { steps_ = bytes_ = 0; }
  std::size_t max_bytes() const { return limits_.max_bytes; }
  // Throws TemplateError when `depth` levels of nested values are more than allowed.
  void check_depth(int depth) const;
  int max_depth() const { return limits_.max_depth; }

 private:
  [[noreturn]] void refuse_steps() const;

  HeapLimits limits_;
  std::size_t steps_ = 0;
  std::size_t bytes_ = 0;
  std::vector<std::unique_ptr<Cell>> cells_;
};

// "string", "list", ...: how Python calls the type of `value`.
std::string_view type_name(const Value& value);

}  // namespace nacelle::jinja
