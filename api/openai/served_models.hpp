// The models that a server answers for, by name. A name is a consumer group: one or more readers, each an engine with a
// model of its own, perhaps on different devices; a request goes to the one that will be through with it first.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/engine/engine.hpp"

namespace nacelle::openai {

// What a request's "model" can name: a reader, or an adapter on one, which runs in that reader's engine.
struct ServedModel {
  struct Place {
    std::string group = {};   // the name that requests ask for; empty: the model's
    std::string reader = {};  // unique in the server; empty: made of the group's name
    std::string source = {};  // the path that it was loaded from, as whoever asked for it wrote it; empty: built in
    // What else was asked for, so that it can be loaded again; empty and 0: the server's own flags.
    std::string device = {}, split = {};
    std::uint32_t context = 0, max_sequences = 0;
  };
  ServedModel(const std::shared_ptr<Model>& loaded, const EngineOptions& options, Place at);
  // The same reader under another name, or with an adapter, which then is the name.
  ServedModel(const ServedModel& reader, std::string group);
  ServedModel(const ServedModel& reader, AdapterPtr loaded);

  const std::shared_ptr<Model> model;
  const std::shared_ptr<Engine> keeps;  // goes before the model; the last who keeps it ends it
  Engine& engine;
  const AdapterPtr adapter;  // null: the model as it is
  const std::string group;   // of an adapter: its model's
  std::string reader;        // set by ServedModels::add where it was empty
  const std::string source;
  const Place asked;
  const std::int64_t created;      // Unix seconds
  const std::string fingerprint;   // "fp_...": of the program, the model, its placement and the adapter
  std::atomic<std::int64_t> used;  // when a request found it last: the steady clock's nanoseconds

  const std::string& name() const noexcept { return adapter ? adapter->name : group; }
  // As engine.submit().
  RequestId submit(GenerationRequest request, EventSink sink) const;
};

using ServedModelPtr = std::shared_ptr<ServedModel>;

// All functions may be called from any thread.
class ServedModels {
 public:
  enum class State { kLoading, kReady, kDraining, kLost, kEmpty };

  // Adds a reader with a group of its own, or, with `join`, to the group of its name where there is one. Throws
  // RequestError(409) where the group's or the reader's name is taken. `adapters`: those that the group has, on it.
  void add(ServedModelPtr model, bool join = false, std::vector<ServedModelPtr> adapters = {});
  // Take readers out, with their adapters, or put another in the place of one, which gets the adapters unless it is of
  // another group: who found them before may go on with them. They return what was there and throw as find() does. See
  // ModelManager for what then happens to it.
  std::vector<ServedModelPtr> remove_group(std::string_view name);
  ServedModelPtr remove_reader(std::string_view reader);
  ServedModelPtr replace(std::string_view reader, ServedModelPtr by);

  // An adapter for every reader of a group: one for each. Throws RequestError(409) where the name is taken; with
  // `replace` those of the name give way.
  void add_adapter(std::vector<ServedModelPtr> adapters, bool replace);
  // Throws RequestError(404) where there is none of the name.
  void remove_adapter(std::string_view name);

  // Other names of models, for clients that ask for one by name: "gpt-4o", or "gpt-*" for all that begin so. The first
  // that fits counts, and only where no model has the name itself. Before the first request.
  struct Alias {
    std::string name;
    std::string model;  // "": the first
  };
  void set_aliases(std::vector<Alias> aliases);

  void set_state(State state);
  // kLost: all is loaded, but no model has its devices any more. kEmpty: the last one was unloaded.
  State state() const;
  std::vector<ServedModelPtr> list() const;      // readers
  std::vector<ServedModelPtr> adapters() const;  // one for each reader of their model
  // One of each name: what GET /v1/models lists.
  std::vector<ServedModelPtr> names() const;
  // "" and "default" are the first; then aliases. Of several readers the one with the least expected wait; one whose
  // devices are lost only where there is no other. Throws RequestError: 404 model_not_found, 503 while it may still be
  // loading.
  ServedModelPtr find(std::string_view name) const;
  std::vector<ServedModelPtr> find_group(std::string_view name) const;
  ServedModelPtr find_reader(std::string_view reader) const;

 private:
  // Under mutex_.
  std::vector<ServedModelPtr> locate(std::string_view name, bool by_alias = true) const;
  std::vector<ServedModelPtr> named(std::string_view name) const;
  std::size_t locate_reader(std::string_view reader) const;
  bool is_name(std::string_view name) const;
  void drop_adapters(const ServedModel& reader);

  mutable std::mutex mutex_;
  std::vector<ServedModelPtr> models_, adapters_;
  std::vector<Alias> aliases_;
  mutable std::atomic<std::size_t> turn_ = 0;  // among readers that are alike
  State state_ = State::kLoading;
};

}  // namespace nacelle::openai
