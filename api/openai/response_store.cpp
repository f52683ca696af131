#include "api/openai/response_store.hpp"

#include <utility>

namespace nacelle::openai {

void ResponseStore::put(const std::string& id, StoredResponse response) {
  // A tree of JSON takes several times its text.
  const std::size_t bytes = response.json.size() + 4 * to_text(response.messages).size();
  if (bytes > max_bytes_) return;
  const std::lock_guard lock(mutex_);
  while (!entries_.empty() && (entries_.size() >= max_responses_ || bytes_ + bytes > max_bytes_)) {
    erase(entries_.begin());
  }
  entries_.push_back({id, std::make_shared<const StoredResponse>(std::move(response)), bytes});
  by_id_[id] = std::prev(entries_.end());
  bytes_ += bytes;
}

std::shared_ptr<const StoredResponse> ResponseStore::find(const std::string& id, const std::string& owner) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->response->owner != owner) return nullptr;
  return found->second->response;
}

bool ResponseStore::erase(const std::string& id, const std::string& owner) {
  const std::lock_guard lock(mutex_);
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->response->owner != owner) return false;
  erase(found->second);
  return true;
}

void ResponseStore::erase(Entries::iterator entry) {
  bytes_ -= entry->bytes;
  by_id_.erase(entry->id);
  entries_.erase(entry);
}

}  // namespace nacelle::openai
