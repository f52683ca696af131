#include "api/openai/random_id.hpp"

#include <cstddef>
#include <random>

namespace nacelle::openai {

std::string random_id(std::string_view prefix) {
  constexpr std::string_view kDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  thread_local std::mt19937_64 generator{std::random_device{}()};
  std::uniform_int_distribution<std::size_t> digit(0, kDigits.size() - 1);
  std::string id(prefix);
  for (int i = 0; i < 24; ++i) id += kDigits[digit(generator)];
  return id;
}

}  // namespace nacelle::openai
