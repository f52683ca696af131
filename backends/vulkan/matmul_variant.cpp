// Choosing among them, and `nacelle kernels`.
#include "backends/vulkan/matmul_variant.hpp"

#include <algorithm>
#include <nacelle/types.hpp>
#include <set>

namespace nacelle::vulkan {
namespace {

// Rows of buckets up to which one tile of that many rows is used.
constexpr std::uint32_t kFewRows = 8;
// From here on a tile of 64 rows is worth its while. By reckoning: no GPU has measured it.
constexpr std::uint32_t kMatrixRows = 32;

// f16 holds their weights; those of F32 and BF16 it may not.
bool has_matrix_shader(Format format) { return format != Format::kF32 && format != Format::kBf16; }

VkPipeline matrix_pipeline(VulkanDevice& device, Format format) {
  const MatrixTile& tile = device.physical().matrix;
  return device.pipelines().get(std::string("matmul_matrix_") + format_name(format),
                                {kMatrixThreads, 1, tile.m, tile.n, tile.k, tile.of_subgroup}, true);
}

bool has_int8_shader(Format format) {
  return format == Format::kQ8_0 || format == Format::kQ4_0 || format == Format::kQ4_K;
}

}  // namespace

std::string MatmulVariant::name(Format format) const {
  return std::string(format_name(format)) + "_" + std::to_string(rows) + "x" + std::to_string(panels * kPanelColumns) +
         (slices > 1 ? "_split" + std::to_string(slices) : "") + (shared_lanes ? "_broadcast" : "") +
         (integer ? "_int8" : "") + (matrix ? "_matrix" : "");
}

bool multiplies_int8(const VulkanDevice& device, Format format) {
  return device.int8_reason().empty() && has_int8_shader(format);
}

bool multiplies_matrices(VulkanDevice& device, Format format) {
  if (!device.physical().matrix.m || !has_matrix_shader(format)) return false;
  try {
    return matrix_pipeline(device, format) != VK_NULL_HANDLE;
  } catch (const sdk::Failure& failure) {
    device.log(NACELLE_LOG_WARNING, std::string(failure.what()) + "; not using cooperative matrices");
    return false;
  }
}

MatmulVariant choose_matmul(const VulkanDevice& device, std::uint64_t rows, const PackedMatrix& matrix) {
  const bool integer = multiplies_int8(device, matrix.shape.format);
  const std::uint32_t subgroup = device.physical().subgroup,
                      shared = !integer && subgroup <= kPanelColumns ? subgroup : 0;
  const bool few = rows <= kFewRows;
  if (matrix.any_bits && rows >= kMatrixRows) return {kMatrixSide, kMatrixSide / kPanelColumns, 1, 0, false, true};
  if (!device.profile().slices_side_by_side) return {few && rows < 4 ? 1u : 4u, few ? 4u : 2u, 1, shared, integer};
  if (few) return {rows == 1 ? 1u : rows <= 4 ? 4u : 8u, 1, matrix.slices, shared, integer};
  return {8, 2, 1, shared, integer};
}

VkPipeline pipeline_of(VulkanDevice& device, Format format, const MatmulVariant& variant) {
  if (variant.matrix) return matrix_pipeline(device, format);
  const std::string shader = std::string(variant.integer ? "matmul_int8_" : "matmul_") + format_name(format);
  const auto get = [&](std::uint32_t shared) {
    return device.pipelines().get(shader, {kPanelColumns, variant.slices, variant.rows, variant.panels, shared},
                                  shared != 0);
  };
  if (!variant.shared_lanes) return get(0);
  try {
    return get(variant.shared_lanes);
  } catch (const sdk::Failure& failure) {  // a driver with an unwell subgroup broadcast
    if (device.pipelines().note_refusal(shader))
      device.log(NACELLE_LOG_WARNING, std::string(failure.what()) + "; using a variant without subgroup broadcasts");
    return get(0);
  }
}

// The line of a shader that does not run.
void VulkanWeights::visit_matrix_shader(const std::string& pattern, const PackedMatrix& matrix,
                                        const KernelVisit& visit) const {
  if (matrix.any_bits || !has_matrix_shader(matrix.shape.format)) return;
  const MatmulVariant variant{kMatrixSide, kMatrixSide / kPanelColumns, 1, 0, false, true};
  const std::string name = variant.name(matrix.shape.format), &obstacle = device_.physical().matrix_reason;
  auto info = sdk::make<nacelle_kernel_info>();
  info.op = sdk::view("matmul");
  info.pattern = sdk::view(pattern);
  info.variant = sdk::view(name);
  info.reason =
      obstacle.empty() ? sdk::view("promises a row no bits: used under numerics: fastest alone") : sdk::view(obstacle);
  info.revision = 1;
  info.state = obstacle.empty() ? NACELLE_KERNEL_CANDIDATE : NACELLE_KERNEL_UNUSABLE;
  info.rows = sdk::view("32+");
  visit(info);
}

void VulkanWeights::visit_kernels(const std::function<void(const nacelle_kernel_info&)>& visit) const {
  std::set<std::pair<std::string, std::string>> shown;
  for (const PackedMatrix& matrix : matrices_) {
    if (!matrix.shape.words()) continue;
    const std::string pattern = std::string(format_name(matrix.shape.format)) +
                                " N=" + std::to_string(matrix.shape.rows) +
                                " K=" + std::to_string(matrix.shape.columns);
    if (shown.emplace(pattern, "matrix").second) visit_matrix_shader(pattern, matrix, visit);
    const bool matrices = matrix.any_bits;
    for (const auto& [rows, label] :
         {std::pair{1u, "1"}, {kFewRows, "2-8"}, {9u, matrices ? "9-31" : "9+"}, {512u, "32+"}}) {
      if (rows == 512 && !matrices) continue;
      if (!shown.emplace(pattern, label).second) continue;
      const std::string variant = choose_matmul(device_, rows, matrix).name(matrix.shape.format);
      auto info = sdk::make<nacelle_kernel_info>();
      info.op = sdk::view("matmul");
      info.pattern = sdk::view(pattern);
      info.variant = sdk::view(variant);
      info.reason = sdk::view("the shape for this kind of device and number of rows");
      info.revision = 1;
      info.state = NACELLE_KERNEL_SELECTED;
      info.rows = sdk::view(label);
      visit(info);
    }
    if (!has_int8_shader(matrix.shape.format)) continue;
    const bool integer = multiplies_int8(device_, matrix.shape.format);
    const std::string variant = std::string(format_name(matrix.shape.format)) + (integer ? "_f32" : "_int8");
    auto info = sdk::make<nacelle_kernel_info>();
    info.op = sdk::view("matmul");
    info.pattern = sdk::view(pattern);
    info.variant = sdk::view(variant);
    info.reason =
        integer ? sdk::view("int8 products are faster where the hardware has them") : sdk::view(device_.int8_reason());
    info.revision = 1;
    info.state = integer ? NACELLE_KERNEL_CANDIDATE : NACELLE_KERNEL_UNUSABLE;
    info.rows = sdk::view("any");
    if (shown.emplace(pattern, "any").second) visit(info);
  }
}

}  // namespace nacelle::vulkan
