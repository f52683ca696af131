// Responses that GET and previous_response_id find again: in memory, the oldest given up first.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "api/openai/json.hpp"

namespace nacelle::openai {

struct StoredResponse {
  std::string json;   // the response
  Json messages;      // the conversation up to its end, in the form of ChatPrompt; instructions left out
  std::string owner;  // the API key's name, as Request::client: nobody else finds it; "" without keys
};

// All functions may be called from any thread.
class ResponseStore {
 public:
  static constexpr std::size_t kMaxResponses = 1000;
  static constexpr std::size_t kMaxBytes = 64u << 20;

  explicit ResponseStore(std::size_t max_responses = kMaxResponses, std::size_t max_bytes = kMaxBytes)
      : max_responses_(max_responses), max_bytes_(max_bytes) {}

  void put(const std::string& id, StoredResponse response);
  // nullptr where it was never stored, was given up, or is another's.
  std::shared_ptr<const StoredResponse> find(const std::string& id, const std::string& owner) const;
  bool erase(const std::string& id, const std::string& owner);

 private:
  struct Entry {
    std::string id;
    std::shared_ptr<const StoredResponse> response;
    std::size_t bytes;
  };
  using Entries = std::list<Entry>;
  void erase(Entries::iterator entry);

  const std::size_t max_responses_, max_bytes_;
  mutable std::mutex mutex_;
  Entries entries_;  // oldest first
  std::unordered_map<std::string, Entries::iterator> by_id_;
  std::size_t bytes_ = 0;
};

}  // namespace nacelle::openai
