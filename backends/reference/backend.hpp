// The reference backend as a class, which other backends are built on: derive from it, say what your device is, and put
// your own functions in the place of one operation after the other. All else (weights, cache, plans, step blocks, the
// selection of tokens) is there already, plain and correct. It computes in host memory: a device with memory of its own
// outgrows it, and derives from the classes of nacelle/backend.hpp instead.
#pragma once

#include <memory>
#include <nacelle/backend.hpp>
#include <span>
#include <string>

#include "ops.hpp"

namespace nacelle::reference {

class ReferenceBackend : public sdk::Backend {
 public:
  // `replacements` live as long as the plugin: an array of constants.
  explicit ReferenceBackend(const sdk::Host& host, std::span<const Replacement> replacements = {})
      : host_(host), replacements_(replacements) {}

  // One device, index 0.
  std::uint32_t device_count(std::string_view&) override { return 1; }
  std::unique_ptr<sdk::Device> open(std::uint32_t index) override;

 protected:
  // What a backend in host memory answers; set kind, name and detail. Throws sdk::Failure for another index than 0.
  static nacelle_device_info host_memory_device(std::uint32_t index);
  const sdk::Host& host() const { return host_; }

 private:
  sdk::Host host_;
  std::span<const Replacement> replacements_;
};

}  // namespace nacelle::reference
