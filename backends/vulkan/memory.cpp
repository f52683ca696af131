// First fit in blocks of one kind; neighbours join when they come back, and an empty block goes back to the driver.
#include "backends/vulkan/memory.hpp"

#include <algorithm>
#include <utility>

namespace nacelle::vulkan {
namespace {

constexpr std::uint64_t kAlignment = 256;
// Left unused at the end of a block: lavapipe (Mesa 22) loads for lanes that are switched off too, a little past an
// array.
constexpr std::uint64_t kTail = 64 << 10;
// A block is an eighth of what is taken already, within these bounds: so little is taken that nobody asked for, and the
// blocks of a large model are few.
constexpr std::uint64_t kLeastBlock = 2 << 20, kMostBlock = 64 << 20;
constexpr std::uint64_t kBlockShare = 8, kPieceShare = 4;  // a piece of more than a fourth of a block has its own
constexpr VkBufferUsageFlags kUsage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
                                      VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
                                      VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT;

std::string mebibytes(std::uint64_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

}  // namespace

Piece::~Piece() {
  if (owner_) owner_->give_back(*static_cast<Memory::Block*>(block_), offset_, size_);
}

void Piece::swap(Piece& other) noexcept {
  std::swap(owner_, other.owner_);
  std::swap(block_, other.block_);
  std::swap(buffer_, other.buffer_);
  std::swap(offset_, other.offset_);
  std::swap(size_, other.size_);
  std::swap(address_, other.address_);
  std::swap(mapped_, other.mapped_);
}

Memory::Memory(const DeviceFunctions& api, VkDevice device, const Instance& instance, const PhysicalDevice& physical,
               bool hide)
    : api_(api), device_(device), instance_(instance), physical_(physical), hide_(hide) {
  auto properties = vk<VkPhysicalDeviceMemoryProperties2>(VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2);
  instance.api().vkGetPhysicalDeviceMemoryProperties2(physical.handle, &properties);
  properties_ = properties.memoryProperties;
}

Memory::~Memory() {
  for (const auto& block : blocks_) {
    *physical_.taken -= block->size;
    destroy(*block);
  }
}

Piece Memory::allocate(MemoryKind kind, std::uint64_t bytes, const char* what) {
  bytes = (std::max<std::uint64_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  const std::scoped_lock lock(mutex_);
  const auto fits = [&](const auto& hole) { return hole.second >= bytes; };
  Block* block = nullptr;
  for (const auto& candidate : blocks_)
    if (candidate->kind == kind && std::any_of(candidate->free.begin(), candidate->free.end(), fits))
      block = candidate.get();
  if (!block) block = &add_block(kind, bytes, what);
  const auto hole = std::find_if(block->free.begin(), block->free.end(), fits);
  const auto [offset, size] = *hole;
  block->free.erase(hole);
  if (size > bytes) block->free.emplace(offset + bytes, size - bytes);
  Piece piece;
  piece.owner_ = this;
  piece.block_ = block;
  piece.buffer_ = block->buffer;
  piece.offset_ = offset;
  piece.size_ = bytes;
  piece.address_ = block->address + offset;
  piece.mapped_ = block->mapped ? block->mapped + offset : nullptr;
  return piece;
}

// The type with most of what is good for the kind among those that will do.
std::uint32_t Memory::choose_type(MemoryKind kind, std::uint32_t allowed) const {
  constexpr VkMemoryPropertyFlags kVisible = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  const bool visible = kind != MemoryKind::kDevice;
  const bool shared = physical_.shares_host_memory() && !hide_;
  std::uint32_t best = VK_MAX_MEMORY_TYPES, best_score = 0;
  for (std::uint32_t i = 0; i < properties_.memoryTypeCount; ++i) {
    const VkMemoryPropertyFlags flags = properties_.memoryTypes[i].propertyFlags;
    if (!(allowed >> i & 1) || (visible && (flags & kVisible) != kVisible)) continue;
    std::uint32_t score = 1;
    if (kind == MemoryKind::kDevice && (flags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT)) score += 4;
    if (kind == MemoryKind::kDevice && shared && (flags & kVisible) == kVisible) score += 2;
    if (kind == MemoryKind::kDownload && (flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT)) score += 4;
    if (score > best_score) best = i, best_score = score;
  }
  return best;
}

Memory::Block& Memory::add_block(MemoryKind kind, std::uint64_t bytes, const char* what) {
  const auto refuse = [&](const std::string& why) {
    throw sdk::Failure(NACELLE_OUT_OF_MEMORY,
                       "vulkan: " + mebibytes(bytes) + " for " + what + " cannot be had: " + why);
  };
  const std::uint64_t most =
      std::min(physical_.properties11.maxMemoryAllocationSize, physical_.properties13.maxBufferSize);
  if (bytes + kTail > most) refuse("the device gives at most " + mebibytes(most) + " in one piece");
  const Instance::MemorySize size = instance_.memory(physical_);
  if (bytes > size.free) refuse(mebibytes(size.free) + " of " + mebibytes(size.total) + " are free");

  auto block = std::make_unique<Block>();
  block->kind = kind;
  block->size =
      std::min(most, kind == MemoryKind::kDevice ? std::clamp(*physical_.taken / kBlockShare, kLeastBlock, kMostBlock)
                                                 : kLeastBlock);
  if (bytes > block->size / kPieceShare || block->size > size.free) block->size = bytes + kTail;
  try {
    auto buffer = vk<VkBufferCreateInfo>(VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO);
    buffer.size = block->size;
    buffer.usage = kUsage;
    check(api_.vkCreateBuffer(device_, &buffer, nullptr, &block->buffer), "creating a buffer");
    VkMemoryRequirements needs;
    api_.vkGetBufferMemoryRequirements(device_, block->buffer, &needs);
    auto flags = vk<VkMemoryAllocateFlagsInfo>(VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO);
    flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
    auto info = vk<VkMemoryAllocateInfo>(VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO);
    info.pNext = &flags;
    info.allocationSize = needs.size;
    info.memoryTypeIndex = choose_type(kind, needs.memoryTypeBits);
    if (info.memoryTypeIndex == VK_MAX_MEMORY_TYPES) refuse("the device has no memory of that kind");
    const VkResult result = api_.vkAllocateMemory(device_, &info, nullptr, &block->memory);
    if (result != VK_SUCCESS) refuse(result_name(result));
    check(api_.vkBindBufferMemory(device_, block->buffer, block->memory, 0), "binding memory");
    const VkMemoryPropertyFlags type = properties_.memoryTypes[info.memoryTypeIndex].propertyFlags;
    const bool visible = type & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    if (visible && !(kind == MemoryKind::kDevice && (hide_ || !physical_.shares_host_memory()))) {
      void* mapped = nullptr;
      check(api_.vkMapMemory(device_, block->memory, 0, VK_WHOLE_SIZE, 0, &mapped), "mapping memory");
      block->mapped = static_cast<std::byte*>(mapped);
    }
    auto address = vk<VkBufferDeviceAddressInfo>(VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO);
    address.buffer = block->buffer;
    block->address = api_.vkGetBufferDeviceAddress(device_, &address);
    block->free.emplace(0, block->size - kTail);
    blocks_.push_back(std::move(block));
  } catch (...) {
    if (block) destroy(*block);
    throw;
  }
  *physical_.taken += blocks_.back()->size;
  return *blocks_.back();
}

void Memory::give_back(Block& block, std::uint64_t offset, std::uint64_t size) noexcept {
  const std::scoped_lock lock(mutex_);
  try {
    auto hole = block.free.emplace(offset, size).first;
    if (const auto next = std::next(hole); next != block.free.end() && offset + size == next->first) {
      hole->second += next->second;
      block.free.erase(next);
    }
    if (hole != block.free.begin()) {
      const auto before = std::prev(hole);
      if (before->first + before->second == hole->first) {
        before->second += hole->second;
        block.free.erase(hole);
      }
    }
  } catch (...) {
    return;  // no memory for the note: the hole stays unused
  }
  if (block.free.begin()->second != block.size - kTail) return;
  *physical_.taken -= block.size;
  destroy(block);
  std::erase_if(blocks_, [&](const auto& other) { return other.get() == &block; });
}

void Memory::destroy(Block& block) noexcept {
  api_.vkDestroyBuffer(device_, block.buffer, nullptr);
  api_.vkFreeMemory(device_, block.memory, nullptr);
}

}  // namespace nacelle::vulkan
