/* Nacelle architecture ABI: how a plugin says "I know this model" and describes it. Pure C11; also valid C++20.
 *
 * An architecture reads the model's configuration through the host and records a graph with nacelle_graph_builder. It
 * never sees a device, a tensor's bytes, a batch or an adapter.
 */
#ifndef NACELLE_ARCHITECTURE_H
#define NACELLE_ARCHITECTURE_H

#include <nacelle/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The configuration of one model file. Keys are the file's own: GGUF metadata keys ("llama.block_count"), or dotted
 * paths into config.json ("rope_scaling.factor"). A missing key, or JSON null, is NACELLE_NOT_FOUND; a value of another
 * kind is NACELLE_INVALID_ARGUMENT. [any; kept: during the call that was given it] */
typedef struct nacelle_model_config {
  NACELLE_STRUCT_HEADER;
  void* context;
  uint32_t format; /* NACELLE_FORMAT_* */
  uint32_t padding;
  nacelle_string architecture; /* GGUF general.architecture; config.json architectures[0] */
  nacelle_status (*get_integer)(void* context, nacelle_string key, int64_t* value);
  nacelle_status (*get_number)(void* context, nacelle_string key, double* value); /* integers convert */
  nacelle_status (*get_bool)(void* context, nacelle_string key, uint32_t* value);
  nacelle_status (*get_string)(void* context, nacelle_string key,
                               nacelle_string* value); /* [kept: while the model is open] */
  /* Arrays: `count` gets the length; up to `capacity` items are copied. Numbers convert; a scalar is one item. */
  nacelle_status (*get_numbers)(void* context, nacelle_string key, double* values, uint64_t capacity, uint64_t* count);
  nacelle_status (*get_item_string)(void* context, nacelle_string key, uint64_t index, nacelle_string* value);
  /* The stored shape of a tensor, outermost first; `shape` has room for NACELLE_MAX_RANK extents. */
  nacelle_status (*get_tensor)(void* context, nacelle_string name, nacelle_type* type, uint32_t* rank, int64_t* shape);
} nacelle_model_config;
NACELLE_LAST_FIELD(nacelle_model_config, get_tensor, 96);

/* ENCODER: its output is marked NACELLE_OUTPUT_EMBEDDING, a row a sequence. RANKER: the same with one column, the score
 * of the two texts in the sequence before any sigmoid. */
enum { NACELLE_MODEL_DECODER = 1, NACELLE_MODEL_ENCODER = 2, NACELLE_MODEL_RANKER = 3 };

/* What the engine and `nacelle inspect` need to know beside the graph. */
typedef struct nacelle_model_description {
  NACELLE_STRUCT_HEADER;
  uint32_t kind;           /* NACELLE_MODEL_* */
  uint32_t context_length; /* tokens the model was made for */
  uint32_t layer_count;
  uint32_t width;
  uint32_t head_count, kv_head_count, head_width;
  uint32_t feed_forward_width;
  uint32_t vocabulary;
  uint32_t window; /* sliding window of the narrowest group; 0: none */
} nacelle_model_description;
NACELLE_LAST_FIELD(nacelle_model_description, window, 52);

typedef struct nacelle_architecture_api {
  NACELLE_STRUCT_HEADER;
  /* [any] NACELLE_OK when this plugin can describe the model, NACELLE_NOT_FOUND when it is another's. */
  nacelle_status (*match)(const nacelle_model_config* config);
  /* [any] Fails with one line that names the key that is missing or out of range. */
  nacelle_status (*describe)(const nacelle_model_config* config, nacelle_model_description* description,
                             nacelle_error** error);
  /* [any] Records the whole model. Logits are made for NACELLE_INPUT_OUTPUT_ROWS only and marked NACELLE_OUTPUT_LOGITS;
   * the host adds the selection. */
  nacelle_status (*build)(const nacelle_model_config* config, const nacelle_graph_builder* builder,
                          nacelle_error** error);
} nacelle_architecture_api;
NACELLE_LAST_FIELD(nacelle_architecture_api, build, 32);

#ifdef __cplusplus
}
#endif
#endif
