// Which adapter lies in which slot.
#include "core/engine/adapter.hpp"

namespace nacelle {

std::size_t AdapterTable::find(const Adapter& adapter) const {
  std::size_t best = slots_.size();
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].hash == adapter.hash) return i;
    if (slots_[i].users == 0 && (best == slots_.size() || slots_[i].used < slots_[best].used)) best = i;
  }
  return best;
}

bool AdapterTable::can_take(const Adapter& adapter) const { return find(adapter) < slots_.size(); }

AdapterTable::Hold AdapterTable::take(const AdapterPtr& adapter) {
  const std::size_t index = find(*adapter);
  Slot& slot = slots_.at(index);
  const auto number = static_cast<std::uint32_t>(index);
  if (slot.hash != adapter->hash) writes_.push_back({number, adapter});
  slot.hash = adapter->hash;
  slot.used = ++now_;
  ++slot.users;
  return {*this, number};
}

void AdapterTable::forget() {
  writes_.clear();
  for (Slot& slot : slots_) slot.hash.clear();
}

}  // namespace nacelle
