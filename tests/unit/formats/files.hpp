// Helpers of the format tests: a folder that goes away, and the message of an error.
#pragma once
#include <stdlib.h>

#include <catch2/catch.hpp>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.hpp"

namespace nacelle::test {

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "nacelle_formats_XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()));
    path_ = name;
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

// The bytes in a heap block of exactly their size, so that a sanitizer sees a read beyond them.
inline std::vector<std::byte> exact_bytes(std::string_view text) {
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

// The message of the Error that `action` throws, which must be one line of moderate length; "" where it throws none.
template <typename Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    const std::string message = error.what();
    CHECK(message.find('\n') == std::string::npos);
    CHECK(message.size() < 800);
    return message;
  }
  return {};
}

// Calls `parse` with every shortened form of `bytes`, and with every byte changed in several ways. It may throw Error
// and nothing else. Returns how many calls did.
template <typename Parse>
std::size_t count_damaged(const std::string& bytes, Parse parse) {
  std::size_t errors = 0;
  const auto attempt = [&](std::string_view damaged) {
    const auto block = exact_bytes(damaged);
    try {
      parse(std::span(block));
    } catch (const Error& error) {
      ++errors;
    }
  };
  for (std::size_t size = 0; size < bytes.size(); ++size) attempt(std::string_view(bytes).substr(0, size));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (const int flip : {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff}) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ flip);
      attempt(damaged);
    }
  }
  return errors;
}

}  // namespace nacelle::test
