// Operations that carry a state along each sequence. A piece of work is a sequence with some columns of its state, of
// one head: its rows run one after the other, so that the state is read and written once a step, and the columns are
// cut so that one sequence of one row gives work to all threads. No bit depends on the cut: columns do not meet.
#include <algorithm>
#include <memory>

#include "backends/cpu/cache.hpp"
#include "backends/cpu/compiler.hpp"

namespace nacelle::cpu {
namespace {

constexpr std::uint32_t kPiecesAThread = 2;
constexpr std::uint32_t kLine = 16;               // floats; no two pieces write one line of an aligned state
constexpr std::uint64_t kSmallStates = 16 << 10;  // values that are worked on as fast as threads meet
constexpr std::uint32_t kMostColumns = 512;       // of a convolution: its window stays in L1

// Where the states of an operation lie, and what it does to those of a step.
struct States {
  std::uint32_t group, layer;

  float* of(const Frame& frame, std::uint32_t sequence) const {
    return frame.cache->state(group, layer, *frame.block_table(group, sequence));
  }
};

// How columns are cut, of `heads` matrices that each of a step's sequences has.
class Pieces {
 public:
  Pieces(std::uint32_t heads, std::uint32_t columns, std::uint32_t most_columns, std::uint32_t threads)
      : heads_(heads), columns_(columns), most_columns_(most_columns), wanted_(kPiecesAThread * threads) {}

  struct Piece {
    std::uint32_t sequence, head, column, columns;
  };

  // `values`: that a row of a sequence works on.
  Work work(const Frame& frame, std::uint64_t values) const {
    const std::uint32_t rows = frame.count(Lead::kRows), sequences = frame.count(Lead::kSequences);
    // Where each sequence has a row, pieces are alike, and what counts is that states come as long streams.
    return {std::uint64_t{sequences} * heads_ * parts(frame), 1, rows * values <= kSmallStates, rows <= sequences};
  }
  Piece piece(const Frame& frame, std::uint64_t unit) const {
    const std::uint64_t count = parts(frame);
    const auto column = static_cast<std::uint32_t>(unit % count) * width(frame);
    return {static_cast<std::uint32_t>(unit / count / heads_), static_cast<std::uint32_t>(unit / count % heads_),
            column, std::min(width(frame), columns_ - column)};
  }

 private:
  // Columns of a piece: whole lines, all of them where there are heads and sequences enough.
  std::uint32_t width(const Frame& frame) const {
    const std::uint64_t whole = std::max<std::uint64_t>(1, std::uint64_t{frame.count(Lead::kSequences)} * heads_);
    const std::uint64_t cuts = (wanted_ + whole - 1) / whole, lines = (columns_ + kLine - 1) / kLine;
    return std::min<std::uint32_t>(most_columns_, static_cast<std::uint32_t>((lines + cuts - 1) / cuts) * kLine);
  }
  std::uint32_t parts(const Frame& frame) const { return (columns_ + width(frame) - 1) / width(frame); }

  std::uint32_t heads_, columns_, most_columns_, wanted_;
};

std::uint64_t floats(const Place& place) { return place.stride / sizeof(float); }

// The first row of a sequence and how many it has; the state is zeros where the sequence begins.
struct Rows {
  Rows(const Frame& frame, std::uint32_t sequence)
      : first(frame.sequence_starts[sequence]), count(frame.sequence_starts[sequence + 1] - first) {}
  bool begins(const Frame& frame) const { return frame.positions[first] == 0; }

  std::uint32_t first, count;
};

void clear(float* state, std::uint64_t rows, std::uint64_t stride, std::uint32_t columns) {
  for (std::uint64_t row = 0; row < rows; ++row) std::fill_n(state + row * stride, columns, 0.0f);
}

struct ScanStep {
  nacelle_scan_attributes of;
  States states;
  Pieces pieces;
  const RecurrentKernels* kernels;
  const Place *q, *k, *v, *factors, *strengths, *out;
  std::uint64_t first_strength;  // of a row of `strengths`
  const float* skip;
  bool per_key;  // a decay for each row of the state

  void run(const Frame& frame, std::uint64_t unit, std::uint64_t end, std::byte* scratch) const {
    const Pieces::Piece piece = pieces.piece(frame, unit);
    const Rows rows(frame, piece.sequence);
    if (rows.count == 0) return;
    const std::uint64_t keys = of.key_width, values = of.value_width, h = piece.head;
    const std::uint64_t group = h / (of.head_count / of.group_count) * keys, column = h * values + piece.column;
    float* state = state_of(frame, piece);
    if (rows.begins(frame)) clear(state, keys, values, piece.columns);
    ScanCall call{};
    call.rule = of.rule;
    call.rows = rows.count;
    call.key_width = of.key_width;
    call.columns = piece.columns;
    call.q = frame.at(*q, rows.first) + group;
    call.k = frame.at(*k, rows.first) + group;
    call.v = frame.at(*v, rows.first) + column;
    call.decays = frame.at(*factors, rows.first) + (per_key ? h * keys : h);
    call.strengths = frame.at(*strengths, rows.first) + first_strength + h;
    call.decay_step = per_key;
    call.scale = of.scale;
    call.skip = skip ? skip[h] : 0;
    call.state = state;
    call.out = frame.at(*out, rows.first) + column;
    call.next = unit + 1 < end ? next_state(frame, pieces.piece(frame, unit + 1)) : nullptr;
    call.scratch = reinterpret_cast<float*>(scratch);
    call.q_stride = floats(*q);
    call.k_stride = floats(*k);
    call.v_stride = floats(*v);
    call.decay_stride = floats(*factors);
    call.strength_stride = floats(*strengths);
    call.state_stride = values;
    call.out_stride = floats(*out);
    kernels->scan(call);
  }

 private:
  const float* next_state(const Frame& frame, const Pieces::Piece& piece) const {
    return Rows(frame, piece.sequence).count ? state_of(frame, piece) : nullptr;
  }
  float* state_of(const Frame& frame, const Pieces::Piece& piece) const {
    return states.of(frame, piece.sequence) + std::uint64_t{piece.head} * of.key_width * of.value_width + piece.column;
  }
};

// Heads of one column, which are cut as columns are; the groups take the place of heads.
struct ChannelScanStep {
  nacelle_scan_attributes of;
  States states;
  Pieces pieces;
  const RecurrentKernels* kernels;
  const Place *q, *k, *v, *factors, *out;
  std::uint64_t first_step;  // of a row of `factors`
  const float *rates, *skip;

  void run(const Frame& frame, std::uint64_t unit) const {
    const Pieces::Piece piece = pieces.piece(frame, unit);
    const Rows rows(frame, piece.sequence);
    if (rows.count == 0) return;
    const std::uint64_t keys = of.key_width, group = piece.head * keys;
    const std::uint64_t head = std::uint64_t{piece.head} * (of.head_count / of.group_count) + piece.column;
    ChannelScanCall call{};
    call.rows = rows.count;
    call.key_width = of.key_width;
    call.heads = piece.columns;
    call.q = frame.at(*q, rows.first) + group;
    call.k = frame.at(*k, rows.first) + group;
    call.v = frame.at(*v, rows.first) + head;
    call.steps = frame.at(*factors, rows.first) + first_step + head;
    call.rates = rates + head * keys;
    call.skip = skip ? skip + head : nullptr;
    call.scale = of.scale;
    call.state = states.of(frame, piece.sequence) + head * keys;
    if (rows.begins(frame)) clear(call.state, 1, 0, piece.columns * of.key_width);
    call.out = frame.at(*out, rows.first) + head;
    call.q_stride = floats(*q);
    call.k_stride = floats(*k);
    call.v_stride = floats(*v);
    call.step_stride = floats(*factors);
    call.out_stride = floats(*out);
    kernels->scan_channels(call);
  }
};

struct ConvolutionStep {
  nacelle_convolution_attributes of;
  States states;
  Pieces pieces;
  const RecurrentKernels* kernels;
  const Place *x, *out;
  const float *filters, *bias;

  void run(const Frame& frame, std::uint64_t unit) const {
    const Pieces::Piece piece = pieces.piece(frame, unit);
    const Rows rows(frame, piece.sequence);
    if (rows.count == 0) return;
    float* state = states.of(frame, piece.sequence) + piece.column;
    if (rows.begins(frame)) clear(state, of.length - 1, x->width, piece.columns);
    ConvolutionCall call{};
    call.rows = rows.count;
    call.columns = piece.columns;
    call.length = of.length;
    call.activation = of.activation;
    call.x = frame.at(*x, rows.first) + piece.column;
    call.bias = bias ? bias + piece.column : nullptr;
    call.filters = filters + piece.column;
    call.state = state;
    call.out = frame.at(*out, rows.first) + piece.column;
    call.x_stride = floats(*x);
    call.filter_stride = call.state_stride = x->width;
    call.out_stride = floats(*out);
    kernels->convolve(call);
  }
};

}  // namespace

// Each row's decays, then its strengths where the graph gives none: once a row, whatever the cut.
Place* Compiler::scan_factors(const nacelle_op& op) {
  const auto of = attributes<nacelle_scan_attributes>(op);
  const float *rate = weights_.vector(op.inputs[4]), *bias = weights_.vector(input(op, 5));
  const RecurrentKernels& kernels = weights_.recurrent();
  begin_rows(Lead::kRows, true);
  const Place* step = read(op.inputs[3]);
  const std::uint32_t heads = of.head_count, per_head = step->width / heads;
  Place* factors = temporary(Lead::kRows, (std::uint64_t{step->width} + heads) * sizeof(float));
  push_rows([=, &kernels](const Frame& frame, std::uint32_t row, std::byte* scratch) {
    const float* from = frame.at(*step, row);
    float *decays = frame.at(*factors, row), *strengths = decays + step->width;
    if (per_head == 1) return kernels.scan_steps(from, bias, rate, false, heads, strengths, decays);
    float* steps = reinterpret_cast<float*>(scratch);
    for (std::uint32_t h = 0; h < heads; ++h) {
      const std::uint64_t first = std::uint64_t{h} * per_head;
      kernels.scan_steps(from + first, bias ? bias + first : nullptr, rate + h, true, per_head, steps, decays + first);
      strengths[h] = steps[0];
    }
  });
  return factors;
}

// The kernel takes the decays itself: there is one for each value of the state. Those of scan_factors go unread.
void Compiler::channel_scan(const nacelle_op& op) {
  const auto of = attributes<nacelle_scan_attributes>(op);
  Place* factors = scan_factors(op);
  begin_step();
  keep_alive(factors);
  const Place *q = read(op.inputs[0]), *k = read(op.inputs[1]), *v = read(op.inputs[2]);
  const Place* out = write(op.outputs[0]);
  const Pieces pieces(of.group_count, of.head_count / of.group_count, UINT32_MAX, threads_);
  const auto step = std::make_shared<const ChannelScanStep>(ChannelScanStep{of,
                                                                            {of.cache_group, of.cache_layer},
                                                                            pieces,
                                                                            &weights_.recurrent(),
                                                                            q,
                                                                            k,
                                                                            v,
                                                                            factors,
                                                                            out,
                                                                            of.head_count,
                                                                            weights_.vector(op.inputs[4]),
                                                                            weights_.vector(input(op, 7))});
  const std::uint64_t values = std::uint64_t{of.head_count} * of.key_width;
  push_step(
      "state_scan", [step, values](const Frame& frame, std::uint32_t) { return step->pieces.work(frame, values); },
      [step](const Frame& frame, std::uint64_t begin, std::uint64_t end, std::byte*) {
        for (std::uint64_t unit = begin; unit < end; ++unit) step->run(frame, unit);
      });
}

void Compiler::state_scan(const nacelle_op& op) {
  const auto of = attributes<nacelle_scan_attributes>(op);
  if (graph_.values[op.inputs[4]]->shape[0] != of.head_count) return channel_scan(op);
  Place* factors = scan_factors(op);
  begin_step();
  keep_alive(factors);
  const Place *q = read(op.inputs[0]), *k = read(op.inputs[1]), *v = read(op.inputs[2]);
  const std::uint32_t steps = width_of(op.inputs[3]);
  const bool given = input(op, 6) != NACELLE_NO_VALUE;
  const Place* strengths = given ? read(op.inputs[6]) : factors;
  const Place* out = write(op.outputs[0]);
  need_scratch(scan_scratch(of.key_width) * sizeof(float));  // also for the factors of a head
  const auto step = std::make_shared<const ScanStep>(ScanStep{of,
                                                              {of.cache_group, of.cache_layer},
                                                              {of.head_count, of.value_width, UINT32_MAX, threads_},
                                                              &weights_.recurrent(),
                                                              q,
                                                              k,
                                                              v,
                                                              factors,
                                                              strengths,
                                                              out,
                                                              given ? 0 : steps,
                                                              weights_.vector(input(op, 7)),
                                                              steps != of.head_count});
  const std::uint64_t values = std::uint64_t{of.head_count} * of.key_width * of.value_width;
  push_step(
      "state_scan", [step, values](const Frame& frame, std::uint32_t) { return step->pieces.work(frame, values); },
      [step](const Frame& frame, std::uint64_t begin, std::uint64_t end, std::byte* scratch) {
        for (std::uint64_t unit = begin; unit < end; ++unit) step->run(frame, unit, end, scratch);
      });
}

void Compiler::convolution(const nacelle_op& op) {
  const auto of = attributes<nacelle_convolution_attributes>(op);
  begin_step();
  const Place* x = read(op.inputs[0]);
  const Place* out = write(op.outputs[0]);
  const auto step = std::make_shared<const ConvolutionStep>(ConvolutionStep{of,
                                                                            {of.cache_group, of.cache_layer},
                                                                            {1, x->width, kMostColumns, threads_},
                                                                            &weights_.recurrent(),
                                                                            x,
                                                                            out,
                                                                            weights_.filters(op.inputs[1]),
                                                                            weights_.vector(input(op, 2))});
  const std::uint64_t values = std::uint64_t{of.length} * x->width;
  push_step(
      "convolution", [step, values](const Frame& frame, std::uint32_t) { return step->pieces.work(frame, values); },
      [step](const Frame& frame, std::uint64_t begin, std::uint64_t end, std::byte*) {
        for (std::uint64_t unit = begin; unit < end; ++unit) step->run(frame, unit);
      });
}

}  // namespace nacelle::cpu
