// What `nacelle kernels` shows: each case of the model, the variant that runs it, and why the others do not.
#include <cstdio>
#include <nacelle/attention.hpp>
#include <nacelle/types.hpp>
#include <set>
#include <string>

#include "backends/cpu/weights.hpp"

namespace nacelle::cpu {
namespace {

std::string format(const char* pattern, double value) {
  char text[96];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

// One line of the list. Its texts live until it was shown.
struct Line {
  std::string op, pattern, rows, variant, reason;
  nacelle_kernel_info info = sdk::make<nacelle_kernel_info>();

  void show(const std::function<void(const nacelle_kernel_info&)>& visit) {
    info.op = sdk::view(op);
    info.pattern = sdk::view(pattern);
    info.rows = sdk::view(rows);
    info.variant = sdk::view(variant);
    info.reason = sdk::view(reason);
    visit(info);
  }
};

const sdk::Measurement* find(const std::optional<sdk::Verdict>& verdict, const MatmulVariant& variant) {
  if (verdict)
    for (const sdk::Measurement& m : verdict->measured)
      if (m.variant == variant.name && m.revision == variant.revision) return &m;
  return nullptr;
}

// One case in one row bucket.
class CaseLines {
 public:
  CaseLines(const Selection& selection, std::size_t index, std::uint32_t rows, std::uint64_t expert_bytes)
      : selection_(selection),
        of_(selection.cases()[index]),
        choice_(selection.choice(index, rows)),
        rows_(rows),
        expert_bytes_(expert_bytes) {}

  void show(const std::function<void(const nacelle_kernel_info&)>& visit) const {
    describe(*choice_.variant).show(visit);
    for_matmul_variants(of_.type, [&](const MatmulVariant& variant) {
      if (&variant != choice_.variant) describe(variant).show(visit);
    });
  }

 private:
  Line describe(const MatmulVariant& variant) const {
    Line line;
    line.op = of_.op();
    line.pattern = of_.pattern();
    line.rows = sdk::kRowBuckets[rows_].name;
    line.variant = variant.name;
    nacelle_kernel_info& info = line.info;
    info.revision = variant.revision;
    info.static_cost = static_cost(variant);
    if (const sdk::Measurement* m = find(choice_.verdict, variant)) {
      const sdk::Verdict& verdict = *choice_.verdict;
      info.measured_seconds = m->seconds;
      info.spread_seconds = m->spread;
      info.floor_seconds = verdict.floor_seconds;
      const Load load = of_.load(verdict.rows);
      info.bytes = static_cast<double>(expert_bytes_ * load.experts);
      info.operations = of_.operations(load);
      info.bound = verdict.bound == sdk::Bound::kMemory ? NACELLE_BOUND_MEMORY : NACELLE_BOUND_COMPUTE;
    }
    judge(variant, line);
    return line;
  }

  double static_cost(const MatmulVariant& variant) const { return cost_on(selection_.usable(), variant, rows_ == 0); }

  void judge(const MatmulVariant& variant, Line& line) const {
    line.info.state = NACELLE_KERNEL_CANDIDATE;
    if (&variant == choice_.variant) {
      line.info.state = NACELLE_KERNEL_SELECTED;
      line.info.chosen_by = choice_.by;
      line.reason = std::string(chosen()) + "; numerics " + variant.numerics;
    } else if (!selection_.usable().has(variant.isa)) {
      line.info.state = NACELLE_KERNEL_UNUSABLE;
      line.reason = std::string("needs ") + to_string(variant.isa) +
                    (!detect_isa().has(variant.isa) ? ", which this processor or kernel does not offer"
                                                    : ", which --isa-cap forbids");
    } else if (!selection_.differs(variant, rows_)) {
      line.info.state = NACELLE_KERNEL_UNUSABLE;
      line.reason = variant.lone_row == LoneRow::kHinted ? "for one row"
                                                         : "for one row whose weights come from memory at each step";
    } else if (variant.numerics != std::string_view(choice_.variant->numerics)) {
      line.reason = std::string("of another numerics class, ") + variant.numerics;
    } else {
      line.reason = lost(variant, line.info.measured_seconds);
    }
  }

  const char* chosen() const {
    switch (choice_.by) {
      case NACELLE_CHOSEN_BY_PIN: return "pinned";
      case NACELLE_CHOSEN_BY_MEASUREMENT: return "measured";
      default: return "lowest static cost, not measured";
    }
  }

  std::string lost(const MatmulVariant& variant, double seconds) const {
    const sdk::Measurement* winner = find(choice_.verdict, *choice_.variant);
    if (choice_.by == NACELLE_CHOSEN_BY_PIN) return "another variant is pinned";
    if (!winner || seconds <= 0 || winner->seconds <= 0)
      return format("static cost %.3g times the chosen one's, not measured",
                    static_cost(variant) / static_cost(*choice_.variant));
    const double times = seconds / winner->seconds;
    return times < 1 ? format("%.1f %% faster, too little to displace the static choice", 100 * (1 - times))
                     : format("%.2f times slower", times);
  }

  const Selection& selection_;
  const MatmulCase& of_;
  const Choice& choice_;
  std::uint32_t rows_;
  std::uint64_t expert_bytes_;  // of all weights together, one expert of each
};

}  // namespace

void CpuWeights::visit_kernels(const std::function<void(const nacelle_kernel_info&)>& visit) const {
  for (std::size_t i = 0; i < selection_.cases().size(); ++i) {
    const MatmulCase& of = selection_.cases()[i];
    std::uint64_t expert_bytes = 0;
    for (const std::uint32_t weight : of.layers[0]) expert_bytes += matrices_[0][weight].memory.size() / of.experts;
    for (std::uint32_t rows = 0; rows < sdk::kRowBucketCount; ++rows)
      if (of.most_rows[rows] && selection_.choice(i, rows).variant)
        CaseLines(selection_, i, rows, expert_bytes).show(visit);
  }
  std::set<std::string> shapes;
  for (std::uint32_t i = 0; i < graph_.op_count; ++i) {
    if (!is_attention(graph_.ops[i]->kind)) continue;
    const auto of = sdk::load(static_cast<const nacelle_attention_attributes*>(graph_.ops[i]->attributes));
    shapes.insert("H=" + std::to_string(of.head_count) + " G=" + std::to_string(of.kv_head_count) +
                  " D=" + std::to_string(of.key_width));
  }
  for (const std::string& shape : shapes) {
    Line line;
    line.op = "attention";
    line.pattern = shape;
    line.variant = std::string("paged_16x") + std::to_string(kMaxQueries) + "_" + to_string(choose_table(isa_).isa);
    line.reason = "the only variant of this level";
    line.info.revision = 1;
    line.info.state = NACELLE_KERNEL_SELECTED;
    line.info.static_cost = 1;
    line.show(visit);
  }
}

}  // namespace nacelle::cpu
