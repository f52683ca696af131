// The three attribute structs that name a layer of a cache group.
#include "sdk/runtime/cache_use.hpp"

namespace nacelle::sdk {
namespace {

template <class T>
CacheUse read(const Attributes& attributes) {
  const T a = attributes.as<T>();
  return {a.cache_group, a.cache_layer};
}

template <class T>
Attributes with(const Attributes& attributes, CacheUse use) {
  T a = attributes.as<T>();
  a.cache_group = use.group;
  a.cache_layer = use.layer;
  return Attributes(a);
}

}  // namespace

std::optional<CacheUse> cache_use(std::uint32_t kind, const Attributes& attributes) {
  switch (kind) {
    case NACELLE_OP_ATTENTION:
    case NACELLE_OP_CHUNKED_ATTENTION: {
      const CacheUse use = read<nacelle_attention_attributes>(attributes);
      return use.group == NACELLE_NO_CACHE ? std::nullopt : std::optional(use);
    }
    case NACELLE_OP_STATE_SCAN: return read<nacelle_scan_attributes>(attributes);
    case NACELLE_OP_CONVOLUTION: return read<nacelle_convolution_attributes>(attributes);
    default: return std::nullopt;
  }
}

void set_cache_use(OpRecord& op, CacheUse use) {
  switch (op.kind) {
    case NACELLE_OP_ATTENTION:
    case NACELLE_OP_CHUNKED_ATTENTION: op.attributes = with<nacelle_attention_attributes>(op.attributes, use); break;
    case NACELLE_OP_STATE_SCAN: op.attributes = with<nacelle_scan_attributes>(op.attributes, use); break;
    case NACELLE_OP_CONVOLUTION: op.attributes = with<nacelle_convolution_attributes>(op.attributes, use); break;
    default: break;
  }
}

}  // namespace nacelle::sdk
