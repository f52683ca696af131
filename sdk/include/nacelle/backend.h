/* Nacelle backend ABI: devices, weights, caches, plans and streams. Pure C11; also valid C++20.
 *
 * The life of a model on a device:
 *   device_open -> supports (each operation) -> prepare (weights, packed once) -> cache_create
 *   -> compile (one plan a bucket) -> bind
 *   -> [ write the step block of a slot -> run -> wait -> read the output block of the slot ]* -> destroy in reverse.
 *
 * A plan may be captured (a CUDA graph, a Vulkan command buffer): between bind and destroy no address it uses changes.
 * All that varies from step to step lies in the step block, whose layout compile returns; it is written by the host in
 * place and carried to the device by run itself. There are at least two slots, so that the host writes one while the
 * device reads the other. A steady step submits once and allocates nothing.
 */
#ifndef NACELLE_BACKEND_H
#define NACELLE_BACKEND_H

#include <nacelle/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nacelle_device nacelle_device;
typedef struct nacelle_weights nacelle_weights;
typedef struct nacelle_cache nacelle_cache;
typedef struct nacelle_plan nacelle_plan;
typedef struct nacelle_stream nacelle_stream;
typedef struct nacelle_event nacelle_event;

/* ---- Devices ------------------------------------------------------------------------------------------------- */

enum {
  NACELLE_DEVICE_CPU = 1,
  NACELLE_DEVICE_GPU = 2,            /* memory of its own */
  NACELLE_DEVICE_INTEGRATED_GPU = 3, /* shares the host's memory */
  NACELLE_DEVICE_EMULATED = 4,       /* a GPU interface run by the CPU: listed, never chosen unless named */
  NACELLE_DEVICE_REFERENCE = 5       /* the slow definition of every operation: never chosen unless named */
};

typedef struct nacelle_device_info {
  NACELLE_STRUCT_HEADER;
  uint32_t kind;         /* NACELLE_DEVICE_* */
  uint32_t usable;       /* 0: `reason` says why (no driver, too old, lost) */
  nacelle_string name;   /* "AMD EPYC 9B45" [kept: while the plugin is loaded] */
  nacelle_string detail; /* usable ISA, compute capability, driver version [kept: while the plugin is loaded] */
  nacelle_string reason; /* [kept: while the plugin is loaded] */
  uint64_t memory_total; /* bytes */
  uint64_t memory_free;  /* bytes, now */
  uint32_t block_tokens; /* tokens in a KV block that suit the device best; a power of two */
  uint32_t max_rows;     /* most rows of a bucket; 0: no limit of its own */
} nacelle_device_info;
NACELLE_LAST_FIELD(nacelle_device_info, max_rows, 92);

/* ---- Weights ------------------------------------------------------------------------------------------------- */

/* Hot. `row_count` rows of a weight seen as a matrix [product of all extents but the last, last extent], rows stored
 * whole and one after the other in `type`, `row_bytes` apart. */
typedef struct nacelle_weight_rows {
  const void* data;
  uint64_t row_bytes;
  nacelle_type type;
  uint32_t padding;
} nacelle_weight_rows;

/* A block of packed weights. */
typedef struct nacelle_packed_block {
  const void* data;
  uint64_t size;
} nacelle_packed_block;

/* What names a model's packed form in the packed cache, beside the model itself, which the host knows. */
typedef struct nacelle_packed_form {
  NACELLE_STRUCT_HEADER;
  nacelle_string layout; /* one file each: the device and what of it decides the layout, e.g. the usable ISA */
  nacelle_string build;  /* content hash of the plugin: what another build made is replaced */
} nacelle_packed_form;
NACELLE_LAST_FIELD(nacelle_packed_form, build, 32);

/* Given to prepare. [any] for different weights; one reader a weight at a time. */
typedef struct nacelle_weight_source {
  NACELLE_STRUCT_HEADER;
  void* context;
  /* Rows [begin, begin + count) of a weight. `rows->data` is [kept: until release of that range]. */
  nacelle_status (*read)(void* context, uint32_t weight, uint64_t begin, uint64_t count, nacelle_weight_rows* rows,
                         nacelle_error** error);
  /* These rows are not read again: the host may drop the pages behind them. */
  void (*release)(void* context, uint32_t weight, uint64_t begin, uint64_t count);
  /* Rows of a companion (AWQ, GPTQ scales); NACELLE_NOT_FOUND where the weight has none of that role. */
  nacelle_status (*read_companion)(void* context, uint32_t weight, uint32_t role, uint64_t begin, uint64_t count,
                                   nacelle_weight_rows* rows, nacelle_error** error);
  /* Progress for people: bytes packed so far of bytes in all. NACELLE_CANCELLED asks prepare to stop. */
  nacelle_status (*progress)(void* context, uint64_t done, uint64_t total);
  /* The packed cache; both are NULL where the user wants none. What keep was given in an earlier process, for the same
   * files, graph and form: `size` of each block is what the caller expects, `data` is filled: 64-byte aligned, never to
   * be written to [kept: until weights_destroy]. The bytes are those that were kept: their checksums were compared.
   * NACELLE_NOT_FOUND: the caller packs; where there was something of no use the host has logged why. */
  nacelle_status (*packed_find)(void* context, const nacelle_packed_form* form, nacelle_packed_block* blocks,
                                uint64_t count);
  /* Blocks for later starts. NACELLE_UNAVAILABLE: they could not be kept; the host has logged why. */
  nacelle_status (*packed_keep)(void* context, const nacelle_packed_form* form, const nacelle_packed_block* blocks,
                                uint64_t count);
} nacelle_weight_source;
NACELLE_LAST_FIELD(nacelle_weight_source, packed_keep, 64);

/* ---- Buckets and plans --------------------------------------------------------------------------------------- */

#define NACELLE_BUCKET_MASKS 1u /* the step block has room for a vocabulary mask a row */

/* The most that one step of a plan may hold. Steps with less are padded by the backend, guided by the step header. */
typedef struct nacelle_bucket {
  NACELLE_STRUCT_HEADER;
  uint32_t rows;
  uint32_t sequences;
  uint32_t output_rows;
  uint32_t context;     /* KV tokens of the longest sequence, this step's included */
  uint32_t candidates;  /* k of LOGITS_SELECT, at least 1 */
  uint32_t adjustments; /* sparse logit adjustments, all rows together */
  uint32_t flags;       /* NACELLE_BUCKET_* */
  uint32_t padding;
} nacelle_bucket;
NACELLE_LAST_FIELD(nacelle_bucket, padding, 44);

/* STABLE: a row's result does not depend on what else is in the step, its chunk or the thread count. */
enum {
  NACELLE_NUMERICS_STABLE = 0,
  NACELLE_NUMERICS_FASTEST = 1 /* the device's best libraries, whatever they promise */
};

typedef struct nacelle_prepare_options {
  NACELLE_STRUCT_HEADER;
  uint32_t numerics;     /* NACELLE_NUMERICS_* */
  uint32_t max_adapters; /* slots of low-rank adapters; 0: none, no ADAPTER_MATMUL occurs, nor that of experts */
  uint32_t max_rank;
  uint32_t padding;
  nacelle_string pins; /* "matmul.q8_0=variant;..." from `nacelle serve --kernel`; usually empty */
} nacelle_prepare_options;
NACELLE_LAST_FIELD(nacelle_prepare_options, pins, 32);

typedef struct nacelle_cache_options {
  NACELLE_STRUCT_HEADER;
  uint32_t block_tokens; /* a power of two */
  nacelle_type key_type; /* F32, F16, BF16, Q8_0 or Q4_0 */
  nacelle_type value_type;
  uint32_t group_count;
  const uint32_t* block_counts; /* blocks of each group */
} nacelle_cache_options;
NACELLE_LAST_FIELD(nacelle_cache_options, block_counts, 32);

/* Hot. First thing in a step block. */
typedef struct nacelle_step_header {
  uint32_t version; /* 1 */
  uint32_t rows;    /* true counts; everything past them in the arrays is ignored */
  uint32_t sequences;
  uint32_t output_rows;
  uint32_t context; /* longest sequence_lengths entry */
  uint32_t flags;   /* NACELLE_STEP_* */
} nacelle_step_header;

#define NACELLE_STEP_MASKS 1u /* the masks are filled; else no row is masked */

/* A token id with this bit set means: the best candidate of output row (id & 0x7fffffff) of the previous run on this
 * cache, so that the device need not wait for the host. */
#define NACELLE_TOKEN_FROM_PREVIOUS 0x80000000u

/* Hot. One sparse change of a row's logit: l = l > 0 ? l / repetition : l * repetition; then l += bias. */
typedef struct nacelle_adjustment {
  uint32_t token;
  float repetition; /* 1: none */
  float bias;       /* logit_bias - presence and frequency penalties */
} nacelle_adjustment;

/* Byte offsets of the arrays in the step block; filled by compile. Rows of a sequence are consecutive, sequences in
 * order. */
typedef struct nacelle_step_layout {
  NACELLE_STRUCT_HEADER;
  uint64_t size;             /* bytes of a step block */
  uint64_t header;           /* nacelle_step_header */
  uint64_t tokens;           /* u32 [rows] */
  uint64_t positions;        /* u32 [rows]: place in the sequence, from 0 */
  uint64_t row_sequences;    /* u32 [rows] */
  uint64_t sequence_starts;  /* u32 [sequences + 1]: first row of each; the last entry is the row count */
  uint64_t sequence_lengths; /* u32 [sequences]: KV tokens, this step's rows included */
  uint64_t block_tables;  /* u32 [groups][sequences][table_width]; block ids. STATE groups: the first is the state's */
  uint64_t output_rows;   /* u32 [output_rows] */
  uint64_t adapter_slots; /* u32 [rows]; NACELLE_NO_VALUE: no adapter */
  uint64_t masks; /* u32 [output_rows][(vocabulary + 31) / 32], bit set: allowed; only with NACELLE_BUCKET_MASKS */
  uint64_t temperatures;      /* f32 [output_rows]; 0 or 1: unchanged */
  uint64_t adjustment_starts; /* u32 [output_rows + 1] into adjustments */
  uint64_t adjustments;       /* nacelle_adjustment [adjustments] */
  uint32_t table_width;       /* block-table entries of a sequence: bucket.context / block_tokens, rounded up */
  uint32_t slot_count;        /* step blocks of the plan, at least 2 */
  uint64_t token_types;       /* u32 [rows]; 0: the graph does not read them */
} nacelle_step_layout;
NACELLE_LAST_FIELD(nacelle_step_layout, token_types, 136);

/* Byte offsets in the output block of a slot. LOGITS_SELECT works on a row in this order: mask, adjustments, division
 * by the temperature; then the k largest, largest first, equal ones by smaller id. */
typedef struct nacelle_output_layout {
  NACELLE_STRUCT_HEADER;
  uint64_t size;
  uint64_t ids;       /* u32 [output_rows][candidates] */
  uint64_t adjusted;  /* f32 [output_rows][candidates]: after mask, adjustments and temperature */
  uint64_t raw;       /* f32 [output_rows][candidates]: as the model gave them */
  uint64_t logsumexp; /* f32 [output_rows][2]: of the raw row, of the adjusted row */
  uint64_t embedding; /* f32 [output_rows or sequences][width], for NACELLE_OUTPUT_EMBEDDING */
} nacelle_output_layout;
NACELLE_LAST_FIELD(nacelle_output_layout, embedding, 56);

typedef struct nacelle_plan_statistics {
  NACELLE_STRUCT_HEADER;
  uint32_t submits_per_step; /* of the latest run */
  uint32_t allocs_per_step;
  uint64_t workspace_bytes;
} nacelle_plan_statistics;
NACELLE_LAST_FIELD(nacelle_plan_statistics, workspace_bytes, 24);

/* Hot. */
typedef struct nacelle_block_copy {
  uint32_t from, to;
} nacelle_block_copy;

/* ---- Kernels, for `nacelle kernels` -------------------------------------------------------------------------- */

enum { NACELLE_KERNEL_SELECTED = 1, NACELLE_KERNEL_CANDIDATE = 2, NACELLE_KERNEL_UNUSABLE = 3 };

/* How the selected one came to it. */
enum { NACELLE_CHOSEN_BY_COST = 0, NACELLE_CHOSEN_BY_MEASUREMENT = 1, NACELLE_CHOSEN_BY_PIN = 2 };
/* Which of the device's ceilings a measured case runs into first. */
enum { NACELLE_BOUND_UNKNOWN = 0, NACELLE_BOUND_MEMORY = 1, NACELLE_BOUND_COMPUTE = 2 };

typedef struct nacelle_kernel_info {
  NACELLE_STRUCT_HEADER;
  nacelle_string op;      /* "matmul" */
  nacelle_string pattern; /* the case: "q8_0 N=2048 K=256" */
  nacelle_string variant; /* "q8_0_gemv_16x4_avx512vnni" */
  nacelle_string reason;  /* why it was chosen, lost, or cannot run here */
  uint32_t revision;
  uint32_t state;          /* NACELLE_KERNEL_* */
  double static_cost;      /* arbitrary units, smaller is better */
  double measured_seconds; /* median; 0: not measured */
  double spread_seconds;   /* between the quartiles */
  double floor_seconds;    /* the least that the ceilings measured beside it allow; 0: not measured */
  double bytes;            /* weights read by one measured run */
  double operations;       /* of it; a multiply-add counts as two */
  uint32_t bound;          /* NACELLE_BOUND_* */
  uint32_t chosen_by;      /* NACELLE_CHOSEN_BY_*, where selected */
  nacelle_string rows;     /* the case's rows of activations: "1", "2-16", "17+"; empty: any */
} nacelle_kernel_info;
NACELLE_LAST_FIELD(nacelle_kernel_info, rows, 144);

typedef void (*nacelle_kernel_visitor)(void* context, const nacelle_kernel_info* info);

/* ---- Measuring ----------------------------------------------------------------------------------------------- */

/* What the device reaches at best, all its threads or units together, measured by the call. 0: it has no such thing. */
typedef struct nacelle_ceilings {
  NACELLE_STRUCT_HEADER;
  double read_bytes; /* a second, from memory that no cache holds */
  double int8_ops;   /* a second, of the best dot-product instruction; a multiply-add counts as two */
  double bf16_ops;
  double f32_ops;
} nacelle_ceilings;
NACELLE_LAST_FIELD(nacelle_ceilings, f32_ops, 40);

#define NACELLE_TUNE_AGAIN 1u /* cases that have a verdict are measured too */

typedef struct nacelle_tune_options {
  NACELLE_STRUCT_HEADER;
  uint64_t budget_ns; /* measuring takes about as long; cases that it does not reach keep what they had */
  uint32_t flags;     /* NACELLE_TUNE_* */
  uint32_t padding;
  void* context;
  /* Cases done of cases in all. NACELLE_CANCELLED asks to stop: what was measured is kept. May be NULL. */
  nacelle_status (*progress)(void* context, uint64_t done, uint64_t total);
} nacelle_tune_options;
NACELLE_LAST_FIELD(nacelle_tune_options, progress, 40);

typedef struct nacelle_tune_report {
  NACELLE_STRUCT_HEADER;
  uint32_t cases;    /* of the model */
  uint32_t measured; /* by this call */
  uint32_t kept;     /* of those, written to the tuning cache */
  uint32_t padding;
} nacelle_tune_report;
NACELLE_LAST_FIELD(nacelle_tune_report, padding, 28);

/* ---- Adapters ------------------------------------------------------------------------------------------------ */

/* One low-rank pair for one weight: y += scale * (x A^T) B^T. A weight [E, N, K] has a pair for each expert (not
 * in 1.0; only where MOE_ADAPTER_MATMUL has it for a target). */
typedef struct nacelle_adapter_update {
  NACELLE_STRUCT_HEADER;
  uint32_t slot;
  uint32_t target; /* value id of the weight */
  uint32_t rank;   /* 0 clears */
  float scale;
  const float* a; /* [rank, K]; of experts [E, rank, K] */
  const float* b; /* [N, rank]; of experts [E, N, rank] */
} nacelle_adapter_update;
NACELLE_LAST_FIELD(nacelle_adapter_update, b, 40);

/* ---- The table ----------------------------------------------------------------------------------------------- */

typedef struct nacelle_backend_api {
  NACELLE_STRUCT_HEADER;

  /* [any] 0: a glance at the machine shows no hardware of this backend's. Opens no driver and takes microseconds. Where
   * no user names a device, the host asks for devices only if this is 1. */
  uint32_t (*hardware_present)(void);
  /* [init] Devices of this plugin. 0 is an answer, not an error; `reason` says why there are none. Drivers are opened
   * here or in device_open, never when the library is loaded. */
  nacelle_status (*device_count)(uint32_t* count, nacelle_string* reason, nacelle_error** error);
  nacelle_status (*device_info)(uint32_t index, nacelle_device_info* info, nacelle_error** error);
  nacelle_status (*device_open)(uint32_t index, nacelle_device** device, nacelle_error** error);
  /* [init per device] After all that was made on it. */
  void (*device_close)(nacelle_device* device);

  /* [any] NACELLE_OK, or NACELLE_UNIMPLEMENTED: the host then tries the operation's decomposition. */
  nacelle_status (*supports)(nacelle_device* device, const nacelle_graph* graph, uint32_t op);

  /* [init per device] Packs all weights, each once, in one layout that serves every bucket. `graph` is [kept: until
   * weights_destroy]; `source` only during the call. */
  nacelle_status (*prepare)(nacelle_device* device, const nacelle_graph* graph, const nacelle_bucket* const* buckets,
                            uint32_t bucket_count, const nacelle_weight_source* source,
                            const nacelle_prepare_options* options, nacelle_weights** weights, nacelle_error** error);
  void (*weights_destroy)(nacelle_weights* weights); /* [init per device], as are all that destroy */
  /* [any] Bytes that the packed weights hold on the device. */
  uint64_t (*weights_bytes)(const nacelle_weights* weights);

  /* [any] Bytes of one block of a group under these options, for memory planning. */
  nacelle_status (*cache_block_bytes)(const nacelle_weights* weights, const nacelle_cache_options* options,
                                      uint32_t group, uint64_t* bytes, nacelle_error** error);
  /* [init per device] */
  nacelle_status (*cache_create)(nacelle_weights* weights, const nacelle_cache_options* options, nacelle_cache** cache,
                                 nacelle_error** error);
  void (*cache_destroy)(nacelle_cache* cache);
  /* [stream] Copies whole blocks inside a group, all layers. */
  nacelle_status (*copy_blocks)(nacelle_cache* cache, nacelle_stream* stream, uint32_t group,
                                const nacelle_block_copy* pairs, uint32_t count);

  /* [init per device] One plan for a bucket that prepare was given. Fills both layouts. */
  nacelle_status (*compile)(nacelle_weights* weights, const nacelle_cache_options* cache_options,
                            const nacelle_bucket* bucket, nacelle_plan** plan, nacelle_step_layout* step,
                            nacelle_output_layout* output, nacelle_error** error);
  /* [init per device] Once a plan: fixes the cache it works on (NULL for graphs without one). */
  nacelle_status (*bind)(nacelle_plan* plan, nacelle_cache* cache, nacelle_error** error);
  void (*plan_destroy)(nacelle_plan* plan);
  /* [any] Host-visible memory of a slot. [kept: until plan_destroy] */
  nacelle_status (*blocks)(nacelle_plan* plan, uint32_t slot, void** step_block, const void** output_block);
  /* [stream] Uploads the slot's step block, runs, downloads its output block. Returns once queued, or once done on
   * devices without a queue. The step block may be written again when the stream has passed this run. */
  nacelle_status (*run)(nacelle_plan* plan, nacelle_stream* stream, uint32_t slot);
  /* [any, after the run] The whole row of logits of an output row, f32 [vocabulary], before (adjusted = 0) or after
   * mask, adjustments and temperature: for rows whose sampling needs more than the candidates. Valid until the slot
   * runs again. */
  nacelle_status (*read_logits)(nacelle_plan* plan, nacelle_stream* stream, uint32_t slot, uint32_t row,
                                uint32_t adjusted, float* logits);
  /* [stream] A boundary value of a split model, all rows, f32, to and from host memory, whole when the call returns. */
  nacelle_status (*read_value)(nacelle_plan* plan, nacelle_stream* stream, uint32_t slot, uint32_t value, float* data,
                               uint64_t count);
  nacelle_status (*write_value)(nacelle_plan* plan, nacelle_stream* stream, uint32_t slot, uint32_t value,
                                const float* data, uint64_t count);
  /* [any] */
  nacelle_status (*plan_statistics)(nacelle_plan* plan, nacelle_plan_statistics* statistics);

  /* [init per device] Streams are in order. A device without queues may run everything inside the call. */
  nacelle_status (*stream_create)(nacelle_device* device, nacelle_stream** stream, nacelle_error** error);
  void (*stream_destroy)(nacelle_stream* stream);
  nacelle_status (*stream_synchronize)(nacelle_stream* stream); /* [stream] blocks until all that was queued is done */
  nacelle_status (*event_create)(nacelle_device* device, nacelle_event** event, nacelle_error** error);
  void (*event_destroy)(nacelle_event* event);
  nacelle_status (*event_record)(nacelle_event* event, nacelle_stream* stream); /* [stream] */
  nacelle_status (*event_wait)(nacelle_event* event, nacelle_stream* stream);   /* [stream] makes the stream wait */
  nacelle_status (*event_query)(nacelle_event* event, uint32_t* done);          /* [any] */
  nacelle_status (*event_synchronize)(nacelle_event* event);                    /* [any] blocks the caller */

  /* [stream] Writes one slot of the adapter table of a weight, in stream order: no plan is compiled anew. */
  nacelle_status (*adapter_write)(nacelle_weights* weights, nacelle_stream* stream,
                                  const nacelle_adapter_update* update, nacelle_error** error);

  /* [any] Every case of the model's operations and its variants, the selected one first. */
  nacelle_status (*kernels)(const nacelle_weights* weights, nacelle_kernel_visitor visitor, void* context);

  /* [init per device] Before the first compile of these weights: measures the variants of the model's operations on its
   * own weights, keeps the verdicts in the host's tuning cache, and goes by them from now on. Verdicts never change a
   * result's bits. UNIMPLEMENTED: there is nothing to choose from. */
  nacelle_status (*tune)(nacelle_weights* weights, const nacelle_tune_options* options, nacelle_tune_report* report,
                         nacelle_error** error);
  /* [init per device] Measures for about half a second, with nothing else running. UNIMPLEMENTED: cannot say. */
  nacelle_status (*ceilings)(nacelle_device* device, nacelle_ceilings* ceilings, nacelle_error** error);
} nacelle_backend_api;
NACELLE_LAST_FIELD(nacelle_backend_api, ceilings, 288);

#ifdef __cplusplus
}
#endif
#endif
