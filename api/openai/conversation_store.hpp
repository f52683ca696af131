// Conversations: lists of items that responses go on from and add to. In memory; the one that was used the longest ago
// is given up first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "api/openai/names.hpp"

namespace nacelle::openai {

struct Conversation {
  std::string id;
  std::int64_t created = 0;  // Unix seconds
  Json metadata = Json::object();
  std::vector<std::shared_ptr<const Json>> items = {};
};

std::vector<const Json*> items_of(const Conversation& conversation);

// All functions may be called from any thread. `owner`: the API key's name, as Request::client; nobody else finds it.
class ConversationStore {
 public:
  static constexpr std::size_t kMaxConversations = 1000;
  static constexpr std::size_t kMaxBytes = 64u << 20;

  // One conversation gets an eighth of the bytes; what responses add may go beyond.
  explicit ConversationStore(std::size_t max_conversations = kMaxConversations, std::size_t max_bytes = kMaxBytes)
      : max_conversations_(max_conversations), max_bytes_(max_bytes) {}

  Conversation create(const std::string& owner, Json metadata, Json items);
  // What there is now. nullopt where it was never made, was given up, or is another's.
  std::optional<Conversation> find(const std::string& id, const std::string& owner);
  bool set_metadata(const std::string& id, const std::string& owner, Json metadata);
  // Returns what was added, with its ids; nullopt where there is no such conversation.
  std::optional<std::vector<std::shared_ptr<const Json>>> append(const std::string& id, const std::string& owner,
                                                                 Json items);
  bool erase(const std::string& id, const std::string& owner);
  bool erase_item(const std::string& id, const std::string& owner, const std::string& item);
  // Throws RequestError(400) where it is as large as it may become.
  void check_room(const Conversation& conversation) const;

 private:
  struct Entry {
    Conversation conversation;
    std::string owner;
    std::size_t bytes;
  };
  using Entries = std::list<Entry>;
  // Under mutex_.
  Entry* use(const std::string& id, const std::string& owner);
  std::vector<std::shared_ptr<const Json>> add(Entry& entry, Json items);
  void make_room();
  void erase(Entries::iterator entry);

  const std::size_t max_conversations_, max_bytes_;
  std::mutex mutex_;
  Entries entries_;  // the one that was used last at the end
  std::unordered_map<std::string, Entries::iterator> by_id_;
  std::size_t bytes_ = 0;
};

}  // namespace nacelle::openai
