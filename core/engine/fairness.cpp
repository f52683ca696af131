#include "core/engine/fairness.hpp"

#include <algorithm>
#include <limits>

namespace nacelle {

double FairShare::least() const {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [client, account] : accounts_)
    if (account.requests != 0) least = std::min(least, account.service);
  return least == std::numeric_limits<double>::infinity() ? 0 : least;
}

FairShare::Account& FairShare::enter(const std::string& client) {
  const double least = this->least();
  Account& account = accounts_[client];
  if (account.requests++ == 0) account.service = std::max(account.service, least);
  return account;
}

void FairShare::leave(const std::string& client) {
  if (--accounts_[client].requests == 0) forget_idle();
}

// An idle client that is behind the others is lifted to them when it comes back, so nothing need be kept of it; one
// that is ahead is remembered until they have caught up.
void FairShare::forget_idle() {
  bool busy = false;
  for (const auto& [client, account] : accounts_) busy |= account.requests != 0;
  const double least = this->least();
  std::erase_if(accounts_, [&](const auto& entry) {
    return entry.second.requests == 0 && (!busy || entry.second.service <= least);
  });
}

}  // namespace nacelle
