// Names of KV blocks by what is in them: a block of tokens and all that comes before it. Any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace nacelle {

struct BlockKey {
  std::uint64_t low = 0, high = 0;
  bool operator==(const BlockKey&) const = default;
};

struct BlockKeyHash {
  std::size_t operator()(const BlockKey& key) const noexcept { return static_cast<std::size_t>(key.low); }
};

// SipHash-2-4 with 128 bits of output (Aumasson and Bernstein 2012), in its authors' little-endian form.
BlockKey sip_hash(std::array<std::uint64_t, 2> secret, std::span<const std::byte> bytes);

// Makes keys under a secret of its own, so that nobody can make up a prompt that collides with another's.
class BlockKeys {
 public:
  BlockKeys();  // a random secret
  // What a chain of keys begins with: blocks under different names are never shared.
  BlockKey root(std::string_view name) const;
  BlockKey next(const BlockKey& parent, std::span<const std::int32_t> tokens) const;

 private:
  std::array<std::uint64_t, 2> secret_;
};

}  // namespace nacelle
