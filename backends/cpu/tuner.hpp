// Measures matmul variants on a model's own packed weights, all threads together, as a plan would run them.
#pragma once

#include <cstdint>
#include <nacelle/backend.hpp>
#include <span>
#include <vector>

#include "backends/cpu/selection.hpp"
#include "backends/cpu/weights.hpp"

namespace nacelle::cpu {

// One at a time, with nothing else running on the pool. Throws sdk::Failure only for want of memory.
class Tuner {
 public:
  // `matrices` by weight.
  Tuner(const sdk::Host& host, Selection& selection, std::span<const PackedMatrix> matrices);

  nacelle_tune_report run(const nacelle_tune_options& options);

 private:
  struct Job {
    std::size_t index;   // of the case
    std::uint32_t rows;  // bucket
  };
  struct Slice {
    const PackedMatrix* matrix;
    std::uint64_t expert;

    std::uint64_t bytes() const { return matrix->groups() * matrix->group_bytes; }
  };
  using Step = std::vector<Slice>;  // matrices that share their input

  std::vector<Job> jobs(bool again) const;
  sdk::Verdict measure(const Job& job, double seconds);
  // The few candidates of a type in a row bucket that give the same bits as the static winner, which comes first.
  std::vector<const MatmulVariant*> sound_candidates(nacelle_type type, std::uint32_t bucket, const Step& step) const;
  std::vector<Step> steps_of(const MatmulCase& of, std::uint32_t experts) const;
  void make_room(const MatmulCase& of, const std::vector<Step>& steps, std::uint32_t rows);
  double run_step(const MatmulVariant& variant, const Step& step, std::uint32_t rows);
  void evict(const std::vector<Step>& own);

  const sdk::Host host_;
  Selection& selection_;
  const std::span<const PackedMatrix> matrices_;
  nacelle_ceilings ceilings_{};
  std::uint64_t cold_bytes_ = 0;  // to be read between two uses of the same weights
  std::size_t cursor_ = 0;        // of evict(): the matrix that it reads next
  sdk::Buffer x_, encoded_, out_;
};

}  // namespace nacelle::cpu
