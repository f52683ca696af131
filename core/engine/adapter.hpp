// Low-rank adapters (LoRA) in host memory, as a model's weights want them, and which of them lie in the slots of its
// devices.
#pragma once

#include <nacelle/graph.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/formats/adapter_file.hpp"
#include "sdk/runtime/graph.hpp"

namespace nacelle {

// Of one weight of the graph, [N, K]: y += (x A^T) B^T; the scale is in B. Experts [E, N, K] have a pair each.
struct AdapterPart {
  std::string weight;
  std::uint32_t rank = 0;
  std::vector<float> a, b;  // [rank, K], [N, rank]; of experts [E, rank, K], [E, N, rank]
};

// Immutable; any thread.
struct Adapter {
  std::string name;  // as requests ask for it
  std::filesystem::path path;
  std::string hash;        // of its contents: equal ones share KV
  std::uint32_t rank = 0;  // the largest
  std::vector<AdapterPart> parts;
  // Of the head [vocabulary, K] and of the tokens' embedding [vocabulary, K]: these the host applies, see
  // host_adapter.hpp. What scales logits and embeddings is in B, too.
  std::optional<AdapterPart> head, embedding;
  float head_soft_cap = 0;  // of the logits; 0: none

  // nullptr where it leaves the weight alone.
  const AdapterPart* find(std::string_view weight) const noexcept;
};
using AdapterPtr = std::shared_ptr<const Adapter>;

enum class AdapterPlace { kLayer, kHead, kEmbedding };

// A weight that adapters may change.
struct AdapterTarget {
  AdapterPlace place = AdapterPlace::kLayer;
  float scale = 1, soft_cap = 0;  // of what the weight gives, before it goes on
  bool ready = true;              // false: the graph has no room for such a change
  std::string weight;
  std::int32_t layer = -1;
  std::vector<std::int64_t> shape;
  std::shared_ptr<const sdk::WeightSource> source;
};
// Of the layers, in the graph's order; then head and embedding, where the graph says how they are made.
std::vector<AdapterTarget> adapter_targets(const sdk::GraphRecord& graph);

// Turns changes of tensors, of the model's file or of the same model's in the other format, into changes of the graph's
// weights. Throws Error(kUnsupported or kInvalidArgument) with one line that names the tensor, what was expected and
// what was found.
AdapterPtr fit_adapter(std::string name, AdapterFile file, const std::vector<AdapterTarget>& targets,
                       const ModelFiles& model, std::uint32_t max_rank);

// The table of slots: which adapter lies where, and how many running sequences use it. A slot that is used is never
// given away; of the others the least recently used one is. The engine's thread only.
class AdapterTable {
 public:
  explicit AdapterTable(std::uint32_t slots) : slots_(slots) {}

  // The use of a slot by one sequence.
  class Hold {
   public:
    Hold() = default;
    Hold(AdapterTable& table, std::uint32_t slot) : table_(&table), slot_(slot) {}
    Hold(Hold&& other) noexcept : table_(std::exchange(other.table_, nullptr)), slot_(other.slot_) {}
    Hold& operator=(Hold&& other) noexcept {
      std::swap(table_, other.table_);
      std::swap(slot_, other.slot_);
      return *this;
    }
    ~Hold() {
      if (table_) --table_->slots_[slot_].users;
    }
    // NACELLE_NO_VALUE where none is held.
    std::uint32_t slot() const noexcept { return table_ ? slot_ : NACELLE_NO_VALUE; }

   private:
    AdapterTable* table_ = nullptr;
    std::uint32_t slot_ = 0;
  };

  // Whether take() would find a slot.
  bool can_take(const Adapter& adapter) const;
  Hold take(const AdapterPtr& adapter);

  struct Write {
    std::uint32_t slot;
    AdapterPtr adapter;
  };
  // What must be written to the devices before the next step, in this order. The caller clears it.
  std::vector<Write>& writes() noexcept { return writes_; }
  // Nobody knows what the slots hold any more; none may be used.
  void forget();

 private:
  struct Slot {
    std::string hash;  // empty: nothing of use
    std::uint32_t users = 0;
    std::uint64_t used = 0;  // when it was taken last
  };
  // The slot that has the adapter, else the one that it may have; size() where all are in use.
  std::size_t find(const Adapter& adapter) const;

  std::vector<Slot> slots_;
  std::vector<Write> writes_;
  std::uint64_t now_ = 0;
};

}  // namespace nacelle
