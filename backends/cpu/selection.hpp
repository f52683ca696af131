// Which matmul variant runs each weight: pins first, then what was measured on this machine, then static cost. All
// variants of a model's weights of one type are of one numerics class, so a measurement never changes a bit.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <nacelle/backend.hpp>
#include <nacelle/tuning.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/cpu/registry.hpp"

namespace nacelle::cpu {

// Settings like "matmul.q8_0=variant", parted by semicolons. Throws sdk::Failure(INVALID_ARGUMENT), one line, for what
// is no pin, names no variant, or one that cannot run here.
class Pins {
 public:
  Pins(std::string_view text, IsaSet usable);
  const MatmulVariant* find(nacelle_type type) const;  // nullptr: not pinned

 private:
  std::vector<const MatmulVariant*> variants_;
};

// "q8_0"
std::string type_name(nacelle_type type);

// What one measured run of a case multiplies: so many experts of each of its weights, each by so many rows.
struct Load {
  std::uint32_t experts, rows;
};

// Weights of one type that read the same input in one or more layers: they run as one step of `n` columns in all. Of a
// mixture `n` is of one expert, and each row takes `used` of `experts`.
struct MatmulCase {
  nacelle_type type;
  std::uint64_t n, k;
  std::uint32_t experts, used;                                  // 1, 1: no mixture
  std::vector<std::vector<std::uint32_t>> layers;               // weights of each step
  std::array<std::uint32_t, sdk::kRowBucketCount> most_rows{};  // that a plan gives it in each bucket; 0: none does

  std::string op() const;       // "matmul", "moe_matmul"
  std::string pattern() const;  // "q8_0 N=2048 K=256", "q8_0 E=64/8 N=1024 K=2048"
  // `rows` spread evenly over the experts. A few experts stand for all: reading hundreds would take the budget.
  Load load(std::uint32_t rows) const;
  double operations(const Load& load) const { return 2.0 * load.experts * load.rows * static_cast<double>(n * k); }
};

// How one bucket of a case came to its variant.
struct Choice {
  const MatmulVariant* variant = nullptr;
  std::uint32_t by = NACELLE_CHOSEN_BY_COST;
  std::optional<sdk::Verdict> verdict;
};

// What two cores may find of a model in the last cache, at the most.
std::uint64_t cache_bytes();

class Selection {
 public:
  // Reads the verdicts of the tuning cache; tell() says what it lacks. Throws as Pins does.
  Selection(const sdk::Host& host, IsaSet usable, const nacelle_graph& graph, std::span<const nacelle_bucket> buckets,
            std::string_view pins);

  // The variant of a weight for plans in `rows`, an index into sdk::kRowBuckets; nullptr for a type without any.
  const MatmulVariant* variant(std::uint32_t weight, nacelle_type type, std::uint32_t rows) const;
  // The row bucket in which a plan runs a weight.
  std::uint32_t rows_of(std::uint32_t weight, const nacelle_bucket& bucket) const;

  const std::vector<MatmulCase>& cases() const { return cases_; }
  const Choice& choice(std::size_t index, std::uint32_t rows) const { return choices_[index][rows]; }

  // Usable variants of the numerics class that the type is bound to, by static cost in the row bucket.
  // Those for lone rows are candidates for these alone.
  std::vector<const MatmulVariant*> candidates(nacelle_type type, std::uint32_t rows) const;
  // The variant that the type has in a row bucket without any measurement.
  const MatmulVariant* prior(nacelle_type type, std::uint32_t rows) const;
  bool differs(const MatmulVariant& variant, std::uint32_t rows) const {
    return cpu::differs(variant, rows == 0, from_memory_);
  }
  bool pinned(nacelle_type type) const { return pins_.find(type) != nullptr; }
  IsaSet usable() const { return usable_; }

  // Takes a new verdict and keeps it. False where it could not be written.
  bool decide(std::size_t index, std::uint32_t rows, sdk::Verdict verdict);
  // One line in the log where static cost has to do.
  void tell() const;
  // After decide(): says in the cache that this build has tuned.
  void mark_tuned() { cache_.mark(); }

 private:
  static constexpr std::uint32_t kNoCase = ~0u;
  struct Use {
    std::uint32_t index = kNoCase;  // into cases_
    bool of_outputs = false;        // its rows are those whose logits are wanted
  };

  void find_cases(const nacelle_graph& graph, std::span<const nacelle_bucket> buckets);
  const MatmulVariant* find_winner(nacelle_type type, std::uint32_t rows, const sdk::Measurement& winner) const;
  sdk::TuningCase key(std::size_t index, std::uint32_t rows) const;

  IsaSet usable_;
  bool from_memory_;  // whether weights come from memory at each step, as they are more than the caches hold
  Pins pins_;
  sdk::TuningCache cache_;
  std::vector<Use> uses_;  // by weight
  std::vector<MatmulCase> cases_;
  std::vector<std::array<Choice, sdk::kRowBucketCount>> choices_;
};

}  // namespace nacelle::cpu
