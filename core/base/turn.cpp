#include "core/base/turn.hpp"

#include <utility>

namespace nacelle {
namespace {

thread_local Turn* outermost = nullptr;

}  // namespace

Turn::Turn() noexcept : outer_(outermost) {
  if (!outer_) outermost = this;
}

Turn::~Turn() {
  if (outer_) return;
  outermost = nullptr;
  for (auto& task : tasks_) task();
}

bool Turn::under_way() noexcept { return outermost != nullptr; }

void Turn::at_end(std::function<void()> task) {
  if (!outermost) return task();
  outermost->tasks_.push_back(std::move(task));
}

}  // namespace nacelle
