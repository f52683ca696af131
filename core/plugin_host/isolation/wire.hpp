// Messages between the host and the process of an isolated plugin. Both ends are the same program, so a message is the
// plain bytes of what is put, each item aligned to 8; nothing of it is kept on disk. A reader never believes a size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <nacelle/plugin.hpp>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace nacelle::isolation {

// Writes into given room. Throws sdk::Failure(OUT_OF_MEMORY) past its end. Without room it counts only.
class Writer {
 public:
  Writer() = default;
  explicit Writer(std::span<std::byte> room) : room_(room), counts_only_(room.empty()) {}

  template <class T>
  requires std::is_trivially_copyable_v<T>
  void put(const T& value) { put_raw(&value, sizeof value); }
  // A struct of the ABI, of whatever size its writer knows.
  template <class T>
  void put_struct(const T* value) {
    T whole = sdk::load(value);
    whole.extension = nullptr;
    put(whole);
  }
  template <class T>
  void put_array(const T* items, std::uint64_t count) {
    put(count);
    put_raw(items, count * sizeof(T));
  }
  void put_text(std::string_view text) { put_array(text.data(), text.size()); }

  // An array whose items are written in place.
  template <class T>
  std::span<T> room_for(std::uint64_t count) {
    put(count);
    const std::uint64_t at = used_;
    if (count > room_.size() / sizeof(T) || (count * sizeof(T) + 7) / 8 * 8 > room_.size() - used_) overflow();
    used_ += (count * sizeof(T) + 7) / 8 * 8;
    return {reinterpret_cast<T*>(room_.data() + at), count};
  }

  std::uint64_t size() const noexcept { return used_; }

 private:
  [[noreturn]] static void overflow() {
    throw sdk::Failure(NACELLE_OUT_OF_MEMORY, "a message to or from an isolated plugin is too large");
  }
  void put_raw(const void* data, std::uint64_t size) {
    const std::uint64_t padded = (size + 7) / 8 * 8;
    if (!counts_only_) {
      if (size > room_.size() || padded > room_.size() - used_) overflow();
      if (size) std::memcpy(room_.data() + used_, data, size);
    }
    used_ += padded;
  }

  std::span<std::byte> room_;
  std::uint64_t used_ = 0;
  bool counts_only_ = true;
};

// Reads what a Writer put, in its order. Throws sdk::Failure(INTERNAL) past the end. What it returns lies in the
// message.
class Reader {
 public:
  Reader() = default;
  explicit Reader(std::span<const std::byte> message) : message_(message) {}

  template <class T>
  requires std::is_trivially_copyable_v<T> T get() {
    T value;
    std::memcpy(&value, raw(sizeof value), sizeof value);
    return value;
  }
  template <class T>
  std::span<const T> get_array() {
    const auto count = get<std::uint64_t>();
    if (count > message_.size() / sizeof(T)) cut();
    return {reinterpret_cast<const T*>(raw(count * sizeof(T))), count};
  }
  std::string_view get_text() {
    const auto text = get_array<char>();
    return {text.data(), text.size()};
  }

 private:
  [[noreturn]] static void cut() {
    throw sdk::Failure(NACELLE_INTERNAL, "a message of an isolated plugin was cut short");
  }
  const std::byte* raw(std::uint64_t size) {
    const std::uint64_t padded = (size + 7) / 8 * 8;
    if (padded > message_.size() - used_) cut();
    const std::byte* at = message_.data() + used_;
    used_ += padded;
    return at;
  }

  std::span<const std::byte> message_;
  std::uint64_t used_ = 0;
};

}  // namespace nacelle::isolation
