// How much each client has been served, so that the one with the least goes next: the virtual token counter of Sheng et
// al., "Fairness in Serving Large Language Models" (OSDI 2024). The engine's thread only.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

namespace nacelle {

class FairShare {
 public:
  struct Account {
    double service = 0;          // tokens computed for the client, those of answers counted twice
    std::uint32_t requests = 0;  // in the engine
  };

  // A request of `client` came or went. Whoever had none begins at the least service of those that have some: time away
  // earns no credit. The account stays where it is until its last request is gone.
  Account& enter(const std::string& client);
  void leave(const std::string& client);
  std::size_t accounts() const noexcept { return accounts_.size(); }

 private:
  double least() const;
  void forget_idle();
  std::unordered_map<std::string, Account> accounts_;
};

}  // namespace nacelle
