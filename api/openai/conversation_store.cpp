#include "api/openai/conversation_store.hpp"

#include <algorithm>
#include <ctime>
#include <utility>

#include "api/http/message.hpp"
#include "api/openai/random_id.hpp"
#include "api/openai/response_items.hpp"
#include "api/openai/response_store.hpp"

namespace nacelle::openai {

std::vector<const Json*> items_of(const Conversation& conversation) {
  std::vector<const Json*> items;
  for (const auto& item : conversation.items) items.push_back(item.get());
  return items;
}

Conversation ConversationStore::create(const std::string& owner, Json metadata, Json items) {
  const std::lock_guard lock(mutex_);
  const std::size_t bytes = tree_bytes(metadata);
  entries_.push_back({{random_id("conv_"), std::time(nullptr), std::move(metadata)}, owner, bytes});
  const auto entry = std::prev(entries_.end());
  by_id_[entry->conversation.id] = entry;
  bytes_ += bytes;
  add(*entry, std::move(items));
  make_room();
  return entry->conversation;
}

ConversationStore::Entry* ConversationStore::use(const std::string& id, const std::string& owner) {
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->owner != owner) return nullptr;
  entries_.splice(entries_.end(), entries_, found->second);
  return &*found->second;
}

std::vector<std::shared_ptr<const Json>> ConversationStore::add(Entry& entry, Json items) {
  name_items(items, items_of(entry.conversation));
  std::vector<std::shared_ptr<const Json>> added;
  for (Json& item : items) {
    const std::size_t bytes = tree_bytes(item);
    entry.bytes += bytes;
    bytes_ += bytes;
    added.push_back(std::make_shared<const Json>(std::move(item)));
  }
  entry.conversation.items.insert(entry.conversation.items.end(), added.begin(), added.end());
  return added;
}

// The last one stays, whatever it takes.
void ConversationStore::make_room() {
  while (entries_.size() > 1 && (entries_.size() > max_conversations_ || bytes_ > max_bytes_)) erase(entries_.begin());
}

std::optional<Conversation> ConversationStore::find(const std::string& id, const std::string& owner) {
  const std::lock_guard lock(mutex_);
  const Entry* entry = use(id, owner);
  return entry ? std::optional(entry->conversation) : std::nullopt;
}

bool ConversationStore::set_metadata(const std::string& id, const std::string& owner, Json metadata) {
  const std::lock_guard lock(mutex_);
  Entry* entry = use(id, owner);
  if (!entry) return false;
  const std::size_t before = tree_bytes(entry->conversation.metadata), now = tree_bytes(metadata);
  entry->bytes += now - before;
  bytes_ += now - before;
  entry->conversation.metadata = std::move(metadata);
  return true;
}

std::optional<std::vector<std::shared_ptr<const Json>>> ConversationStore::append(const std::string& id,
                                                                                  const std::string& owner,
                                                                                  Json items) {
  const std::lock_guard lock(mutex_);
  Entry* entry = use(id, owner);
  if (!entry) return std::nullopt;
  auto added = add(*entry, std::move(items));
  make_room();
  return added;
}

bool ConversationStore::erase(const std::string& id, const std::string& owner) {
  const std::lock_guard lock(mutex_);
  if (!use(id, owner)) return false;
  erase(std::prev(entries_.end()));
  return true;
}

bool ConversationStore::erase_item(const std::string& id, const std::string& owner, const std::string& item) {
  const std::lock_guard lock(mutex_);
  Entry* entry = use(id, owner);
  if (!entry) return false;
  auto& items = entry->conversation.items;
  const auto found = std::find_if(items.begin(), items.end(), [&](const auto& one) { return (*one)["id"] == item; });
  if (found == items.end()) return false;
  const std::size_t bytes = tree_bytes(**found);
  entry->bytes -= bytes;
  bytes_ -= bytes;
  items.erase(found);
  return true;
}

void ConversationStore::check_room(const Conversation& conversation) const {
  std::size_t bytes = 0;
  for (const auto& item : conversation.items) bytes += tree_bytes(*item);
  if (bytes <= max_bytes_ / 8) return;
  throw http::RequestError({400,
                            "the conversation '" + conversation.id + "' takes " + std::to_string(bytes) +
                                " bytes, and no more than " + std::to_string(max_bytes_ / 8) +
                                " are kept of one; delete some of its items, or begin another",
                            "conversation", "conversation_full"});
}

void ConversationStore::erase(Entries::iterator entry) {
  bytes_ -= entry->bytes;
  by_id_.erase(entry->conversation.id);
  entries_.erase(entry);
}

}  // namespace nacelle::openai
