// A thread a channel, each doing one call at a time: functions marked [any] run side by side as in the host.
#include "core/plugin_host/isolation/child.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nacelle/graph_view.hpp>
#include <string>
#include <thread>
#include <vector>

#include "core/base/error.hpp"
#include "core/base/log.hpp"
#include "core/plugin_host/host_services.hpp"
#include "core/plugin_host/isolation/graph_wire.hpp"
#include "core/plugin_host/isolation/process.hpp"
#include "core/plugin_host/isolation/rows.hpp"
#include "core/plugin_host/isolation/setup_wire.hpp"
#include "core/plugin_host/isolation/step_copy.hpp"
#include "core/plugin_host/plugin_loader.hpp"
#include "sdk/runtime/graph.hpp"

namespace nacelle::isolation {
namespace {

// Handles as the host holds them.
template <class T>
std::uint64_t to_id(T* object) {
  return reinterpret_cast<std::uintptr_t>(object);
}
template <class T>
T* get_object(Reader& in) {
  return reinterpret_cast<T*>(static_cast<std::uintptr_t>(in.get<std::uint64_t>()));
}

// A message's cache options, with the array that they point to.
class CacheOptions {
 public:
  explicit CacheOptions(Reader& in) : options_(in.get<nacelle_cache_options>()) {
    const auto counts = in.get_array<std::uint32_t>();
    counts_.assign(counts.begin(), counts.end());
    options_.block_counts = counts_.empty() ? nullptr : counts_.data();
  }
  CacheOptions(const CacheOptions&) = delete;
  CacheOptions& operator=(const CacheOptions&) = delete;
  const nacelle_cache_options* get() const { return &options_; }

 private:
  nacelle_cache_options options_;
  std::vector<std::uint32_t> counts_;
};

// Of what a call made that answered NACELLE_OK.
template <class T>
std::uint64_t id_of_made(T* object, const char* function) {
  check_made(object, function);
  return to_id(object);
}

struct ChildWeights {
  std::unique_ptr<sdk::Graph> graph;
  nacelle_weights* handle = nullptr;
};

struct ChildPlan {
  nacelle_plan* handle = nullptr;
  BlockShape shape;
};

BlockShape shape_of(const nacelle_graph& graph, const nacelle_bucket& bucket) {
  BlockShape shape;
  shape.bucket = bucket;
  shape.group_count = graph.cache_group_count;
  shape.vocabulary = graph.vocabulary;
  shape.embedding_width = sdk::embedding_width(graph);
  return shape;
}

// One call: where it came from and where its answer goes.
struct Request {
  Channel channel;
  Reader in;
  Writer out;
};

class Server {
 public:
  Server() : memory_(Descriptor(kArenaFd)) {}

  void serve(std::uint64_t offset);

 private:
  nacelle_status handle(Function function, Request& request);
  nacelle_status load(Request& request);
  nacelle_status devices(Function function, Request& request);
  nacelle_status supports(Request& request);
  nacelle_status prepare(Request& request);
  nacelle_status weights(Function function, Request& request);
  nacelle_status tune(Request& request);
  nacelle_status kernels(Request& request);
  nacelle_status cache_bytes_or_create(Function function, Request& request);
  nacelle_status compile(Request& request);
  nacelle_status run(Request& request);
  nacelle_status blocks(Function function, Request& request);
  nacelle_status values(Function function, Request& request);
  nacelle_status adapter_write(Request& request);
  // Calls `body(&error)`; what it fails with is the answer.
  template <class Body>
  nacelle_status cold(Request& request, Body body);
  nacelle_status destroy(void (*function)(void*), Request& request);

  const nacelle_host& host() const { return *services_->table(); }

  SharedMemory memory_;
  HostServices* services_ = nullptr;
  LoadedPlugin plugin_;
  const nacelle_backend_api* api_ = nullptr;
};

void Server::serve(std::uint64_t offset) {
  if (!SharedMemory::holds(offset, kChannelSize)) return;
  const Channel channel(memory_.at(offset));
  for (;;) {
    State state = channel.state();
    for (; state == kIdle || state == kReturned; state = channel.state()) channel.wait_while(state);
    if (state == kDead) return;
    Control& control = channel.control();
    Request request{channel, Reader(channel.message()), Writer(channel.room())};
    nacelle_status status = NACELLE_INTERNAL;
    try {
      status = handle(static_cast<Function>(control.function), request);
    } catch (const sdk::Failure& failure) {
      status = failure.status();
      request.out = Writer(channel.room());
      request.out.put_text(failure.what());
    } catch (const std::exception& error) {  // the plugin's too: none may leave this thread
      request.out = Writer(channel.room());
      request.out.put_text(error.what());
    }
    control.status = status;
    control.size = request.out.size();
    channel.move(channel.state(), kReturned);
  }
}

template <class Body>
nacelle_status Server::cold(Request& request, Body body) {
  nacelle_error* error = nullptr;
  const nacelle_status status = body(&error);
  if (status != NACELLE_OK) {
    const std::string text(error ? sdk::view(host().error_message(host().context, error)) : std::string_view());
    if (error) host().error_destroy(host().context, error);
    request.out = Writer(request.channel.room());
    request.out.put_text(text);
  }
  return status;
}

nacelle_status Server::handle(Function function, Request& request) {
  if (function != Function::kLoad && !api_) throw sdk::Failure(NACELLE_FAILED_PRECONDITION, "no plugin was loaded");
  switch (function) {
    case Function::kLoad: return load(request);
    case Function::kHardwarePresent:
    case Function::kDeviceCount:
    case Function::kDeviceInfo:
    case Function::kDeviceOpen:
    case Function::kDeviceClose:
    case Function::kStreamCreate:
    case Function::kStreamDestroy:
    case Function::kCeilings: return devices(function, request);
    case Function::kSupports: return supports(request);
    case Function::kPrepare: return prepare(request);
    case Function::kWeightsDestroy:
    case Function::kWeightsBytes: return weights(function, request);
    case Function::kTune: return tune(request);
    case Function::kKernels: return kernels(request);
    case Function::kAdapterWrite: return adapter_write(request);
    case Function::kCacheBlockBytes:
    case Function::kCacheCreate: return cache_bytes_or_create(function, request);
    case Function::kCompile: return compile(request);
    case Function::kRun: return run(request);
    case Function::kCacheDestroy:
    case Function::kCopyBlocks:
    case Function::kBind:
    case Function::kPlanDestroy:
    case Function::kPlanStatistics: return blocks(function, request);
    case Function::kReadLogits:
    case Function::kReadValue:
    case Function::kWriteValue: return values(function, request);
    case Function::kShutdown:
      if (plugin_.shutdown) plugin_.shutdown();
      services_->stop();
      return NACELLE_OK;
    default: throw sdk::Failure(NACELLE_UNIMPLEMENTED, "the plugin's process knows no such call");
  }
}

// What is refused has been logged by the host, which judged the file before; what fails here it logs too.
nacelle_status Server::load(Request& request) {
  const LoadMessage message = get_load(request.in);
  log::configure(log::Level::kOff, message.log_format);
  services_ = &HostServices::create(message.setup);
  plugin_ = load_plugin(message.plugin, {}, *services_, {}, nullptr);
  log::configure(message.log_level, message.log_format);
  api_ = plugin_.record.backend;
  request.out.put(static_cast<std::uint32_t>(plugin_.record.status));
  request.out.put_text(plugin_.record.reason);
  return NACELLE_OK;
}

nacelle_status Server::devices(Function function, Request& request) {
  Reader& in = request.in;
  Writer& out = request.out;
  switch (function) {
    case Function::kHardwarePresent: out.put(api_->hardware_present()); return NACELLE_OK;
    case Function::kDeviceCount: {
      std::uint32_t count = 0;
      nacelle_string reason{};
      const nacelle_status status =
          cold(request, [&](auto error) { return api_->device_count(&count, &reason, error); });
      if (status != NACELLE_OK) return status;
      out.put(count);
      out.put_text(reason.data ? sdk::view(reason) : std::string_view());
      return status;
    }
    case Function::kDeviceInfo: {
      const auto index = in.get<std::uint32_t>();
      auto info = sdk::make<nacelle_device_info>();
      const nacelle_status status = cold(request, [&](auto error) { return api_->device_info(index, &info, error); });
      if (status != NACELLE_OK) return status;
      out.put_struct(&info);
      for (const nacelle_string& text : {info.name, info.detail, info.reason})
        out.put_text(text.data ? sdk::view(text) : std::string_view());
      return status;
    }
    case Function::kDeviceOpen: {
      const auto index = in.get<std::uint32_t>();
      nacelle_device* device = nullptr;
      const nacelle_status status = cold(request, [&](auto error) { return api_->device_open(index, &device, error); });
      if (status == NACELLE_OK) out.put(id_of_made(device, "device_open"));
      return status;
    }
    case Function::kDeviceClose: api_->device_close(get_object<nacelle_device>(in)); return NACELLE_OK;
    case Function::kStreamCreate: {
      auto* device = get_object<nacelle_device>(in);
      nacelle_stream* stream = nullptr;
      const nacelle_status status =
          cold(request, [&](auto error) { return api_->stream_create(device, &stream, error); });
      if (status == NACELLE_OK) out.put(id_of_made(stream, "stream_create"));
      return status;
    }
    case Function::kStreamDestroy: api_->stream_destroy(get_object<nacelle_stream>(in)); return NACELLE_OK;
    default: {
      auto* device = get_object<nacelle_device>(in);
      auto ceilings = sdk::make<nacelle_ceilings>();
      const nacelle_status status = cold(request, [&](auto error) { return api_->ceilings(device, &ceilings, error); });
      if (status == NACELLE_OK) out.put_struct(&ceilings);
      return status;
    }
  }
}

// The answers for all operations at once: the graph is the dear part of the question.
nacelle_status Server::supports(Request& request) {
  auto* device = get_object<nacelle_device>(request.in);
  const sdk::Graph graph(get_graph(request.in));
  std::vector<nacelle_status> answers;
  for (std::uint32_t op = 0; op < graph.view().op_count; ++op)
    answers.push_back(api_->supports(device, &graph.view(), op));
  request.out.put_array(answers.data(), answers.size());
  return NACELLE_OK;
}

nacelle_status Server::prepare(Request& request) {
  Reader& in = request.in;
  auto* device = get_object<nacelle_device>(in);
  auto made = std::make_unique<ChildWeights>();
  made->graph = std::make_unique<sdk::Graph>(get_graph(in));
  const auto buckets = in.get_array<nacelle_bucket>();
  const std::vector<nacelle_bucket> own(buckets.begin(), buckets.end());
  std::vector<const nacelle_bucket*> pointers;
  pointers.reserve(own.size());
  for (const nacelle_bucket& bucket : own) pointers.push_back(&bucket);
  auto options = in.get<nacelle_prepare_options>();
  const std::string pins(in.get_text());
  options.pins = sdk::view(pins);
  Asker asker(request.channel);
  RowSource rows(asker, memory_, host());
  const nacelle_status status = cold(request, [&](auto error) {
    return api_->prepare(device, &made->graph->view(), pointers.data(), static_cast<std::uint32_t>(pointers.size()),
                         rows.table(), &options, &made->handle, error);
  });
  if (status != NACELLE_OK) return status;
  check_made(made->handle, "prepare");
  request.out.put(to_id(made.release()));
  return status;
}

nacelle_status Server::weights(Function function, Request& request) {
  std::unique_ptr<ChildWeights> weights(get_object<ChildWeights>(request.in));
  if (function == Function::kWeightsDestroy) {
    api_->weights_destroy(weights->handle);
    return NACELLE_OK;
  }
  request.out.put(api_->weights_bytes(weights->handle));
  static_cast<void>(weights.release());
  return NACELLE_OK;
}

nacelle_status Server::tune(Request& request) {
  auto* weights = get_object<ChildWeights>(request.in);
  auto options = request.in.get<nacelle_tune_options>();
  Asker asker(request.channel);
  options.context = &asker;
  options.progress = [](void* context, std::uint64_t done, std::uint64_t total) {
    return static_cast<Asker*>(context)->progress(done, total);
  };
  auto report = sdk::make<nacelle_tune_report>();
  const nacelle_status status =
      cold(request, [&](auto error) { return api_->tune(weights->handle, &options, &report, error); });
  if (status == NACELLE_OK) request.out.put_struct(&report);
  return status;
}

nacelle_status Server::kernels(Request& request) {
  auto* weights = get_object<ChildWeights>(request.in);
  Asker asker(request.channel);
  return api_->kernels(
      weights->handle,
      [](void* context, const nacelle_kernel_info* info) {
        const nacelle_kernel_info whole = sdk::load(info);
        static_cast<Asker*>(context)->try_ask(Function::kKernel, [&](Writer& out) {
          out.put_struct(&whole);
          for (const nacelle_string& text : {whole.op, whole.pattern, whole.variant, whole.reason, whole.rows})
            out.put_text(text.data ? sdk::view(text) : std::string_view());
        });
      },
      &asker);
}

nacelle_status Server::adapter_write(Request& request) {
  Reader& in = request.in;
  auto* weights = get_object<ChildWeights>(in);
  auto* stream = get_object<nacelle_stream>(in);
  auto update = in.get<nacelle_adapter_update>();
  update.a = in.get_array<float>().data();
  update.b = in.get_array<float>().data();
  return cold(request, [&](auto error) {
    const nacelle_status status = api_->adapter_write(weights->handle, stream, &update, error);
    return status == NACELLE_OK ? api_->stream_synchronize(stream) : status;  // a and b are gone with the message
  });
}

nacelle_status Server::cache_bytes_or_create(Function function, Request& request) {
  Reader& in = request.in;
  auto* weights = get_object<ChildWeights>(in);
  const CacheOptions options(in);
  if (function == Function::kCacheBlockBytes) {
    const auto group = in.get<std::uint32_t>();
    std::uint64_t bytes = 0;
    const nacelle_status status = cold(request, [&](auto error) {
      return api_->cache_block_bytes(weights->handle, options.get(), group, &bytes, error);
    });
    if (status == NACELLE_OK) request.out.put(bytes);
    return status;
  }
  nacelle_cache* cache = nullptr;
  const nacelle_status status =
      cold(request, [&](auto error) { return api_->cache_create(weights->handle, options.get(), &cache, error); });
  if (status == NACELLE_OK) request.out.put(id_of_made(cache, "cache_create"));
  return status;
}

nacelle_status Server::compile(Request& request) {
  Reader& in = request.in;
  auto* weights = get_object<ChildWeights>(in);
  const CacheOptions options(in);
  const auto bucket = in.get<nacelle_bucket>();
  auto plan = std::make_unique<ChildPlan>();
  plan->shape = shape_of(weights->graph->view(), bucket);
  auto step = sdk::make<nacelle_step_layout>();
  auto output = sdk::make<nacelle_output_layout>();
  const nacelle_status status = cold(request, [&](auto error) {
    return api_->compile(weights->handle, options.get(), &bucket, &plan->handle, &step, &output, error);
  });
  if (status != NACELLE_OK) return status;
  check_made(plan->handle, "compile");
  plan->shape.step = step;
  plan->shape.output = output;
  request.out.put_struct(&step);
  request.out.put_struct(&output);
  request.out.put(to_id(plan.release()));
  return status;
}

nacelle_status Server::run(Request& request) {
  Reader& in = request.in;
  const auto* plan = get_object<ChildPlan>(in);
  auto* stream = get_object<nacelle_stream>(in);
  const auto slot = in.get<std::uint32_t>();
  const auto step_offset = in.get<std::uint64_t>(), output_offset = in.get<std::uint64_t>();
  if (!SharedMemory::holds(step_offset, plan->shape.step.size) ||
      !SharedMemory::holds(output_offset, plan->shape.output.size))
    return NACELLE_INVALID_ARGUMENT;
  void* step = nullptr;
  const void* output = nullptr;
  nacelle_status status = api_->blocks(plan->handle, slot, &step, &output);
  if (status != NACELLE_OK) return status;
  if (!step || !output) return NACELLE_INTERNAL;
  copy_step(plan->shape, memory_.at(step_offset), static_cast<std::byte*>(step));
  status = api_->run(plan->handle, stream, slot);
  if (status == NACELLE_OK) status = api_->stream_synchronize(stream);
  if (status == NACELLE_OK)
    copy_output(plan->shape, memory_.at(step_offset), static_cast<const std::byte*>(output), memory_.at(output_offset));
  return status;
}

nacelle_status Server::blocks(Function function, Request& request) {
  Reader& in = request.in;
  if (function == Function::kCacheDestroy) {
    api_->cache_destroy(get_object<nacelle_cache>(in));
    return NACELLE_OK;
  }
  if (function == Function::kCopyBlocks) {
    auto* cache = get_object<nacelle_cache>(in);
    auto* stream = get_object<nacelle_stream>(in);
    const auto group = in.get<std::uint32_t>();
    const auto pairs = in.get_array<nacelle_block_copy>();
    return api_->copy_blocks(cache, stream, group, pairs.data(), static_cast<std::uint32_t>(pairs.size()));
  }
  std::unique_ptr<ChildPlan> plan(get_object<ChildPlan>(in));
  if (function == Function::kPlanDestroy) {
    api_->plan_destroy(plan->handle);
    return NACELLE_OK;
  }
  const ChildPlan* kept = plan.release();
  if (function == Function::kBind) {
    auto* cache = get_object<nacelle_cache>(in);
    return cold(request, [&](auto error) { return api_->bind(kept->handle, cache, error); });
  }
  auto statistics = sdk::make<nacelle_plan_statistics>();
  const nacelle_status status = api_->plan_statistics(kept->handle, &statistics);
  request.out.put_struct(&statistics);
  return status;
}

nacelle_status Server::values(Function function, Request& request) {
  Reader& in = request.in;
  const auto* plan = get_object<ChildPlan>(in);
  auto* stream = get_object<nacelle_stream>(in);
  const auto slot = in.get<std::uint32_t>(), which = in.get<std::uint32_t>();
  if (function == Function::kWriteValue) {
    const auto data = in.get_array<float>();
    return api_->write_value(plan->handle, stream, slot, which, data.data(), data.size());
  }
  if (function == Function::kReadLogits) {
    const auto adjusted = in.get<std::uint32_t>();
    const std::span<float> logits = request.out.room_for<float>(plan->shape.vocabulary);
    return api_->read_logits(plan->handle, stream, slot, which, adjusted, logits.data());
  }
  const auto count = in.get<std::uint64_t>();
  const std::span<float> data = request.out.room_for<float>(count);
  return api_->read_value(plan->handle, stream, slot, which, data.data(), count);
}

// ---- The process ----------------------------------------------------------------------------------------------------

// The host's sockets and files, which it may not have marked: a client's connection must end when the host closes it.
void close_others() {
  constexpr unsigned kFirst = kControlFd + 1;
#ifdef SYS_close_range
  if (::syscall(SYS_close_range, kFirst, ~0u, 0u) == 0) return;
#endif
  for (int fd = kFirst; fd < 65536; ++fd) ::close(fd);
}

// Where memory is short the kernel takes this process and not the server.
void volunteer_for_the_oom_killer() {
  if (std::FILE* file = std::fopen("/proc/self/oom_score_adj", "w")) {
    std::fputs("500", file);
    std::fclose(file);
  }
}

}  // namespace

int serve_plugin() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // and if the host is dead by now, the socket says so
  ::prctl(PR_SET_NAME, "nacelle-plugin");
  // A terminal sends its signals to both; the host then drains, which needs this process.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(signal, SIG_IGN);
  close_others();
  volunteer_for_the_oom_killer();
  auto& server = *new Server;  // its threads outlive this function
  for (std::uint64_t offset = 0;;) {
    const ssize_t got = ::recv(kControlFd, &offset, sizeof offset, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got != sizeof offset) break;
    std::thread([&server, offset] { server.serve(offset); }).detach();
  }
  std::_Exit(0);
}

}  // namespace nacelle::isolation
