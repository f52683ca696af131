#include "core/engine/block_key.hpp"

#include <bit>
#include <cstring>
#include <random>

namespace nacelle {
namespace {

struct SipState {
  std::uint64_t v0, v1, v2, v3;
  void round() {
    v0 += v1, v2 += v3;
    v1 = std::rotl(v1, 13) ^ v0, v3 = std::rotl(v3, 16) ^ v2;
    v0 = std::rotl(v0, 32);
    v2 += v1, v0 += v3;
    v1 = std::rotl(v1, 17) ^ v2, v3 = std::rotl(v3, 21) ^ v0;
    v2 = std::rotl(v2, 32);
  }
  void absorb(std::uint64_t word) {
    v3 ^= word;
    round(), round();
    v0 ^= word;
  }
  std::uint64_t squeeze() {
    for (int i = 0; i < 4; ++i) round();
    return v0 ^ v1 ^ v2 ^ v3;
  }
};

static_assert(std::endian::native == std::endian::little);

SipState start(std::array<std::uint64_t, 2> secret) {
  return {secret[0] ^ 0x736f6d6570736575u, secret[1] ^ 0x646f72616e646f6du ^ 0xee, secret[0] ^ 0x6c7967656e657261u,
          secret[1] ^ 0x7465646279746573u};
}

// `before`: bytes that the state has absorbed already.
BlockKey finish(SipState state, std::span<const std::byte> bytes, std::size_t before) {
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + at, 8);
    state.absorb(word);
  }
  std::uint64_t last = 0;
  if (at < bytes.size()) std::memcpy(&last, bytes.data() + at, bytes.size() - at);
  state.absorb(last | std::uint64_t{before + bytes.size()} << 56);
  state.v2 ^= 0xee;
  BlockKey key;
  key.low = state.squeeze();
  state.v1 ^= 0xdd;
  key.high = state.squeeze();
  return key;
}

}  // namespace

BlockKey sip_hash(std::array<std::uint64_t, 2> secret, std::span<const std::byte> bytes) {
  return finish(start(secret), bytes, 0);
}

BlockKeys::BlockKeys() {
  std::random_device random;
  for (std::uint64_t& word : secret_) word = (std::uint64_t{random()} << 32) | random();
}

BlockKey BlockKeys::root(std::string_view name) const { return sip_hash(secret_, std::as_bytes(std::span(name))); }

BlockKey BlockKeys::next(const BlockKey& parent, std::span<const std::int32_t> tokens) const {
  SipState state = start(secret_);
  state.absorb(parent.low);
  state.absorb(parent.high);
  return finish(state, std::as_bytes(tokens), sizeof parent);
}

}  // namespace nacelle
