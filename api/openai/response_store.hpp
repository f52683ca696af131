// Responses that GET and previous_response_id find again: in memory, the oldest given up first; never one that runs.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "api/openai/names.hpp"
#include "api/openai/response_events.hpp"

namespace nacelle::openai {

class BackgroundResponse;

struct StoredResponse {
  std::string json;  // the response
  // The conversation up to its end, in the form of ChatPrompt; instructions left out. Null where it did not come to an
  // end, or is too large to be kept beside the response.
  Json messages;
  std::shared_ptr<const Json> items = nullptr;  // of its input, as GET .../input_items lists them; null: as messages
  std::string owner = {};                       // the API key's name, as Request::client: nobody else finds it
  bool background = false;                      // it was asked for in the background
  std::shared_ptr<EventLog> events = nullptr;   // of one in the background that was streamed
  std::vector<std::pair<std::string, std::string>> output = {};  // its items, by id: JSON
};

// What there is under an id: a response that is over, or one that runs in the background, or nothing.
struct FoundResponse {
  std::shared_ptr<const StoredResponse> kept;
  std::shared_ptr<BackgroundResponse> running;
  std::shared_ptr<const Json> items;
  std::shared_ptr<EventLog> events;
  explicit operator bool() const noexcept { return kept || running; }
};

// All functions may be called from any thread.
class ResponseStore {
 public:
  static constexpr std::size_t kMaxResponses = 1000;
  static constexpr std::size_t kMaxBytes = 64u << 20;
  static constexpr std::size_t kMaxRunning = 256;

  struct Limits {
    std::size_t responses = kMaxResponses, bytes = kMaxBytes;  // of those that are over
    std::size_t running = kMaxRunning;                         // in the background; their input in as many bytes
    std::size_t event_bytes = EventRoom::kMaxBytes;
  };
  ResponseStore() : ResponseStore(Limits()) {}
  explicit ResponseStore(Limits limits) : limits_(limits), room_(std::make_shared<EventRoom>(limits.event_bytes)) {}

  void put(const std::string& id, StoredResponse response);
  // A response that runs; `bytes`: what its input takes. Throws RequestError(429) where as many run as may.
  void begin(const std::string& id, std::shared_ptr<BackgroundResponse> response, std::size_t bytes);
  // It is over: put() in its place, unless it was erased.
  void finish(const std::string& id, StoredResponse response);
  // Makes room for one more log: the oldest responses' logs are given up until half is free.
  std::shared_ptr<EventLog> make_log();

  // Nothing where it was never stored, was given up, or is another's.
  FoundResponse find(const std::string& id, const std::string& owner) const;
  bool erase(const std::string& id, const std::string& owner);
  // The JSON of an item of a kept response's output; "" as for find().
  std::string find_item(const std::string& id, const std::string& owner) const;

 private:
  struct Entry {
    std::string id;
    std::shared_ptr<const StoredResponse> response;
    std::size_t bytes;
    std::shared_ptr<EventLog> events;
  };
  struct Running {
    std::shared_ptr<BackgroundResponse> response;
    std::size_t bytes;
  };
  using Entries = std::list<Entry>;
  void insert(const std::string& id, StoredResponse response, std::size_t bytes);
  void erase(Entries::iterator entry);
  std::size_t bytes_to_keep(StoredResponse& response) const;

  const Limits limits_;
  const std::shared_ptr<EventRoom> room_;
  mutable std::mutex mutex_;
  Entries entries_;  // oldest first
  std::unordered_map<std::string, Entries::iterator> by_id_;
  std::unordered_map<std::string, Entries::iterator> by_item_;  // of an item of its output
  std::unordered_map<std::string, Running> running_;
  std::size_t bytes_ = 0, running_bytes_ = 0;
};

// What a tree of JSON takes: several times its text.
std::size_t tree_bytes(const Json& json);

}  // namespace nacelle::openai
