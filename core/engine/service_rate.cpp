#include "core/engine/service_rate.hpp"

#include <algorithm>
#include <cmath>

namespace nacelle {

void ServiceRate::note_end(Time now) {
  constexpr double kNew = 0.1;
  const Time last = ended_ ? ends_[(ended_ - 1) % ends_.size()] : begin_;
  const double each = std::chrono::duration<double>(now - last).count();
  pace_ = pace_ > 0 ? pace_ + kNew * (each - pace_) : each;
  ends_[ended_++ % ends_.size()] = now;
}

double ServiceRate::pace(bool idle, Time now) const {
  constexpr double kHalfLife = 30;  // seconds
  if (!idle || ended_ == 0) return pace_;
  const double since = std::chrono::duration<double>(now - ends_[(ended_ - 1) % ends_.size()]).count();
  return pace_ * std::exp2(-since / kHalfLife);
}

std::chrono::seconds ServiceRate::wait(std::size_t waiting, std::size_t running, Time now) const {
  const bool full = ended_ > ends_.size();
  const Time since = full ? ends_[ended_ % ends_.size()] : begin_;
  const std::size_t through = full ? ends_.size() - 1 : std::max<std::size_t>(ended_ ? ended_ : running, 1);
  const double each = std::chrono::duration<double>(now - since).count() / static_cast<double>(through);
  return std::chrono::seconds(std::clamp(std::llround(std::ceil(each * static_cast<double>(waiting))), 1ll, 600ll));
}

}  // namespace nacelle
