// Thunks of nacelle_weight_source.
#include "core/engine/weight_source.hpp"

#include <nacelle/plugin.hpp>

namespace nacelle {

WeightSourceAdapter::WeightSourceAdapter(const nacelle_host& host, const sdk::Graph& graph, const ModelFiles& files,
                                         PackedCache& packed,
                                         std::function<void(std::uint64_t, std::uint64_t)> progress)
    : host_(host),
      graph_(graph),
      tensors_(files),
      packed_(packed),
      progress_(std::move(progress)),
      readers_(graph.view().weight_count),
      companions_(graph.view().weight_count),
      table_(sdk::make<nacelle_weight_source>()) {
  table_.context = this;
  table_.read = [](void* context, std::uint32_t weight, std::uint64_t begin, std::uint64_t count,
                   nacelle_weight_rows* rows, nacelle_error** error) {
    auto& self = *static_cast<WeightSourceAdapter*>(context);
    return sdk::guard(&self.host_, error, [&] { *rows = self.reader(weight).read(begin, count); });
  };
  table_.release = [](void* context, std::uint32_t weight, std::uint64_t begin, std::uint64_t count) {
    auto& self = *static_cast<WeightSourceAdapter*>(context);
    sdk::guard(&self.host_, nullptr, [&] { self.reader(weight).release(begin, count); });
  };
  table_.read_companion = [](void* context, std::uint32_t weight, std::uint32_t role, std::uint64_t begin,
                             std::uint64_t count, nacelle_weight_rows* rows, nacelle_error** error) {
    auto& self = *static_cast<WeightSourceAdapter*>(context);
    return sdk::guard(&self.host_, error, [&] { *rows = self.companion(weight, role).read(begin, count); });
  };
  table_.progress = [](void* context, std::uint64_t done, std::uint64_t total) {
    auto& self = *static_cast<WeightSourceAdapter*>(context);
    return sdk::guard(&self.host_, nullptr, [&] {
      if (self.progress_) self.progress_(done, total);
    });
  };
  if (!packed_.enabled()) return;
  table_.packed_find = [](void* context, const nacelle_packed_form* form, nacelle_packed_block* blocks,
                          std::uint64_t count) {
    auto& self = *static_cast<WeightSourceAdapter*>(context);
    return sdk::guard(&self.host_, nullptr, [&] {
      if (!self.packed_.find(sdk::load(form), {blocks, count})) throw sdk::Failure(NACELLE_NOT_FOUND, "not kept");
    });
  };
  table_.packed_keep = [](void* context, const nacelle_packed_form* form, const nacelle_packed_block* blocks,
                          std::uint64_t count) {
    auto& self = *static_cast<WeightSourceAdapter*>(context);
    return sdk::guard(&self.host_, nullptr, [&] {
      if (!self.packed_.keep(sdk::load(form), {blocks, count})) throw sdk::Failure(NACELLE_UNAVAILABLE, "not kept");
    });
  };
}

sdk::WeightReader& WeightSourceAdapter::reader(std::uint32_t weight) {
  if (weight >= readers_.size())
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "no weight of index " + std::to_string(weight));
  std::lock_guard lock(mutex_);
  auto& slot = readers_[weight];
  if (!slot) slot = std::make_unique<sdk::WeightReader>(graph_.weight_source(weight).value, tensors_);
  return *slot;
}

sdk::WeightReader& WeightSourceAdapter::companion(std::uint32_t weight, std::uint32_t role) {
  if (weight >= companions_.size())
    throw sdk::Failure(NACELLE_INVALID_ARGUMENT, "no weight of index " + std::to_string(weight));
  const auto& sources = graph_.weight_source(weight).companions;
  std::lock_guard lock(mutex_);
  auto& slots = companions_[weight];
  slots.resize(sources.size());
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (sources[i].first != role) continue;
    if (!slots[i]) slots[i] = std::make_unique<sdk::WeightReader>(sources[i].second, tensors_);
    return *slots[i];
  }
  throw sdk::Failure(NACELLE_NOT_FOUND, "the weight has no companion of role " + std::to_string(role));
}

}  // namespace nacelle
