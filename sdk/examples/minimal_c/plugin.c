/* "attn_only": one layer of attention over learned embeddings, the smallest thing that is a language model. Plain C11:
 * what the C++ layer (nacelle/architecture.hpp) does for its users is all here, the ABI without help. GGUF files only.
 */
#include <nacelle/architecture.h>
#include <stdio.h>
#include <string.h>

#define NAME "attn_only"
#define VERSION "1.0.0"

static const nacelle_host* host;

static nacelle_string text(const char* chars) {
  const nacelle_string string = {chars, strlen(chars)};
  return string;
}

static nacelle_status fail(nacelle_error** error, nacelle_status status, const char* message) {
  if (error) *error = host->error_create(host->context, status, text(message));
  return status;
}

/* ---- The configuration ----------------------------------------------------------------------------------------- */

struct sizes {
  int64_t width, heads, vocabulary, context;
};

static nacelle_status read_size(const nacelle_model_config* config, const char* key, int64_t most, int64_t* value,
                                nacelle_error** error) {
  char line[160];
  const nacelle_status status = config->get_integer(config->context, text(key), value);
  if (status != NACELLE_OK)
    snprintf(line, sizeof line, "metadata key '%s' is missing or no whole number", key);
  else if (*value < 1 || *value > most)
    snprintf(line, sizeof line, "metadata key '%s' is %lld, expected 1 to %lld", key, (long long)*value,
             (long long)most);
  else
    return NACELLE_OK;
  return fail(error, NACELLE_INVALID_ARGUMENT, line);
}

static nacelle_status read_sizes(const nacelle_model_config* config, struct sizes* of, nacelle_error** error) {
  nacelle_status status = read_size(config, NAME ".width", 65536, &of->width, error);
  if (!status) status = read_size(config, NAME ".heads", 1024, &of->heads, error);
  if (!status) status = read_size(config, NAME ".vocabulary", 1 << 24, &of->vocabulary, error);
  if (!status) status = read_size(config, NAME ".context", 1 << 24, &of->context, error);
  if (!status && of->width % of->heads)
    status = fail(error, NACELLE_INVALID_ARGUMENT, "metadata key '" NAME ".heads' does not divide the width");
  return status;
}

/* ---- The graph -------------------------------------------------------------------------------------------------- */

/* The first failure sticks, so that the graph below reads as a list. */
struct recorder {
  const nacelle_graph_builder* builder;
  nacelle_status status;
};

static uint32_t weight(struct recorder* r, const char* name, int64_t rows, int64_t columns) {
  nacelle_weight_expr source = {.struct_size = sizeof source, .kind = NACELLE_EXPR_TENSOR, .name = text(name)};
  nacelle_weight_description of = {
      .struct_size = sizeof of, .name = text(name), .source = &source, .rank = 2, .shape = {rows, columns}};
  uint32_t value = NACELLE_NO_VALUE;
  if (!r->status) r->status = r->builder->weight(r->builder->context, &of, &value);
  return value;
}

static uint32_t op(struct recorder* r, uint32_t kind, uint32_t a, uint32_t b, uint32_t c, const void* attributes) {
  const uint32_t inputs[3] = {a, b, c};
  nacelle_op of = {
      .struct_size = sizeof of, .kind = kind, .inputs = inputs, .output_count = 1, .attributes = attributes};
  of.input_count = c != NACELLE_NO_VALUE ? 3 : b != NACELLE_NO_VALUE ? 2 : 1;
  uint32_t value = NACELLE_NO_VALUE;
  if (!r->status) r->status = r->builder->op(r->builder->context, &of, NULL, &value);
  return value;
}

static uint32_t input(struct recorder* r, uint32_t role) {
  uint32_t value = NACELLE_NO_VALUE;
  if (!r->status) r->status = r->builder->input(r->builder->context, role, &value);
  return value;
}

static uint32_t norm(struct recorder* r, uint32_t x) {
  const nacelle_norm_attributes of = {.struct_size = sizeof of, .epsilon = 1e-6f};
  return op(r, NACELLE_OP_RMS_NORM, x, NACELLE_NO_VALUE, NACELLE_NO_VALUE, &of);
}

static uint32_t product(struct recorder* r, uint32_t x, const char* name, int64_t outputs, int64_t inputs) {
  return op(r, NACELLE_OP_MATMUL, x, weight(r, name, outputs, inputs), NACELLE_NO_VALUE, NULL);
}

/* 1 / sqrt(x) by Newton's rule: a plugin of this size needs no libm. */
static float inverse_root(float x) {
  float root = x > 1 ? x : 1;
  for (int i = 0; i < 40; ++i) root = (root + x / root) / 2;
  return 1 / root;
}

static void layer(struct recorder* r, const struct sizes* of, uint32_t* x) {
  const uint32_t heads = (uint32_t)of->heads, head_width = (uint32_t)(of->width / of->heads);
  const nacelle_graph_builder* builder = r->builder;
  nacelle_cache_group group = {.struct_size = sizeof group,
                               .kind = NACELLE_CACHE_PAGED,
                               .layer_count = 1,
                               .key_width = (uint32_t)of->width,
                               .value_width = (uint32_t)of->width};
  nacelle_attention_attributes attention = {.struct_size = sizeof attention,
                                            .head_count = heads,
                                            .kv_head_count = heads,
                                            .key_width = head_width,
                                            .value_width = head_width,
                                            .causal = 1,
                                            .scale = inverse_root((float)head_width)};
  if (!r->status) r->status = builder->cache_group(builder->context, &group, &attention.cache_group);
  if (!r->status) r->status = builder->layer_begin(builder->context, 0, x, 1);
  const uint32_t h = norm(r, *x);
  const uint32_t q = product(r, h, "query", of->width, of->width), k = product(r, h, "key", of->width, of->width);
  const uint32_t mixed = op(r, NACELLE_OP_ATTENTION, q, k, product(r, h, "value", of->width, of->width), &attention);
  *x = op(r, NACELLE_OP_ADD, *x, product(r, mixed, "out", of->width, of->width), NACELLE_NO_VALUE, NULL);
  if (!r->status) r->status = builder->layer_end(builder->context);
}

static nacelle_status build(const nacelle_model_config* config, const nacelle_graph_builder* builder,
                            nacelle_error** error) {
  struct sizes of;
  const nacelle_status status = read_sizes(config, &of, error);
  if (status) return status;
  const nacelle_embedding_attributes plain = {.struct_size = sizeof plain, .scale = 1};
  struct recorder r = {builder, NACELLE_OK};
  uint32_t x = op(&r, NACELLE_OP_EMBEDDING, input(&r, NACELLE_INPUT_TOKENS),
                  weight(&r, "embed", of.vocabulary, of.width), NACELLE_NO_VALUE, &plain);
  layer(&r, &of, &x);
  x = op(&r, NACELLE_OP_GATHER, x, input(&r, NACELLE_INPUT_OUTPUT_ROWS), NACELLE_NO_VALUE, NULL);
  x = product(&r, norm(&r, x), "head", of.vocabulary, of.width);
  if (!r.status) r.status = builder->mark_output(builder->context, x, NACELLE_OUTPUT_LOGITS);
  /* The builder has kept the reason, and the host tells that one. */
  return r.status ? fail(error, r.status, NAME ": the host's graph builder refused the model") : NACELLE_OK;
}

/* ---- The table -------------------------------------------------------------------------------------------------- */

static nacelle_status match(const nacelle_model_config* config) {
  const nacelle_string name = config->architecture;
  const int mine =
      config->format == NACELLE_FORMAT_GGUF && name.size == strlen(NAME) && !memcmp(name.data, NAME, name.size);
  return mine ? NACELLE_OK : NACELLE_NOT_FOUND;
}

/* Fills a struct of the other side up to the size that it announced. */
static void store(void* to, const void* from, uint32_t own_size) {
  uint32_t size = *(const uint32_t*)to;
  if (size > own_size) size = own_size;
  memcpy(to, from, size);
  memcpy(to, &size, sizeof size);
}

static nacelle_status describe(const nacelle_model_config* config, nacelle_model_description* description,
                               nacelle_error** error) {
  struct sizes of;
  const nacelle_status status = read_sizes(config, &of, error);
  if (status) return status;
  const nacelle_model_description own = {.struct_size = sizeof own,
                                         .kind = NACELLE_MODEL_DECODER,
                                         .context_length = (uint32_t)of.context,
                                         .layer_count = 1,
                                         .width = (uint32_t)of.width,
                                         .head_count = (uint32_t)of.heads,
                                         .kv_head_count = (uint32_t)of.heads,
                                         .head_width = (uint32_t)(of.width / of.heads),
                                         .vocabulary = (uint32_t)of.vocabulary};
  store(description, &own, sizeof own);
  return NACELLE_OK;
}

static const nacelle_architecture_api api = {
    .struct_size = sizeof api, .match = match, .describe = describe, .build = build};

NACELLE_PLUGIN_MANIFEST(NACELLE_PLUGIN_ARCHITECTURE, ARCHITECTURE, NAME, VERSION);

NACELLE_EXPORT nacelle_status nacelle_plugin_query(const nacelle_host* services, nacelle_plugin_info* info,
                                                   nacelle_error** error) {
  (void)error;
  host = services;
  const nacelle_plugin_info own = {.struct_size = sizeof own,
                                   .kind = NACELLE_PLUGIN_ARCHITECTURE,
                                   .abi_major = NACELLE_ARCHITECTURE_ABI_MAJOR,
                                   .abi_minor = NACELLE_ARCHITECTURE_ABI_MINOR,
                                   .name = {NAME, sizeof NAME - 1},
                                   .version = {VERSION, sizeof VERSION - 1},
                                   .api = &api};
  store(info, &own, sizeof own);
  return NACELLE_OK;
}
