// An architecture says GGUF's side of a weight as an expression: this tensor, cut, turned, reshaped. Read backwards it
// says what that tensor is: slices become parts of one tensor, turns are turned back.
#include "core/compress/gguf_tensors.hpp"

#include <algorithm>
#include <map>
#include <optional>

#include "core/formats/file_error.hpp"

namespace nacelle::compress {
namespace {

using sdk::WeightNode;
using Shape = std::vector<std::int64_t>;

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorKind::kUnsupported, what); }

// ---- Nodes over what there is already ------------------------------------------------------------------------------

WeightNode over(std::uint32_t kind, WeightNode input) {
  WeightNode node;
  node.kind = kind;
  node.type = input.type;
  node.shape = input.shape;
  node.inputs.push_back(std::move(input));
  return node;
}

WeightNode reshaped(WeightNode input, Shape shape) {
  if (input.shape == shape) return input;
  WeightNode node = over(NACELLE_EXPR_RESHAPE, std::move(input));
  node.shape = std::move(shape);
  return node;
}

WeightNode permuted(WeightNode input, const std::vector<std::uint32_t>& order) {
  WeightNode node = over(NACELLE_EXPR_PERMUTE, std::move(input));
  for (std::size_t i = 0; i < order.size(); ++i) node.shape[i] = node.inputs[0].shape[order[i]];
  node.order = order;
  return node;
}

WeightNode sliced(WeightNode input, std::uint32_t axis, std::int64_t begin, std::int64_t end) {
  WeightNode node = over(NACELLE_EXPR_SLICE, std::move(input));
  node.axis = axis;
  node.begin = begin;
  node.shape[axis] = end - begin;
  return node;
}

WeightNode calculated(std::uint32_t kind, WeightNode input, double constant) {
  WeightNode node = over(kind, std::move(input));
  node.type = NACELLE_TYPE_F32;
  node.constant = constant;
  return node;
}

struct Piece {
  std::int64_t begin;
  WeightNode value;
};

WeightNode joined(std::vector<Piece> pieces, std::uint32_t axis, const std::string& what) {
  std::ranges::sort(pieces, {}, &Piece::begin);
  WeightNode node = over(NACELLE_EXPR_CONCAT, pieces[0].value);
  node.axis = axis;
  node.inputs.clear();
  std::int64_t end = 0;
  for (Piece& piece : pieces) {
    if (piece.begin != end || piece.value.type != node.type)
      refuse("what makes up " + what + " is not all there, or of more than one type");
    end += piece.value.shape[axis];
    node.inputs.push_back(std::move(piece.value));
  }
  node.shape[axis] = end;
  return node.inputs.size() == 1 ? WeightNode(node.inputs[0]) : node;
}

// ---- Expressions ---------------------------------------------------------------------------------------------------

const nacelle_weight_expr& input_of(const nacelle_weight_expr& expr) { return *expr.inputs[0]; }

// Names that Nacelle reads and llama.cpp does not know.
bool is_foreign(const nacelle_weight_expr& expr) {
  if (expr.kind == NACELLE_EXPR_TENSOR) return sdk::view(expr.name).find("ffn_gate_up") != std::string_view::npos;
  return std::any_of(expr.inputs, expr.inputs + expr.input_count, [](const auto* input) { return is_foreign(*input); });
}

// Of several ways to store a weight the first is today's.
const nacelle_weight_expr& chosen(const nacelle_weight_expr& first_of) {
  const auto* end = first_of.inputs + first_of.input_count;
  const auto* found = std::find_if_not(first_of.inputs, end, [](const auto* input) { return is_foreign(*input); });
  return found == end ? input_of(first_of) : **found;
}

// The shape that an expression gives, where that follows from itself alone.
std::optional<Shape> shape_of(const nacelle_weight_expr& expr) {
  if (expr.kind == NACELLE_EXPR_TENSOR || expr.kind == NACELLE_EXPR_STACK || expr.input_count == 0) return std::nullopt;
  if (expr.kind == NACELLE_EXPR_RESHAPE) return Shape(expr.shape, expr.shape + expr.rank);
  auto shape = shape_of(expr.kind == NACELLE_EXPR_FIRST_OF ? chosen(expr) : input_of(expr));
  if (!shape) return std::nullopt;
  if (expr.kind == NACELLE_EXPR_SLICE) (*shape)[expr.axis] = expr.end - expr.begin;
  if (expr.kind == NACELLE_EXPR_CONCAT) return std::nullopt;
  if (expr.kind != NACELLE_EXPR_PERMUTE) return shape;
  const Shape before = *shape;
  for (std::uint32_t i = 0; i < expr.rank; ++i) (*shape)[i] = before[static_cast<std::size_t>(expr.shape[i])];
  return shape;
}

std::int64_t extent_of(const nacelle_weight_expr& expr, std::uint32_t axis) {
  if (expr.kind == NACELLE_EXPR_SLICE && expr.axis == axis) return expr.end - expr.begin;
  const auto shape = shape_of(expr);
  if (!shape) refuse("a part of a tensor is of a size that its expression does not say");
  return (*shape)[axis];
}

// A line that two expressions share where they are the same.
std::string text_of(const nacelle_weight_expr& expr) {
  std::string text = std::to_string(expr.kind) + ":" + std::string(sdk::view(expr.name));
  for (const std::int64_t number : {std::int64_t{expr.axis}, expr.begin, expr.end})
    text += "," + std::to_string(number);
  for (std::uint32_t i = 0; i < expr.rank; ++i) text += "x" + std::to_string(expr.shape[i]);
  for (std::uint32_t i = 0; i < expr.input_count; ++i) text += "(" + text_of(*expr.inputs[i]) + ")";
  return text;
}

// ---- Shapes and types that GGUF has otherwise ----------------------------------------------------------------------

bool has_mamba(std::string_view architecture) {
  constexpr std::string_view kAll[] = {"mamba2", "granitehybrid", "nemotron_h", "nemotron_h_moe", "falcon-h1"};
  return std::ranges::find(kAll, architecture) != std::end(kAll);
}

// Of the first scan and the first attention.
struct Heads {
  std::int64_t scan = 1, scan_groups = 1;  // how many of a scan's heads share what it reads
  std::int64_t width = 1;                  // of a query

  explicit Heads(const sdk::GraphRecord& graph) {
    for (auto op = graph.ops.rbegin(); op != graph.ops.rend(); ++op)
      if (op->kind == NACELLE_OP_STATE_SCAN) {
        const auto attributes = op->attributes.as<nacelle_scan_attributes>();
        scan = attributes.head_count;
        scan_groups = attributes.group_count;
      } else if (op->kind == NACELLE_OP_ATTENTION) {
        width = op->attributes.as<nacelle_attention_attributes>().key_width;
      }
  }
};

// Rows of one element for what a head has one of, rows of a group of heads for norms; axes of one element between
// others.
Shape shape_in_gguf(std::string_view architecture, std::string_view name, const WeightNode& value, const Heads& of) {
  const std::int64_t last = value.shape.back(), rows = static_cast<std::int64_t>(value.row_count());
  const auto ends = [&](const char* text) { return name.ends_with(text); };
  if (architecture == "kimi-linear" && ends("ssm_a")) return {1, 1, last, 1};
  if (architecture == "kimi-linear" && name.find("ssm_conv1d_") != std::string_view::npos) return {1, rows, 1, last};
  if ((architecture == "mamba" || architecture == "jamba") && ends("ssm_a")) return {of.scan, last / of.scan};
  if (has_mamba(architecture) && (ends("ssm_a") || ends("ssm_d"))) return {last, 1};
  if (has_mamba(architecture) && ends("ssm_norm.weight")) return {of.scan_groups, last / of.scan_groups};
  const bool own_norms = architecture == "command-r" || architecture == "stablelm";
  if (own_norms && (ends("attn_q_norm.weight") || ends("attn_k_norm.weight"))) return {last / of.width, of.width};
  if (ends("ffn_gate_inp_shexp.weight")) return {last};
  return value.shape;
}

// What is added to a norm's weight before use, by the weight's value.
std::map<std::uint32_t, float> norm_offsets(const sdk::GraphRecord& graph) {
  std::map<std::uint32_t, float> offsets;
  for (const sdk::OpRecord& op : graph.ops) {
    if ((op.kind != NACELLE_OP_RMS_NORM && op.kind != NACELLE_OP_LAYER_NORM) || op.inputs.size() < 2) continue;
    const float offset = op.attributes.as<nacelle_norm_attributes>().weight_offset;
    if (offset != 0) offsets[op.inputs[1]] = offset;
  }
  return offsets;
}

// ---- Backwards -----------------------------------------------------------------------------------------------------

class Inverter {
 public:
  // GGUF's tensor or tensors from which `expr` would make `value`, in a layer or outside (-1).
  void add(const nacelle_weight_expr& expr, WeightNode value, std::int32_t layer) {
    const std::int64_t columns = value.shape.size() > 1 ? value.shape.back() : 0;
    undo(expr, std::move(value), {layer, columns});
  }

  void add_tensor(const std::string& name, WeightNode value) {
    if (!tensors_.emplace(name, std::move(value)).second) refuse("tensor " + in_quotes(name) + " is made twice");
  }

  // By name. Pieces are joined, whose whole may be a piece of another.
  std::map<std::string, WeightNode> take() {
    while (!pieces_.empty()) {
      const auto all = std::exchange(pieces_, {});
      for (const auto& [text, whole] : all)
        add(*whole.expr, joined(whole.pieces, whole.axis, "a tensor of layer " + std::to_string(whole.layer)),
            whole.layer);
    }
    return std::move(tensors_);
  }

 private:
  struct Whole {
    const nacelle_weight_expr* expr;
    std::int32_t layer;
    std::uint32_t axis;
    std::vector<Piece> pieces;
  };

  static std::string expand(std::string_view name, std::int32_t layer) {
    std::string text(name);
    const std::string_view mark = "{layer}";
    for (std::size_t at; (at = text.find(mark)) != std::string::npos;)
      text.replace(at, mark.size(), std::to_string(layer));
    return text;
  }

  struct Context {
    std::int32_t layer;
    std::int64_t columns;  // of the value that was added; 0: a vector
  };

  void undo(const nacelle_weight_expr& expr, WeightNode value, const Context& in) {
    switch (expr.kind) {
      case NACELLE_EXPR_TENSOR: return add_tensor(expand(sdk::view(expr.name), in.layer), std::move(value));
      case NACELLE_EXPR_FIRST_OF: return undo(chosen(expr), std::move(value), in);
      case NACELLE_EXPR_SLICE: return add_piece(expr, std::move(value), in.layer);
      case NACELLE_EXPR_RESHAPE: return undo(input_of(expr), before_reshape(expr, std::move(value), in.columns), in);
      case NACELLE_EXPR_PERMUTE: return undo(input_of(expr), before_permute(expr, std::move(value)), in);
      case NACELLE_EXPR_CONCAT: return add_parts(expr, value, in.layer);
      case NACELLE_EXPR_ADD:
        return undo(input_of(expr), calculated(NACELLE_EXPR_ADD, std::move(value), -expr.constant), in);
      case NACELLE_EXPR_SCALE:
        return undo(input_of(expr), calculated(NACELLE_EXPR_SCALE, std::move(value), 1 / expr.constant), in);
      case NACELLE_EXPR_DECODE: return undo(input_of(expr), std::move(value), in);
      default: refuse("a weight is made of GGUF's tensors in a way that cannot be undone");
    }
  }

  void add_piece(const nacelle_weight_expr& expr, WeightNode value, std::int32_t layer) {
    const nacelle_weight_expr& input = input_of(expr);
    Whole& whole = pieces_[std::to_string(layer) + " " + std::to_string(expr.axis) + " " + text_of(input)];
    whole.expr = &input;
    whole.layer = layer;
    whole.axis = expr.axis;
    whole.pieces.push_back({expr.begin, std::move(value)});
  }

  void add_parts(const nacelle_weight_expr& expr, const WeightNode& value, std::int32_t layer) {
    std::int64_t begin = 0;
    for (std::uint32_t i = 0; i < expr.input_count; ++i) {
      const std::int64_t extent = extent_of(*expr.inputs[i], expr.axis);
      add(*expr.inputs[i], sliced(value, expr.axis, begin, begin + extent), layer);
      begin += extent;
    }
  }

  // What is reshaped is a matrix, or a vector, where its own expression does not say its shape. Its rows may be cut.
  static WeightNode before_reshape(const nacelle_weight_expr& expr, WeightNode value, std::int64_t columns) {
    auto shape = shape_of(input_of(expr));
    if (!shape) {
      value = reshaped(std::move(value), Shape(expr.shape, expr.shape + expr.rank));
      const std::int64_t all = static_cast<std::int64_t>(value.row_count()) * value.shape.back();
      std::int64_t last = value.shape.back();
      for (std::size_t i = value.shape.size() - 1; i-- > 0 && last < columns;) last *= value.shape[i];
      if (last != columns) last = value.shape.back();
      shape = columns == 0 || last == 1 || last == all ? Shape{all} : Shape{all / last, last};
    }
    return reshaped(std::move(value), *std::move(shape));
  }

  static WeightNode before_permute(const nacelle_weight_expr& expr, WeightNode value) {
    std::vector<std::uint32_t> order(expr.rank);
    for (std::uint32_t i = 0; i < expr.rank; ++i) order[static_cast<std::size_t>(expr.shape[i])] = i;
    return permuted(std::move(value), order);
  }

  std::map<std::string, WeightNode> tensors_;
  std::map<std::string, Whole> pieces_;  // by what they are pieces of
};

int layer_of(const std::string& name) {
  if (name.starts_with("blk.")) return std::stoi(name.substr(4));
  return name.starts_with("output") ? 1 << 20 : -1;
}

}  // namespace

bool is_key(const sdk::WeightRecord& weight) { return weight.name.ends_with(".xielu"); }

std::vector<SourceTensor> gguf_tensors(const sdk::GraphRecord& graph, const ModelFiles& files,
                                       std::string_view architecture) {
  const auto offsets = norm_offsets(graph);
  Inverter inverter;
  for (const sdk::WeightRecord& weight : graph.weights) {
    if (is_key(weight)) continue;
    WeightNode value = weight.source->value;
    if (const auto offset = offsets.find(weight.value); offset != offsets.end())
      value = calculated(NACELLE_EXPR_ADD, std::move(value), offset->second);
    // Where the formats differ by more than the order of rows, each weight has a tensor of its name.
    if (weight.source->other)
      inverter.add(*weight.source->other->get(), std::move(value), weight.layer);
    else
      inverter.add_tensor(weight.name, std::move(value));
  }
  const Heads heads(graph);
  std::vector<SourceTensor> tensors;
  for (auto& [name, value] : inverter.take()) {
    value = reshaped(value, shape_in_gguf(architecture, name, value, heads));
    const nacelle_type type = stays_f32(name, value.shape.size()) ? nacelle_type{NACELLE_TYPE_F32} : value.type;
    SourceTensor tensor{.name = name, .shape = {value.shape.begin(), value.shape.end()}, .type = type};
    tensor.made = std::make_shared<MadeTensor>(std::move(value), files);
    tensors.push_back(std::move(tensor));
  }
  std::ranges::stable_sort(tensors, {}, [](const SourceTensor& one) { return layer_of(one.name); });
  return tensors;
}

}  // namespace nacelle::compress
