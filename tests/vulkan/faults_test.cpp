// What goes wrong with drivers and devices: each a clear line, another variant or a request that can be retried, and
// never a crash. The plugin finds tests/vulkan/faulty_vulkan.cpp in place of the loader.
#include <dlfcn.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/shared_data.hpp"
#include "tests/support/engine_fixture.hpp"
#include "tests/vulkan/faulty_vulkan.hpp"

using namespace nacelle;
using namespace nacelle::test;

namespace {

const std::string kModel = source_dir() / "models/demo/nacelle-demo-q8_0.gguf";

// Without faults again when it goes.
class Fault {
 public:
  Fault() {
    void* library = dlopen("libvulkan.so.1", RTLD_NOW);
    REQUIRE(library);
    const auto get = reinterpret_cast<FaultyVulkan>(dlsym(library, kFaultyVulkan));
    REQUIRE(get);
    of_ = get();
  }
  ~Fault() {
    of_->submits_left = ~0u;
    of_->memory = ~std::uint64_t{0};
    of_->api_version = 0;
    of_->hidden = nullptr;
    of_->refuses = nullptr;
    of_->refused = 0;
  }
  Fault(const Fault&) = delete;
  Fault& operator=(const Fault&) = delete;
  Faults* operator->() const { return of_; }

 private:
  Faults* of_;
};

std::vector<TokenId> ids_of(const std::string& device) {
  const auto host = make_host();
  Engine engine(Model::load(*host, {.path = kModel, .device = device, .context = 256}));
  const Answer answer = generate(engine, greedy({1, 20, 300, 4}, 12));
  CHECK(answer.error.empty());
  return answer.ids;
}

std::string failure(const LoadOptions& options) {
  try {
    const auto host = make_host();
    Model::load(*host, options);
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

const LoadOptions kOnVulkan = {.path = kModel, .device = "vulkan", .context = 256};

bool mentions(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

std::uint32_t constant(const VkComputePipelineCreateInfo& info, std::uint32_t id) {
  const VkSpecializationInfo& of = *info.stage.pSpecializationInfo;
  return id < of.mapEntryCount ? static_cast<const std::uint32_t*>(of.pData)[id] : 0;
}
bool full_subgroups(const VkComputePipelineCreateInfo& info) {
  return info.stage.flags & VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
}

// A folder for the pipeline cache of its own, gone with it.
class CacheFolder {
 public:
  CacheFolder() : path_(std::filesystem::temp_directory_path() / ("nacelle_vulkan_" + std::to_string(getpid()))) {
    setenv("XDG_CACHE_HOME", path_.c_str(), 1);
  }
  ~CacheFolder() {
    unsetenv("XDG_CACHE_HOME");
    std::filesystem::remove_all(path_);
  }
  // The one file that is there.
  std::filesystem::path file() const {
    std::filesystem::path found;
    for (const auto& entry : std::filesystem::directory_iterator(path_ / "nacelle/vulkan")) {
      CHECK(found.empty());
      found = entry.path();
    }
    return found;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace

TEST_CASE("Vulkan: a lost device ends its requests so that they can be retried; opened anew it goes on") {
  const CacheFolder folder;
  const std::vector<TokenId> expected = ids_of("vulkan");
  {
    const Fault fault;
    const auto host = make_host();
    Engine engine(Model::load(*host, kOnVulkan));
    fault->submits_left = 6;
    const Answer answer = generate(engine, greedy({1, 20, 300, 4}, 60));
    CHECK(answer.finish == FinishReason::kError);
    CHECK(answer.error_kind == ErrorKind::kUnavailable);
    CHECK(mentions(answer.error, "lost"));
    CHECK_FALSE(engine.can_serve());
    CHECK(engine.drain(std::chrono::milliseconds(1000)));
  }
  CHECK(ids_of("vulkan") == expected);
}

TEST_CASE("Vulkan: a driver that refuses a variant gets another, with the same results") {
  const CacheFolder folder;
  const std::vector<TokenId> expected = ids_of("vulkan");
  const Fault fault;
  // Matmuls that share activations by broadcast: 32 columns, and lanes that share.
  fault->refuses = [](const VkComputePipelineCreateInfo& info) {
    return full_subgroups(info) && constant(info, 0) == 32 && constant(info, 4) != 0;
  };
  CHECK(ids_of("vulkan") == expected);
  CHECK(fault->refused > 0);
}

TEST_CASE("Vulkan: a shader without another variant is named where the driver refuses it") {
  const CacheFolder folder;
  const Fault fault;
  fault->refuses = [](const VkComputePipelineCreateInfo& info) {
    return full_subgroups(info) && constant(info, 0) != 32;
  };
  CHECK(mentions(failure(kOnVulkan), "the driver cannot compile the shader attention: VkResult -13"));
  fault->refuses = nullptr;
  CHECK(ids_of("vulkan").size() == 12);
}

TEST_CASE("Vulkan: a device without enough memory says for what, and how much there is") {
  const CacheFolder folder;
  const Fault fault;
  fault->memory = 3 << 20;  // a block of vectors, and no matrix
  const std::string refusal = failure(kOnVulkan);
  INFO(refusal);
  CHECK(mentions(refusal, "cannot be had: VK_ERROR_OUT_OF_DEVICE_MEMORY"));
  CHECK(mentions(refusal, " MiB for weight "));
}

TEST_CASE("Vulkan: an old driver and one without a function are named") {
  const CacheFolder folder;
  const Fault fault;
  fault->api_version = VK_MAKE_API_VERSION(0, 1, 2, 200);
  CHECK(mentions(failure(kOnVulkan), "the driver is of Vulkan 1.2; 1.3 is needed: update it"));
  fault->api_version = 0;
  fault->hidden = "vkWaitSemaphores";
  CHECK(mentions(failure(kOnVulkan), "the Vulkan driver has no vkWaitSemaphores"));
  fault->hidden = "vkCreateInstance";
  CHECK(mentions(failure(kOnVulkan), "libvulkan.so.1 is too old: it has no vkCreateInstance"));
}

TEST_CASE("Vulkan: compiled pipelines are kept; a damaged file counts as none") {
  const CacheFolder folder;
  const std::vector<TokenId> expected = ids_of("vulkan");
  const Fault fault;
  CHECK(fault->cache_bytes == 0);
  const std::filesystem::path file = folder.file();
  REQUIRE(!file.empty());
  CHECK(ids_of("vulkan") == expected);
  CHECK(fault->cache_bytes > 0);
  const auto damage = [&](std::uintmax_t size, char byte) {
    std::filesystem::resize_file(file, size);
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(size) - 1);
    stream.put(byte);
  };
  const std::uintmax_t whole = std::filesystem::file_size(file);
  for (const std::uintmax_t size : {whole, whole - 3, std::uintmax_t{5}}) {
    INFO(size << " of " << whole << " bytes");
    damage(size, 0x55);
    CHECK(ids_of("vulkan") == expected);
    CHECK(fault->cache_bytes == 0);
  }
}
