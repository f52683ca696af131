// What `nacelle kernels` shows: each case of the model, the variant that runs it, and why the others do not.
#include <nacelle/types.hpp>
#include <set>
#include <string>
#include <tuple>

#include "backends/cpu/weights.hpp"

namespace nacelle::cpu {
namespace {

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return text;
}

struct Line {
  std::string_view op;
  std::string pattern, variant, reason;
  std::uint32_t revision, state;
  double cost;
};

void show(const Line& line, const std::function<void(const nacelle_kernel_info&)>& visit) {
  auto info = sdk::make<nacelle_kernel_info>();
  info.op = sdk::view(line.op);
  info.pattern = sdk::view(line.pattern);
  info.variant = sdk::view(line.variant);
  info.reason = sdk::view(line.reason);
  info.revision = line.revision;
  info.state = line.state;
  info.static_cost = line.cost;
  visit(info);
}

Line describe(const MatmulVariant& variant, const MatmulVariant& selected, IsaSet usable, const std::string& pattern) {
  Line line{"matmul", pattern, variant.name, {}, variant.revision, NACELLE_KERNEL_CANDIDATE, variant.cost};
  if (&variant == &selected) {
    line.state = NACELLE_KERNEL_SELECTED;
    line.reason = std::string("lowest static cost, or pinned; numerics ") + variant.numerics;
  } else if (!usable.has(variant.isa)) {
    line.state = NACELLE_KERNEL_UNUSABLE;
    line.reason = std::string("needs ") + to_string(variant.isa) +
                  (!detect_isa().has(variant.isa) ? ", which this processor or kernel does not offer"
                                                  : ", which backend.cpu.isa forbids");
  } else {
    line.reason = std::string("higher static cost; numerics ") + variant.numerics;
  }
  return line;
}

}  // namespace

void CpuWeights::visit_kernels(const std::function<void(const nacelle_kernel_info&)>& visit) const {
  std::set<std::tuple<nacelle_type, std::uint64_t, std::uint64_t>> cases;
  for (const PackedMatrix& matrix : matrices_)
    if (matrix.variant) cases.emplace(matrix.type, matrix.rows, matrix.columns);
  for (const auto& [type, rows, columns] : cases) {
    const std::string pattern =
        lower(type_info(type)->name) + " N=" + std::to_string(rows) + " K=" + std::to_string(columns);
    const MatmulVariant* selected = choose(type, pins_);
    show(describe(*selected, *selected, isa_, pattern), visit);
    for_matmul_variants(type, [&](const MatmulVariant& variant) {
      if (&variant != selected) show(describe(variant, *selected, isa_, pattern), visit);
    });
  }
  const std::string name =
      std::string("paged_16x") + std::to_string(kMaxQueries) + "_" + to_string(choose_table(isa_).isa);
  std::set<std::string> shapes;
  for (std::uint32_t i = 0; i < graph_.op_count; ++i) {
    if (graph_.ops[i]->kind != NACELLE_OP_ATTENTION) continue;
    const auto of = sdk::load(static_cast<const nacelle_attention_attributes*>(graph_.ops[i]->attributes));
    shapes.insert("H=" + std::to_string(of.head_count) + " G=" + std::to_string(of.kv_head_count) +
                  " D=" + std::to_string(of.key_width));
  }
  for (const std::string& shape : shapes)
    show({"attention", shape, name, "the only variant of this level", 1, NACELLE_KERNEL_SELECTED, 1}, visit);
}

}  // namespace nacelle::cpu
