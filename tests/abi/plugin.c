/* A plugin for the loader's tests, bent by macros (CMakeLists.txt): each build of this file breaks one rule, or none.
 * Plain C11, so it also shows that the headers need no C++. */
#include <nacelle/architecture.h>
#include <nacelle/backend.h>
#include <stdlib.h>
#include <string.h>

#ifndef TEST_KIND
#define TEST_KIND NACELLE_PLUGIN_ARCHITECTURE
#endif
#ifndef TEST_NAME
#define TEST_NAME "good"
#endif
/* Of the plugin's kind. */
#define OF_KIND(part) \
  (TEST_KIND == NACELLE_PLUGIN_BACKEND ? NACELLE_BACKEND_ABI_##part : NACELLE_ARCHITECTURE_ABI_##part)
#ifndef TEST_MAJOR
#define TEST_MAJOR OF_KIND(MAJOR)
#endif
#ifndef TEST_MINOR
#define TEST_MINOR OF_KIND(MINOR)
#endif
#ifndef TEST_PLATFORM
#define TEST_PLATFORM NACELLE_PLATFORM
#endif
#ifndef TEST_SANITIZER
#define TEST_SANITIZER NACELLE_SANITIZER
#endif
/* What the query answers; by default what the manifest says. */
#ifndef ANSWER_KIND
#define ANSWER_KIND TEST_KIND
#endif
#ifndef ANSWER_NAME
#define ANSWER_NAME TEST_NAME
#endif
#ifndef ANSWER_MINOR
#define ANSWER_MINOR TEST_MINOR
#endif
#ifndef ANSWER_SIZE
#define ANSWER_SIZE sizeof(nacelle_plugin_info)
#endif
#ifndef ANSWER_STATUS
#define ANSWER_STATUS NACELLE_OK
#endif
#ifndef TABLE_SIZE
#define TABLE_SIZE sizeof table
#endif

__attribute__((section(NACELLE_MANIFEST_SECTION), used, aligned(4))) static const nacelle_manifest_note manifest = {
    8,
    (uint32_t)sizeof(nacelle_manifest),
    NACELLE_MANIFEST_NOTE,
    "Nacelle",
    {1, TEST_KIND, TEST_MAJOR, TEST_MINOR, TEST_NAME, "7.5", TEST_PLATFORM, TEST_SANITIZER, "built for a test"}};

static const nacelle_host* host;

static nacelle_string text(const char* chars) {
  const nacelle_string string = {chars, strlen(chars)};
  return string;
}

/* Tells the test that it was called, by way of the tuning cache. */
static void shutdown(void) { host->tuning_put(host->context, text("shutdown of " TEST_NAME), "done", 4); }

#ifndef TEST_BACKEND
static nacelle_status match(const nacelle_model_config* config) {
  (void)config;
  return NACELLE_NOT_FOUND;
}
static nacelle_status describe(const nacelle_model_config* config, nacelle_model_description* description,
                               nacelle_error** error) {
  (void)config, (void)description, (void)error;
  return NACELLE_UNIMPLEMENTED;
}
#ifdef NO_BUILD
#define BUILD NULL
#else
#define BUILD build
static nacelle_status build(const nacelle_model_config* config, const nacelle_graph_builder* builder,
                            nacelle_error** error) {
  (void)config, (void)builder, (void)error;
  return NACELLE_UNIMPLEMENTED;
}
#endif
static nacelle_architecture_api table;
static void fill_table(void) {
  table.struct_size = (uint32_t)(TABLE_SIZE);
  table.match = match;
  table.describe = describe;
  table.build = BUILD;
}
#else
/* DEVICES lists them: {kind, usable, name, detail, reason, memory_total, memory_free, block_tokens}. */
struct device {
  uint32_t kind, usable;
  const char *name, *detail, *reason;
  uint64_t total, free;
  uint32_t block;
};
#ifdef DEVICES
static const struct device devices[] = {DEVICES};
#define DEVICE_COUNT (sizeof devices / sizeof devices[0])
#else
static const struct device devices[1];
#define DEVICE_COUNT 0
#endif

static nacelle_status device_count(uint32_t* count, nacelle_string* reason, nacelle_error** error) {
  (void)error;
  host->log(host->context, NACELLE_LOG_DEBUG, text(TEST_NAME), text("device_count was called"));
  host->tuning_put(host->context, text("driver of " TEST_NAME), "opened", 6);
  *count = DEVICE_COUNT;
  if (DEVICE_COUNT == 0 && reason) *reason = text("the driver libfast.so.1 is not installed");
  return NACELLE_OK;
}
static nacelle_status device_info(uint32_t index, nacelle_device_info* info, nacelle_error** error) {
  if (index + 1 > DEVICE_COUNT || devices[index].kind == 0) {
    if (error) *error = host->error_create(host->context, NACELLE_DEVICE_LOST, text("the device fell off the bus"));
    return NACELLE_DEVICE_LOST;
  }
  const struct device* device = &devices[index];
  info->kind = device->kind;
  info->usable = device->usable;
  info->name = text(device->name);
  info->detail = text(device->detail);
  info->reason = text(device->reason);
  info->memory_total = device->total;
  info->memory_free = device->free;
  info->block_tokens = device->block;
  return NACELLE_OK;
}
static nacelle_status unused(void) { return NACELLE_UNIMPLEMENTED; }

#ifndef HARDWARE
#define HARDWARE 1
#endif
static uint32_t hardware_present(void) { return HARDWARE; }

static nacelle_backend_api table;
static void fill_table(void) {
  nacelle_status (*const function)(void) = unused;
  for (size_t at = offsetof(nacelle_backend_api, hardware_present); at < sizeof table; at += sizeof function)
    memcpy((char*)&table + at, &function, sizeof function);
  table.struct_size = (uint32_t)(TABLE_SIZE);
  table.hardware_present = hardware_present;
  table.device_count = device_count;
  table.device_info = device_info;
}
#endif

#ifdef NEEDS_HOST_SYMBOL
extern int nacelle_symbol_that_no_host_has(void);
#endif
#ifdef NEEDS_DRIVER
extern int nacelle_absent_driver_call(void);
#endif

#ifndef NO_SYMBOL
NACELLE_EXPORT nacelle_status nacelle_plugin_query(const nacelle_host* services, nacelle_plugin_info* info,
                                                   nacelle_error** error) {
  host = services;
#ifdef NEEDS_HOST_SYMBOL
  if (nacelle_symbol_that_no_host_has()) return NACELLE_INTERNAL;
#endif
#ifdef NEEDS_DRIVER
  if (nacelle_absent_driver_call()) return NACELLE_INTERNAL;
#endif
#ifdef CRASH
  abort();
#endif
  if (ANSWER_STATUS != NACELLE_OK) {
    if (error) *error = host->error_create(host->context, ANSWER_STATUS, text("the query has no wish to answer"));
    return ANSWER_STATUS;
  }
  fill_table();
  info->struct_size = (uint32_t)(ANSWER_SIZE);
  info->kind = ANSWER_KIND;
  info->abi_major = TEST_MAJOR;
  info->abi_minor = ANSWER_MINOR;
  info->name = text(ANSWER_NAME);
  info->version = text("7.5");
#ifndef NO_TABLE
  info->api = &table;
#endif
  info->shutdown = shutdown;
  return NACELLE_OK;
}
#else
NACELLE_EXPORT void nacelle_plugin_quest(void) {
  fill_table();
  shutdown();
}
#endif
