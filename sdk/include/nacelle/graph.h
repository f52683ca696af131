/* Nacelle graph ABI: the values, operations and weights of a model, as plain data. Pure C11; also valid C++20.
 *
 * An architecture plugin describes a model once, through nacelle_graph_builder; the host turns that into a
 * nacelle_graph for each device and hands it to a backend. Both sides speak only of what is computed, never of where or
 * how.
 *
 * Activations are f32 matrices [rows, width], row-major, one row a token of the step; heads are consecutive runs of
 * columns (head h of width d is columns h*d .. h*d+d). "f32" is the meaning, not an order: a backend may hold
 * activations in a narrower type inside its numerics class. What each operation means, to the bit of its fp32
 * definition, is written in backends/reference, one function an operation.
 */
#ifndef NACELLE_GRAPH_H
#define NACELLE_GRAPH_H

#include <nacelle/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Types and shapes ---------------------------------------------------------------------------------------- */

/* Element types of tensors as stored or computed. The ids are Nacelle's own and never reused. */
typedef uint32_t nacelle_type;
enum {
  NACELLE_TYPE_INVALID = 0,
  NACELLE_TYPE_F32 = 1,
  NACELLE_TYPE_F16 = 2,
  NACELLE_TYPE_BF16 = 3,
  NACELLE_TYPE_I32 = 4,
  NACELLE_TYPE_U32 = 5,
  NACELLE_TYPE_I8 = 6,
  NACELLE_TYPE_U8 = 7,
  NACELLE_TYPE_I64 = 8,
  NACELLE_TYPE_F64 = 9,
  NACELLE_TYPE_I16 = 10,
  NACELLE_TYPE_BOOL = 11,
  /* Block formats, laid out as GGUF defines them. */
  NACELLE_TYPE_Q8_0 = 32,
  NACELLE_TYPE_Q4_0 = 33,
  NACELLE_TYPE_Q4_1 = 34,
  NACELLE_TYPE_Q5_0 = 35,
  NACELLE_TYPE_Q5_1 = 36,
  NACELLE_TYPE_Q2_K = 37,
  NACELLE_TYPE_Q3_K = 38,
  NACELLE_TYPE_Q4_K = 39,
  NACELLE_TYPE_Q5_K = 40,
  NACELLE_TYPE_Q6_K = 41,
  NACELLE_TYPE_IQ4_NL = 42,
  NACELLE_TYPE_IQ4_XS = 43,
  NACELLE_TYPE_MXFP4 = 44
};

#define NACELLE_MAX_RANK 4
/* Symbolic extents, known only at each step. */
#define NACELLE_DIM_ROWS (-1)        /* tokens in the step */
#define NACELLE_DIM_OUTPUT_ROWS (-2) /* rows whose logits (or hidden state) are wanted */
#define NACELLE_DIM_SEQUENCES (-3)   /* sequences in the step */

#define NACELLE_NO_VALUE 0xffffffffu
#define NACELLE_NO_CACHE 0xffffffffu

/* ---- Values -------------------------------------------------------------------------------------------------- */

enum {
  NACELLE_VALUE_INPUT = 1,        /* written by the host each step; `role` is NACELLE_INPUT_* */
  NACELLE_VALUE_WEIGHT = 2,       /* constant; `weight` indexes nacelle_graph.weights */
  NACELLE_VALUE_INTERMEDIATE = 3, /* made by one operation */
  NACELLE_VALUE_BOUNDARY = 4 /* made by another segment of a split model; read with nacelle_backend_api.write_value */
};

enum {
  NACELLE_INPUT_TOKENS = 1,        /* u32 [rows] */
  NACELLE_INPUT_POSITIONS = 2,     /* u32 [rows] */
  NACELLE_INPUT_OUTPUT_ROWS = 3,   /* u32 [output_rows]: the rows that are wanted */
  NACELLE_INPUT_ADAPTER_SLOTS = 4, /* u32 [rows] */
  NACELLE_INPUT_TOKEN_TYPES = 5    /* u32 [rows]: 0; 1 in the second of two texts that an encoder reads together */
};

enum {
  NACELLE_OUTPUT_NONE = 0,
  NACELLE_OUTPUT_LOGITS = 1,    /* f32 [output_rows, vocabulary] */
  NACELLE_OUTPUT_EMBEDDING = 2, /* f32 [output_rows or sequences, width] */
  NACELLE_OUTPUT_BOUNDARY = 3   /* carried to the next segment of a split model */
};

typedef struct nacelle_value {
  NACELLE_STRUCT_HEADER;
  uint32_t kind;   /* NACELLE_VALUE_* */
  uint32_t role;   /* NACELLE_INPUT_* of an input, else 0 */
  uint32_t output; /* NACELLE_OUTPUT_* */
  uint32_t weight; /* index of a weight, else NACELLE_NO_VALUE */
  nacelle_type type;
  uint32_t rank;
  int64_t shape[NACELLE_MAX_RANK]; /* outermost first; symbolic extents are negative */
} nacelle_value;
NACELLE_LAST_FIELD(nacelle_value, shape, 40);

/* ---- Weights ------------------------------------------------------------------------------------------------- */

enum { NACELLE_FORMAT_GGUF = 1, NACELLE_FORMAT_HUGGINGFACE = 2 };

/* How a weight is made of the file's tensors. The host evaluates expressions; backends only see the result. */
enum {
  NACELLE_EXPR_TENSOR = 1,    /* the tensor `name`; "{layer}" is replaced by the layer's index */
  NACELLE_EXPR_FIRST_OF = 2,  /* the first input whose tensors all exist (a tied head) */
  NACELLE_EXPR_CONCAT = 3,    /* inputs along `axis` */
  NACELLE_EXPR_STACK = 4,     /* input 0 for each {expert} in 0 .. count-1, along a new axis 0 */
  NACELLE_EXPR_SLICE = 5,     /* [begin, end) along `axis` */
  NACELLE_EXPR_RESHAPE = 6,   /* to `shape` */
  NACELLE_EXPR_PERMUTE = 7,   /* axes in the order of `shape` */
  NACELLE_EXPR_ADD = 8,       /* input 0 plus `constant`; plain float types only */
  NACELLE_EXPR_SCALE = 9,     /* input 0 times `constant`; plain float types only */
  NACELLE_EXPR_CONSTANT = 10, /* F32 of `shape`, every element `constant`: for what the configuration says */
  NACELLE_EXPR_MXFP4 = 11,    /* input 0: U8 [..., K/32, 16], two neighbours a byte, the first in the low half; input 1:
                                 U8 [..., K/32], exponents -> MXFP4 [..., K] as GGUF lays it out */
  /* Not in 1.0. Input 0 as F16 where it is stored in blocks, else as it is: so that its last axis can be moved */
  NACELLE_EXPR_DECODE = 12,
  NACELLE_EXPR_EXP = 13 /* not in 1.0. e to the input 0; plain float types only */
};

typedef struct nacelle_weight_expr {
  NACELLE_STRUCT_HEADER;
  uint32_t kind; /* NACELLE_EXPR_* */
  uint32_t input_count;
  const struct nacelle_weight_expr* const* inputs;
  nacelle_string name;
  uint32_t axis;
  uint32_t rank; /* of shape */
  int64_t begin, end, count;
  int64_t shape[NACELLE_MAX_RANK];
  double constant;
} nacelle_weight_expr;
NACELLE_LAST_FIELD(nacelle_weight_expr, constant, 112);

enum {
  NACELLE_COMPANION_SCALES = 1, /* f16 or f32 [N, K / group] */
  NACELLE_COMPANION_ZEROS = 2,  /* packed as the values are */
  NACELLE_COMPANION_GROUPS = 3  /* i32 [K]: the group of each input (GPTQ's g_idx) */
};

typedef struct nacelle_weight_companion {
  NACELLE_STRUCT_HEADER;
  uint32_t role; /* NACELLE_COMPANION_* */
  uint32_t padding;
  const nacelle_weight_expr* source;
} nacelle_weight_companion;
NACELLE_LAST_FIELD(nacelle_weight_companion, source, 24);

/* ---- Operations ---------------------------------------------------------------------------------------------- */

/* Inputs in order; [x] is optional (NACELLE_NO_VALUE where absent). Attribute structs follow. */
enum {
  NACELLE_OP_EMBEDDING = 1,   /* tokens u32[rows], table[V, W]          -> [rows, W] */
  NACELLE_OP_MATMUL = 2,      /* x[rows, K], w[N, K], [bias[N]]         -> [rows, N] = x w^T + bias */
  NACELLE_OP_RMS_NORM = 3,    /* x, [weight]                            -> like x */
  NACELLE_OP_LAYER_NORM = 4,  /* x, [weight], [bias]                    -> like x */
  NACELLE_OP_ROPE = 5,        /* x[rows, H*D], positions, [short factors], [long factors] -> like x */
  NACELLE_OP_ATTENTION = 6,   /* q[rows, H*D], k[rows, G*D], [v[rows, G*E]], [sinks f32[H]], [bias table f32[H, 2R+1]]
                                 -> [rows, H*E]. v is absent where the cache aliases it to k; entry r of the table is
                                 added to a score whose key lies r-R positions after the query, cut to +-R */
  NACELLE_OP_UNARY = 7,       /* x                                      -> like x */
  NACELLE_OP_GATED = 8,       /* gate, up                               -> like gate = act(gate) * up */
  NACELLE_OP_SOFTMAX = 9,     /* x                                      -> like x, along columns */
  NACELLE_OP_ADD = 10,        /* a, b (like a, or [W] for every row)    -> like a */
  NACELLE_OP_MUL = 11,        /* a, b (like a, or [W] for every row)    -> like a */
  NACELLE_OP_SCALE = 12,      /* x                         -> like x = x * scale + shift, soft-capped */
  NACELLE_OP_SPLIT = 13,      /* x[rows, W]                             -> columns cut into the output widths */
  NACELLE_OP_CONCAT = 14,     /* a, b, ...                              -> columns side by side */
  NACELLE_OP_GATHER = 15,     /* x[rows, W], indices u32[M]             -> [M, W] */
  NACELLE_OP_POOL = 16,       /* x[rows, W]                             -> [sequences, W] */
  NACELLE_OP_NORMALISE = 17,  /* x                                      -> like x, each row of Euclidean length 1 */
  NACELLE_OP_MOE_ROUTE = 18,  /* scores[rows, E], [selection bias[E]]   -> experts u32[rows, k], weights f32[rows, k] */
  NACELLE_OP_MOE_MATMUL = 19, /* x[rows, K or k*K], w[E, N, K], experts u32[rows, k], [bias[E, N]] -> [rows, k*N] */
  NACELLE_OP_MOE_COMBINE = 20, /* y[rows, k*N], weights f32[rows, k]     -> [rows, N] */
  /* y[rows, N], x[rows, K], slots u32[rows] -> y + scale[slot] * x A[slot]^T B[slot]^T */
  NACELLE_OP_ADAPTER_MATMUL = 21,
  NACELLE_OP_LOGITS_SELECT = 22, /* logits[output_rows, V]             -> the step's output block; see backend.h */
  /* Not in 1.0. y[rows, k*N], x[rows, K or k*K], slots u32[rows], experts u32[rows, k] -> like y: slice i of a row's k
   * + scale[slot] * x A[slot][e]^T B[slot][e]^T, e = experts[i], x the row or its own slice. The target is [E, N, K] */
  NACELLE_OP_MOE_ADAPTER_MATMUL = 23,
  /* Not in 1.0. As ATTENTION, causal and with a cache, within chunks of `window` positions (not 0): a row at p sees
   * p - p % window .. p */
  NACELLE_OP_CHUNKED_ATTENTION = 24,
  /* Not in 1.0. x[rows, W], positions                  -> like x, a row by a factor that grows with its position; see
   * nacelle_position_scale_attributes */
  NACELLE_OP_POSITION_SCALE = 25,
  /* Not in 1.0. x, parameters f32[4] = (p, n, b, e)    -> like x, element by element:
   *   x > 0: softplus(p) x^2 + b x;   else: (b + softplus(n)) (e^min(x, e) - 1 - x) + b x
   * Source: xIELU, arXiv 2411.13010; b is 0.5 and e, which is below 0, -1e-6 in the models that have it. */
  NACELLE_OP_XIELU = 26,
  /* Not in 1.0. A linear recurrence along each sequence, whose state is a matrix a head:
   * q[rows, G*D], k[rows, G*D], v[rows, H*E], step[rows, H or H*D], rate f32[H or H*D], [step bias f32[H or H*D]],
   * [strength[rows, H]], [skip f32[H]] -> [rows, H*E]; see nacelle_scan_attributes */
  NACELLE_OP_STATE_SCAN = 64,
  /* Not in 1.0. A causal convolution along each sequence, each column by itself: x[rows, C], w[C, L], [bias[C]] -> like
   * x: y_t = act(bias + sum_i w[i] x_{t-L+1+i}); see nacelle_convolution_attributes */
  NACELLE_OP_CONVOLUTION = 65,
  /* Reserved: not yet defined, never reused for anything else. */
  NACELLE_OP_ALL_REDUCE = 66,
  NACELLE_OP_ALL_GATHER = 67
};

typedef struct nacelle_embedding_attributes {
  NACELLE_STRUCT_HEADER;
  float scale; /* every element is multiplied by it; 1 for most models */
  float padding;
} nacelle_embedding_attributes;
NACELLE_LAST_FIELD(nacelle_embedding_attributes, padding, 20);

typedef struct nacelle_norm_attributes { /* RMS_NORM, LAYER_NORM */
  NACELLE_STRUCT_HEADER;
  float epsilon;
  float weight_offset; /* added to the weight before use: 1 for Gemma */
  uint32_t group;      /* columns normalised together; 0: the whole row. A head's width for q/k norm */
  uint32_t padding;
} nacelle_norm_attributes;
NACELLE_LAST_FIELD(nacelle_norm_attributes, padding, 28);

enum { NACELLE_ROPE_HALF = 1, NACELLE_ROPE_INTERLEAVED = 2 }; /* pairs (i, i+d/2), or (2i, 2i+1) */
enum {
  NACELLE_ROPE_SCALE_NONE = 0,
  NACELLE_ROPE_SCALE_LINEAR = 1,
  NACELLE_ROPE_SCALE_LLAMA3 = 2,
  NACELLE_ROPE_SCALE_YARN = 3,
  NACELLE_ROPE_SCALE_LONGROPE = 4
};

typedef struct nacelle_rope_attributes {
  NACELLE_STRUCT_HEADER;
  uint32_t style;        /* NACELLE_ROPE_HALF or _INTERLEAVED */
  uint32_t head_width;   /* D */
  uint32_t rotary_width; /* columns of each head that turn, from its first; even, at most D */
  uint32_t scaling;      /* NACELLE_ROPE_SCALE_* */
  float base;            /* theta */
  float factor;          /* position (or frequency) divisor of the scaling; 1 for none */
  float low_frequency_factor, high_frequency_factor; /* llama3 */
  float beta_fast, beta_slow;                        /* yarn */
  float attention_factor;    /* multiplies cos and sin; 0: as the scaling's paper says, else 1 for most; see rope.hpp */
  uint32_t original_context; /* llama3, yarn, longrope: the length the model was first trained for */
} nacelle_rope_attributes;
NACELLE_LAST_FIELD(nacelle_rope_attributes, original_context, 60);

typedef struct nacelle_attention_attributes {
  NACELLE_STRUCT_HEADER;
  uint32_t head_count;    /* H */
  uint32_t kv_head_count; /* G; H is a multiple of it */
  uint32_t key_width;     /* D, of one head */
  uint32_t value_width;   /* E, of one head */
  uint32_t cache_group;   /* index of a cache group, or NACELLE_NO_CACHE: attend to this step's own rows */
  uint32_t cache_layer;   /* the layer's place inside the group */
  uint32_t causal;        /* 0 or 1 */
  uint32_t window;        /* a row at p sees p-window+1 .. p, and p+1 .. p+window-1 too where not causal; 0: all */
  float scale;            /* of q.k, before soft-cap and softmax */
  float soft_cap;         /* s -> cap * tanh(s / cap); 0: none */
  float alibi_bias;       /* largest ALiBi bias (8 for MPT); 0: none */
  uint32_t padding;
} nacelle_attention_attributes;
NACELLE_LAST_FIELD(nacelle_attention_attributes, padding, 60);

enum {
  NACELLE_ACT_SILU = 1,
  NACELLE_ACT_GELU_ERF = 2,
  NACELLE_ACT_GELU_TANH = 3,
  NACELLE_ACT_GELU_QUICK = 4,
  NACELLE_ACT_RELU = 5,
  NACELLE_ACT_TANH = 6,
  NACELLE_ACT_SIGMOID = 7
};

typedef struct nacelle_activation_attributes { /* UNARY, GATED */
  NACELLE_STRUCT_HEADER;
  uint32_t activation; /* NACELLE_ACT_* */
  float clamp;         /* GATED: gate is cut to at most, up to within +-clamp; 0: none (gpt-oss uses 7) */
  float alpha;         /* GATED with SILU: gate * sigmoid(alpha * gate); 1 for most */
  float up_offset;     /* GATED: added to up after the clamp; 0 for most */
} nacelle_activation_attributes;
NACELLE_LAST_FIELD(nacelle_activation_attributes, up_offset, 28);

typedef struct nacelle_scale_attributes {
  NACELLE_STRUCT_HEADER;
  float scale, shift;
  float soft_cap; /* after scale and shift; 0: none */
  float padding;
} nacelle_scale_attributes;
NACELLE_LAST_FIELD(nacelle_scale_attributes, padding, 28);

/* POSITION_SCALE: y = x (1 + strength ln(1 + floor((position + offset) / length))). Sources: Llama 4's attention
 * temperature (offset 1; cf. arXiv 2501.19399), Ministral 3 (offset 0). */
typedef struct nacelle_position_scale_attributes {
  NACELLE_STRUCT_HEADER;
  float strength;
  uint32_t length; /* positions that share a factor; above 0 */
  uint32_t offset; /* 0 or 1 */
  uint32_t padding;
} nacelle_position_scale_attributes;
NACELLE_LAST_FIELD(nacelle_position_scale_attributes, padding, 28);

enum { NACELLE_POOL_MEAN = 1, NACELLE_POOL_FIRST = 2, NACELLE_POOL_LAST = 3 };

typedef struct nacelle_pool_attributes {
  NACELLE_STRUCT_HEADER;
  uint32_t pooling; /* NACELLE_POOL_* */
  uint32_t padding;
} nacelle_pool_attributes;
NACELLE_LAST_FIELD(nacelle_pool_attributes, padding, 20);

enum { NACELLE_ROUTE_SOFTMAX_THEN_TOP = 1, NACELLE_ROUTE_TOP_THEN_SOFTMAX = 2, NACELLE_ROUTE_SIGMOID = 3 };

typedef struct nacelle_moe_attributes { /* MOE_ROUTE, MOE_MATMUL, MOE_COMBINE */
  NACELLE_STRUCT_HEADER;
  uint32_t expert_count; /* E */
  uint32_t used_count;   /* k */
  uint32_t routing;      /* MOE_ROUTE: NACELLE_ROUTE_* */
  uint32_t renormalise;  /* MOE_ROUTE: the k weights are divided by their sum */
  float scale;           /* MOE_ROUTE: of the weights, last */
  uint32_t group_count;  /* MOE_ROUTE: experts are cut into groups, the best `group_used` are kept; 0: no groups */
  uint32_t group_used;
  uint32_t x_per_expert; /* MOE_MATMUL: x has a slice of K columns for each of the k experts */
} nacelle_moe_attributes;
NACELLE_LAST_FIELD(nacelle_moe_attributes, x_per_expert, 44);

typedef struct nacelle_adapter_attributes { /* ADAPTER_MATMUL, MOE_ADAPTER_MATMUL */
  NACELLE_STRUCT_HEADER;
  uint32_t target; /* value id of the weight that the adapter changes */
  uint32_t padding;
} nacelle_adapter_attributes;
NACELLE_LAST_FIELD(nacelle_adapter_attributes, padding, 20);

enum {
  NACELLE_SCAN_ADD = 1,  /* Mamba-2: S += b k v^T */
  NACELLE_SCAN_DELTA = 2 /* gated delta rule: S += b k (v - S^T k)^T, S decayed already */
};

/* STATE_SCAN. For each head h with its state S[D, E], f32, row by row of a sequence:
 *   d = softplus(step + step bias); S *= exp(rate[h] d), each of S's D rows by its own d where step is [rows, H*D];
 *   S += b k (v - [DELTA] S^T k)^T, where b is the row's strength, or d where there is none (and a step a head);
 *   y = scale S^T q + skip[h] v.
 * Where rate is f32[H*D], each of S's D rows decays by its own: with ADD, E = 1, a step a head and no strength (Mamba).
 * q and k are those of head h / (H / G). Sources: Mamba, arXiv 2312.00752; Mamba-2, arXiv 2405.21060; Gated DeltaNet,
 * arXiv 2412.06464. */
typedef struct nacelle_scan_attributes {
  NACELLE_STRUCT_HEADER;
  uint32_t cache_group; /* a STATE group of H*D*E values: S of each head, row by row of D */
  uint32_t cache_layer;
  uint32_t rule;        /* NACELLE_SCAN_* */
  uint32_t head_count;  /* H */
  uint32_t group_count; /* G; H is a multiple of it */
  uint32_t key_width;   /* D, of one head */
  uint32_t value_width; /* E, of one head */
  float scale;
} nacelle_scan_attributes;
NACELLE_LAST_FIELD(nacelle_scan_attributes, scale, 44);

/* CONVOLUTION. What comes before a sequence's first row of the step is in its state. */
typedef struct nacelle_convolution_attributes {
  NACELLE_STRUCT_HEADER;
  uint32_t cache_group; /* a STATE group of (L-1)*C values: the last L-1 rows of x, the latest last */
  uint32_t cache_layer;
  uint32_t length;     /* L, at least 2 */
  uint32_t activation; /* NACELLE_ACT_*; 0: none */
} nacelle_convolution_attributes;
NACELLE_LAST_FIELD(nacelle_convolution_attributes, activation, 28);

typedef struct nacelle_op {
  NACELLE_STRUCT_HEADER;
  uint32_t kind; /* NACELLE_OP_* */
  int32_t layer; /* -1 before the first layer; the layer count after the last */
  uint32_t input_count;
  uint32_t output_count;
  const uint32_t* inputs;  /* value ids, NACELLE_NO_VALUE where an optional input is absent */
  const uint32_t* outputs; /* value ids */
  const void* attributes;  /* the kind's struct, or NULL where it has none */
} nacelle_op;
NACELLE_LAST_FIELD(nacelle_op, attributes, 48);

/* ---- Cache groups -------------------------------------------------------------------------------------------- */

enum {
  NACELLE_CACHE_PAGED = 1, /* keys and values in blocks of tokens */
  /* One state of fixed size a sequence, f32; a block is a state, all layers. Not read, but taken for zeros, in a step
   * in which the sequence's first row is at position 0. */
  NACELLE_CACHE_STATE = 2,
  NACELLE_CACHE_CROSS = 3 /* written once a sequence, then read */
};

typedef struct nacelle_cache_group {
  NACELLE_STRUCT_HEADER;
  uint32_t kind;        /* NACELLE_CACHE_* */
  uint32_t layer_count; /* layers that keep their rows here */
  uint32_t key_width;   /* columns a token: kv_head_count * D. STATE: f32 values of a state */
  uint32_t value_width; /* columns a token: kv_head_count * E; 0 where V aliases K. STATE: 0 */
  uint32_t window;      /* tokens that any row can see; 0: all. Older blocks may be freed. STATE: 0 */
  uint32_t padding;
} nacelle_cache_group;
NACELLE_LAST_FIELD(nacelle_cache_group, padding, 36);

/* ---- The graph ----------------------------------------------------------------------------------------------- */

typedef struct nacelle_weight {
  NACELLE_STRUCT_HEADER;
  nacelle_string name; /* unique in the graph: "blk.3.attn_q.weight" */
  uint32_t value;      /* its value id */
  int32_t layer;
} nacelle_weight;
NACELLE_LAST_FIELD(nacelle_weight, layer, 36);

#define NACELLE_GRAPH_WHOLE_SEQUENCE 1u /* encoders: a sequence is never cut into chunks and keeps no cache */

/* Immutable once built. Operations are in an order in which every input is made before it is used. */
typedef struct nacelle_graph {
  NACELLE_STRUCT_HEADER;
  uint32_t flags; /* NACELLE_GRAPH_* */
  uint32_t layer_count;
  uint32_t vocabulary; /* columns of the logits; 0 for encoders */
  uint32_t value_count;
  uint32_t op_count;
  uint32_t weight_count;
  uint32_t cache_group_count;
  uint32_t padding;
  const nacelle_value* const* values;
  const nacelle_op* const* ops;
  const nacelle_weight* const* weights;
  const nacelle_cache_group* const* cache_groups;
} nacelle_graph;
NACELLE_LAST_FIELD(nacelle_graph, cache_groups, 72);

/* ---- The builder, given to architectures --------------------------------------------------------------------- */

typedef struct nacelle_weight_description {
  NACELLE_STRUCT_HEADER;
  nacelle_string name;
  const nacelle_weight_expr* source; /* for the format of the file at hand */
  uint32_t rank;
  uint32_t optional; /* nonzero: a missing tensor gives NACELLE_NO_VALUE instead of an error */
  int64_t shape[NACELLE_MAX_RANK];
  uint32_t companion_count;
  uint32_t padding;
  const nacelle_weight_companion* const* companions;
  /* Not in 1.0. The same weight, its rows in the same order, from tensors of the other file format; NULL: not known.
   * Adapters in that format are fitted by it; its tensors are never looked for in the model. */
  const nacelle_weight_expr* other_source;
} nacelle_weight_description;
NACELLE_LAST_FIELD(nacelle_weight_description, other_source, 96);

/* [init] Every function records and checks; the first failure sticks, and build() reports it. What is passed in is
 * copied. */
typedef struct nacelle_graph_builder {
  NACELLE_STRUCT_HEADER;
  void* context;
  /* The step input of a role; the same value each time. */
  nacelle_status (*input)(void* context, uint32_t role, uint32_t* value);
  nacelle_status (*weight)(void* context, const nacelle_weight_description* description, uint32_t* value);
  nacelle_status (*cache_group)(void* context, const nacelle_cache_group* group, uint32_t* index);
  /* All until layer_end belongs to layer `layer`; only `carried` values may be used on both sides of the border. */
  nacelle_status (*layer_begin)(void* context, uint32_t layer, const uint32_t* carried, uint32_t count);
  nacelle_status (*layer_end)(void* context);
  /* Adds an operation; output shapes follow from its inputs, except SPLIT's, whose widths are given. `outputs` receives
   * op->output_count ids; op->outputs and op->layer are not read. */
  nacelle_status (*op)(void* context, const nacelle_op* op, const int64_t* split_widths, uint32_t* outputs);
  nacelle_status (*mark_output)(void* context, uint32_t value, uint32_t output);
  nacelle_status (*set_flags)(void* context, uint32_t flags);
} nacelle_graph_builder;
NACELLE_LAST_FIELD(nacelle_graph_builder, set_flags, 80);

#ifdef __cplusplus
}
#endif
#endif
