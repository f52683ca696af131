#include "backends/gpu/host/variants.hpp"

#include <nacelle/plugin.hpp>
#include <string>
#include <vector>

namespace nacelle::gpu {
namespace {

// Up to here a warp has a slice to itself: more warps read the weights at once. Beyond, weights are read once for many
// rows.
constexpr std::uint32_t kFewRows = 16;

struct Candidate {
  MatmulVariant variant;
  const char* rows;  // of a plan that takes it
};

std::vector<Candidate> candidates(const Format& format) {
  std::vector<Candidate> all;
  if (format.tensor_few != kNoKernel) {
    all.push_back({{format.tensor_few, true, 8, 1, true}, "1-16"});
    all.push_back({{format.tensor_many, true, 64, 8, false}, "17+"});
  }
  all.push_back({{format.plain_one, false, 1, 1, true}, "1"});
  all.push_back({{format.plain_few, false, 8, 1, true}, "2+"});
  return all;
}

}  // namespace

bool uses_tensor_cores(const Format& format, const DeviceProperties& device) {
  return device.tensor && format.tensor_few != kNoKernel;
}

MatmulVariant choose_matmul(const Format& format, bool tensor, std::uint32_t rows) {
  const std::vector<Candidate> all = candidates(format);
  if (tensor) return all[rows <= kFewRows ? 0 : 1].variant;
  return all[all.size() - (rows == 1 ? 2 : 1)].variant;
}

void visit_matmul_variants(const Format& format, std::uint32_t outputs, std::uint32_t columns,
                           const DeviceProperties& device,
                           const std::function<void(const nacelle_kernel_info&)>& visit) {
  const bool tensor = uses_tensor_cores(format, device);
  const std::string pattern =
      std::string(format.name) + " N=" + std::to_string(outputs) + " K=" + std::to_string(columns);
  for (const bool selected : {true, false})
    for (const Candidate& of : candidates(format)) {
      if ((of.variant.tensor == tensor) != selected) continue;
      auto info = sdk::make<nacelle_kernel_info>();
      info.op = sdk::view("matmul");
      info.pattern = sdk::view(pattern);
      info.variant = sdk::view(kKernelNames[static_cast<std::uint32_t>(of.variant.kernel)]);
      info.rows = sdk::view(of.rows);
      info.revision = 1;
      info.static_cost = of.variant.tensor ? 1 : 2;
      info.chosen_by = NACELLE_CHOSEN_BY_COST;
      if (selected) {
        info.state = NACELLE_KERNEL_SELECTED;
        info.reason = sdk::view("the class of this weight on this device, by cost");
      } else if (of.variant.tensor) {
        info.state = NACELLE_KERNEL_UNUSABLE;
        info.reason = sdk::view("the device has no m16n8k16 products (compute capability 8.0)");
      } else {
        info.state = NACELLE_KERNEL_CANDIDATE;
        info.reason = sdk::view("another numerics class: plain products in f32");
      }
      visit(info);
    }
}

}  // namespace nacelle::gpu
