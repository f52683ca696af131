// The process behind a table, and the tables themselves: one for each isolated plugin of a host.
#include "core/plugin_host/isolation/backend.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/plugin_host/isolation/thunks.hpp"

namespace nacelle::isolation {
namespace {

constexpr std::chrono::seconds kLongestDelay{60};

// The ABI's first functions have no argument that says whose they are, so each isolated plugin has a slot with
// functions of its own.
std::array<std::atomic<IsolatedBackend*>, IsolatedBackend::kMost> slots;

template <std::size_t index>
nacelle_backend_api make_table() {
  auto api = sdk::make<nacelle_backend_api>();
  api.hardware_present = [] { return hardware_present(*slots[index]); };
  api.device_count = [](std::uint32_t* count, nacelle_string* reason, nacelle_error** error) {
    return device_count(*slots[index], count, reason, error);
  };
  api.device_info = [](std::uint32_t device, nacelle_device_info* info, nacelle_error** error) {
    return device_info(*slots[index], device, info, error);
  };
  api.device_open = [](std::uint32_t device, nacelle_device** opened, nacelle_error** error) {
    return device_open(*slots[index], device, opened, error);
  };
  fill_table(api);
  return api;
}

template <std::size_t... index>
const auto& all_tables(std::index_sequence<index...>) {
  static const std::array<nacelle_backend_api, sizeof...(index)> tables = {make_table<index>()...};
  return tables;
}
template <std::size_t... index>
constexpr auto all_ends(std::index_sequence<index...>) {
  return std::array<void (*)(), sizeof...(index)>{[] { delete slots[index].exchange(nullptr); }...};
}
using Indices = std::make_index_sequence<IsolatedBackend::kMost>;

}  // namespace

IsolatedBackend::IsolatedBackend(const nacelle_host& host, ProcessOptions options, LoadMessage message,
                                 std::size_t index)
    : host_(host), options_(std::move(options)), message_(std::move(message)), index_(index) {
  start();
}

IsolatedBackend& IsolatedBackend::create(const nacelle_host& host, ProcessOptions options, LoadMessage message) {
  for (std::size_t index = 0; index < kMost; ++index) {
    if (slots[index]) continue;
    auto* made = new IsolatedBackend(host, std::move(options), std::move(message), index);
    slots[index] = made;
    return *made;
  }
  throw Error(ErrorKind::kInvalidArgument,
              "at most " + std::to_string(kMost) + " plugins can be isolated in one process", "isolate");
}

// The plugin's own shutdown first, in its process.
IsolatedBackend::~IsolatedBackend() {
  if (!process_ || process_->dead()) return;
  sdk::guard(&host_, nullptr, [&] { Call(*process_, Function::kShutdown).send(); });
}

const nacelle_backend_api* IsolatedBackend::table() const noexcept { return &all_tables(Indices())[index_]; }
void (*IsolatedBackend::shutdown() const noexcept)() {
  static constexpr auto ends = all_ends(Indices());
  return ends[index_];
}

// A new process, with the plugin in it. Under mutex_, but for the first.
void IsolatedBackend::start() {
  process_.reset();
  started_ = Clock::now();
  losses_before_ = losses_;
  process_ = std::make_shared<Process>(options_, losses_);
  Call call(*process_, Function::kLoad);
  put_load(call.out(), message_);
  if (call.send() != NACELLE_OK) {
    status_ = PluginStatus::kRefused;
    reason_ = message_.plugin.string() + ": its process died while the plugin was loaded";
    return;
  }
  log::info("plugin {} is isolated in process {}", options_.plugin, process_->pid());
  status_ = static_cast<PluginStatus>(call.in().get<std::uint32_t>());
  reason_ = std::string(call.in().get_text());
}

std::shared_ptr<Process> IsolatedBackend::process() {
  const std::lock_guard lock(mutex_);
  // Its death is counted a moment before it shows as dead.
  if (process_ && !process_->dead() && losses_ == losses_before_) return process_;
  const auto now = Clock::now();
  if (process_ && process_->lifetime() > kLongestDelay) delay_ = std::chrono::seconds(0);
  if (now < started_ + delay_)
    throw sdk::Failure(NACELLE_UNAVAILABLE, options_.plugin + ": the process of this isolated plugin has died " +
                                                std::to_string(losses_.load()) +
                                                " times; the next one is started within " +
                                                std::to_string(delay_.count()) + " s");
  delay_ = std::min(std::max(delay_ * 2, std::chrono::seconds(1)), kLongestDelay);
  start();
  if (status_ != PluginStatus::kLoaded) throw sdk::Failure(NACELLE_UNAVAILABLE, options_.plugin + ": " + reason_);
  return process_;
}

nacelle_string IsolatedBackend::keep(std::string_view text) {
  if (text.empty()) return {"", 0};
  const std::lock_guard lock(mutex_);
  const auto found = std::find(texts_.begin(), texts_.end(), text);
  const std::string& kept = found == texts_.end() ? texts_.emplace_back(text) : *found;
  return sdk::view(kept);
}

}  // namespace nacelle::isolation
