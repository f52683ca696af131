// Real kernels with a bound that is off by one: copies of kernels/rows.hpp that CMake makes, each with one change, run
// over buffers that end where the rows end. Wrong results, a touched guard, or ASan must tell each from the sound copy.
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "tests/simt/emulator.hpp"
//
#include "backends/gpu/simt.hpp"
// The copies; each in a namespace of its own below nacelle::gpu.
#include "mutants/group.hpp"
#include "mutants/guard.hpp"
#include "mutants/sound.hpp"
#include "mutants/width.hpp"

namespace {

using namespace nacelle::gpu;

constexpr std::uint32_t kRows = 2, kWidth = 5, kStride = 8;
constexpr float kGuard = -77;

template <class Arguments, void (*kKernel)(Arguments)>
void call(const void* arguments) {
  kKernel(*static_cast<const Arguments*>(arguments));
}

// Rows with a guard behind each, in both buffers.
struct Buffers {
  std::vector<float> x = std::vector<float>((kRows + 1) * kStride, kGuard), y = x;
  std::uint32_t count = kRows;
  Buffers() {
    for (std::uint32_t i = 0; i < kRows * kWidth; ++i) x[i / kWidth * kStride + i % kWidth] = 1 + static_cast<float>(i);
  }
  // Every element of y is as it must be, what no row owns included.
  bool sound(float (*expected)(const Buffers&, std::uint32_t row, std::uint32_t column)) const {
    for (std::uint32_t i = 0; i < y.size(); ++i) {
      const bool owned = i / kStride < kRows && i % kStride < kWidth;
      const float wanted = owned ? expected(*this, i / kStride, i % kStride) : kGuard;
      if (!(std::fabs(y[i] - wanted) <= 1e-5f * std::fabs(wanted))) return false;
    }
    return true;
  }
};

// Rows more than there are, as a bucket has.
template <class Arguments>
bool run(Buffers& buffers, void (*kernel)(const void*), Arguments arguments,
         float (*expected)(const Buffers&, std::uint32_t, std::uint32_t)) {
  simt::launch(kernel, &arguments, {1, kRows + 1, 1}, {32, 1, 1}, 3);
  return buffers.sound(expected);
}

float normalised(const Buffers& of, std::uint32_t row, std::uint32_t column) {
  float squares = 0;
  for (std::uint32_t i = 0; i < kWidth; ++i) squares += of.x[row * kStride + i] * of.x[row * kStride + i];
  return of.x[row * kStride + column] / std::sqrt(squares / kWidth);
}
float doubled(const Buffers& of, std::uint32_t row, std::uint32_t column) { return 2 * of.x[row * kStride + column]; }

template <void (*kNorm)(NormArguments), void (*kAdd)(ElementArguments)>
bool is_sound() {
  Buffers norm, add;
  NormArguments of{};
  of.x = {norm.x.data(), kWidth, kStride};
  of.out = {norm.y.data(), kWidth, kStride};
  of.group = kWidth;
  of.count = &norm.count;
  ElementArguments sum{};
  sum.a = {add.x.data(), kWidth, kStride};
  sum.out = {add.y.data(), kWidth, kStride};
  sum.b = add.x.data();
  sum.b_stride = kStride;
  sum.count = &add.count;
  return run(norm, call<NormArguments, kNorm>, of, normalised) && run(add, call<ElementArguments, kAdd>, sum, doubled);
}

}  // namespace

TEST_CASE("a kernel with a bound off by one is caught") {
  CHECK(is_sound<sound::rms_norm, sound::elements<sound::AddElement>>());
  CHECK_FALSE(is_sound<group::rms_norm, group::elements<group::AddElement>>());
  CHECK_FALSE(is_sound<guard::rms_norm, guard::elements<guard::AddElement>>());
  CHECK_FALSE(is_sound<width::rms_norm, width::elements<width::AddElement>>());
}
