#include "api/openai/response_store.hpp"

#include <algorithm>
#include <utility>

#include "api/http/message.hpp"
#include "api/openai/background_response.hpp"

namespace nacelle::openai {

std::size_t tree_bytes(const Json& json) { return 4 * to_text(json).size(); }

// What it takes; too large a conversation is left out.
std::size_t ResponseStore::bytes_to_keep(StoredResponse& response) const {
  std::size_t bytes = response.json.size() + tree_bytes(response.messages);
  if (response.items) bytes += tree_bytes(*response.items);
  for (const auto& [id, json] : response.output) bytes += 2 * id.size() + json.size();
  if (bytes <= limits_.bytes) return bytes;
  response.messages = nullptr;
  response.items = nullptr;
  response.output.clear();
  return response.json.size();
}

void ResponseStore::put(const std::string& id, StoredResponse response) {
  const std::size_t bytes = bytes_to_keep(response);
  if (bytes > limits_.bytes) return;
  const std::lock_guard lock(mutex_);
  insert(id, std::move(response), bytes);
}

void ResponseStore::begin(const std::string& id, std::shared_ptr<BackgroundResponse> response, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (running_.size() >= limits_.running || running_bytes_ + bytes > limits_.bytes) {
    throw http::RequestError({429,
                              std::to_string(running_.size()) +
                                  " background responses are under way, and there is no room for another; try again",
                              "background", "too_many_background_responses"});
  }
  running_bytes_ += bytes;
  running_.emplace(id, Running{std::move(response), bytes});
}

void ResponseStore::finish(const std::string& id, StoredResponse response) {
  const std::size_t bytes = bytes_to_keep(response);
  std::shared_ptr<BackgroundResponse> over;  // destroyed without the lock
  const std::lock_guard lock(mutex_);
  const auto found = running_.find(id);
  if (found == running_.end()) return;
  running_bytes_ -= found->second.bytes;
  over = std::move(found->second.response);
  running_.erase(found);
  if (bytes <= limits_.bytes) insert(id, std::move(response), bytes);
}

void ResponseStore::insert(const std::string& id, StoredResponse response, std::size_t bytes) {
  while (!entries_.empty() && (entries_.size() >= limits_.responses || bytes_ + bytes > limits_.bytes)) {
    erase(entries_.begin());
  }
  auto events = std::exchange(response.events, nullptr);
  entries_.push_back({id, std::make_shared<const StoredResponse>(std::move(response)), bytes, std::move(events)});
  by_id_[id] = std::prev(entries_.end());
  for (const auto& item : entries_.back().response->output) by_item_[item.first] = std::prev(entries_.end());
  bytes_ += bytes;
}

std::shared_ptr<EventLog> ResponseStore::make_log() {
  const std::lock_guard lock(mutex_);
  for (auto entry = entries_.begin(); entry != entries_.end() && room_->used() > room_->max_bytes() / 2; ++entry) {
    entry->events = nullptr;
  }
  return std::make_shared<EventLog>(room_);
}

FoundResponse ResponseStore::find(const std::string& id, const std::string& owner) const {
  const std::lock_guard lock(mutex_);
  if (const auto found = running_.find(id); found != running_.end()) {
    const auto& running = found->second.response;
    if (running->owner() != owner) return {};
    return {nullptr, running, running->items(), running->events()};
  }
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->response->owner != owner) return {};
  return {found->second->response, nullptr, found->second->response->items, found->second->events};
}

bool ResponseStore::erase(const std::string& id, const std::string& owner) {
  std::shared_ptr<BackgroundResponse> over;
  const std::lock_guard lock(mutex_);
  if (const auto found = running_.find(id); found != running_.end() && found->second.response->owner() == owner) {
    running_bytes_ -= found->second.bytes;
    over = std::move(found->second.response);
    running_.erase(found);
    return true;
  }
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->response->owner != owner) return false;
  erase(found->second);
  return true;
}

std::string ResponseStore::find_item(const std::string& id, const std::string& owner) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_item_.find(id);
  if (found == by_item_.end() || found->second->response->owner != owner) return {};
  const auto& output = found->second->response->output;
  return std::find_if(output.begin(), output.end(), [&](const auto& item) { return item.first == id; })->second;
}

void ResponseStore::erase(Entries::iterator entry) {
  bytes_ -= entry->bytes;
  by_id_.erase(entry->id);
  for (const auto& item : entry->response->output) by_item_.erase(item.first);
  entries_.erase(entry);
}

}  // namespace nacelle::openai
