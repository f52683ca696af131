/* Nacelle plugin ABI: what every plugin shares. Pure C11; also valid C++20.
 *
 * A plugin is one shared library that exports one symbol, nacelle_plugin_query, and carries a manifest that the host
 * reads before it loads the library (NACELLE_PLUGIN_MANIFEST below). Through the query the plugin receives the host's
 * services and returns the function table of its kind: nacelle_backend_api (backend.h) or nacelle_architecture_api
 * (architecture.h).
 *
 * Rules that hold for every declaration of this SDK:
 *
 * - Structs begin with NACELLE_STRUCT_HEADER and only ever grow at their end. The writer of a struct sets
 *   struct_size to what it knows; the reader tests NACELLE_HAS before it reads a field that was added later. Structs
 *   marked "hot" are read once a token: they have no header and are versioned by the table they belong to.
 *   `reserved` and `padding` are written as 0 and not read: a later minor may give them a meaning.
 * - Enums and flags travel as uint32_t and are range-checked by whoever receives them. A host sends a plugin no
 *   value, flag or operation that is newer than the plugin's minor, but for what `supports` may say no to.
 * - Status: every fallible function returns nacelle_status; one that the caller does not know counts as
 *   NACELLE_INTERNAL. Where it takes a nacelle_error**, the pointer may be NULL; on failure it receives an error
 *   made by host->error_create, which then belongs to the caller.
 * - Failure: a failed call transfers nothing and leaves its outputs as they were. No exception, longjmp or abort
 *   crosses.
 * - Pointers are [borrowed] for the call unless marked [kept: until X] or [transferred].
 * - Threads: [any] any thread, concurrently; [stream] serial per stream; [init] serial per plugin; [init per device]
 *   serial per device, while steps of other models may run on it. A plugin starts no compute threads of its own: it
 *   is given the host's team (team_run, parallel_for).
 */
#ifndef NACELLE_PLUGIN_H
#define NACELLE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define NACELLE_STATIC_ASSERT(condition, text) static_assert(condition, text)
#define NACELLE_EXTERN_C extern "C"
extern "C" {
#else
#define NACELLE_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#define NACELLE_EXTERN_C
#endif

/* The versions of the two ABIs that these headers describe; they stand in a plugin's manifest. A host takes a plugin of
 * its own major, whatever the minor: an older one, because the ABI only grows, and a newer one too, because structs are
 * read by their size. (Before 1.0 nothing was promised, and the minors had to be equal.) */
#define NACELLE_BACKEND_ABI_MAJOR 1u
#define NACELLE_BACKEND_ABI_MINOR 0u
#define NACELLE_ARCHITECTURE_ABI_MAJOR 1u
#define NACELLE_ARCHITECTURE_ABI_MINOR 0u

/* ---- Basics -------------------------------------------------------------------------------------------------- */

/* A chain of optional structs that later versions may hang on any struct. Unknown ids are skipped. Ids are given in
 * these headers (there is none yet); those with the top bit set are for agreements between a host and a plugin of one
 * maker. */
typedef struct nacelle_extension {
  uint32_t id;
  uint32_t struct_size;
  const struct nacelle_extension* next;
} nacelle_extension;

#define NACELLE_STRUCT_HEADER \
  uint32_t struct_size;       \
  uint32_t reserved;          \
  const nacelle_extension* extension

/* True when `pointer`, a `type*`, is large enough to hold `field`. */
#define NACELLE_HAS(pointer, type, field) \
  ((pointer)->struct_size >= offsetof(type, field) + sizeof(((const type*)0)->field))

/* Pins the offset of a struct's last field, so that an edit in the middle does not compile. */
#define NACELLE_LAST_FIELD(type, field, offset) \
  NACELLE_STATIC_ASSERT(offsetof(type, field) == (offset), #type "." #field " has moved")

/* UTF-8, not terminated by NUL. `data` may be NULL when size is 0. */
typedef struct nacelle_string {
  const char* data;
  uint64_t size;
} nacelle_string;

typedef uint32_t nacelle_status;
enum {
  NACELLE_OK = 0,
  NACELLE_INVALID_ARGUMENT = 1,    /* the caller broke a rule of this header */
  NACELLE_UNIMPLEMENTED = 2,       /* soft: the caller takes another way */
  NACELLE_NOT_FOUND = 3,           /* soft: no such tensor, key or device */
  NACELLE_OUT_OF_MEMORY = 4,       /* nothing was kept; the caller may free and retry */
  NACELLE_UNAVAILABLE = 5,         /* no driver, no device, no permission; the error says which */
  NACELLE_DEVICE_LOST = 6,         /* sticky: every later call on the device returns it too */
  NACELLE_FAILED_PRECONDITION = 7, /* called in the wrong order or state */
  NACELLE_CANCELLED = 8,
  NACELLE_INTERNAL = 9 /* a defect of the plugin; the host unloads nothing and goes on */
};

/* Made and freed by the host only. */
typedef struct nacelle_error nacelle_error;

/* ---- Host services ------------------------------------------------------------------------------------------- */

enum {
  NACELLE_LOG_TRACE = 0,
  NACELLE_LOG_DEBUG = 1,
  NACELLE_LOG_INFO = 2,
  NACELLE_LOG_WARNING = 3,
  NACELLE_LOG_ERROR = 4
};

/* Hot. One thread's view of a team that runs one function. [kept: until the function returns] */
typedef struct nacelle_team_member {
  void* team;     /* the host's */
  uint32_t index; /* 0 .. count-1 */
  uint32_t count; /* threads in the team, at least 1 */
} nacelle_team_member;

typedef void (*nacelle_team_function)(void* argument, const nacelle_team_member* member);
typedef void (*nacelle_range_function)(void* argument, uint64_t begin, uint64_t end);

/* The table lives as long as the process. `context` is passed back as the first argument of each function. */
typedef struct nacelle_host {
  NACELLE_STRUCT_HEADER;
  void* context;

  /* [any] Nonzero when a message of this level would be kept; ask before formatting a costly one. */
  uint32_t (*log_enabled)(void* context, uint32_t level);
  /* [any] One line, without a newline. `component` is the plugin's name. */
  void (*log)(void* context, uint32_t level, nacelle_string component, nacelle_string message);

  /* [any] Copies `message` (one line: what, where, what was expected, what to do). Never fails: returns a static error
   * when memory is out. Freed by whoever ends up owning it. */
  nacelle_error* (*error_create)(void* context, nacelle_status status, nacelle_string message);
  void (*error_destroy)(void* context, nacelle_error* error);
  nacelle_status (*error_status)(void* context, const nacelle_error* error);
  nacelle_string (*error_message)(void* context, const nacelle_error* error); /* [kept: until error_destroy] */

  /* [any] `alignment` is a power of two. NULL when memory is out. Large blocks are backed by huge pages where possible.
   */
  void* (*allocate)(void* context, uint64_t size, uint64_t alignment);
  void (*deallocate)(void* context, void* pointer, uint64_t size, uint64_t alignment);

  /* [any; calls are queued] Runs `function` once on each thread of the host's pool, the caller's among them, and
   * returns when all have returned. Meant as one entry a step: inside, threads meet at barriers and share work by
   * claiming chunks. */
  void (*team_run)(void* context, nacelle_team_function function, void* argument);
  uint32_t (*team_size)(void* context);
  /* Inside team_run only. All threads of the team wait for each other; the chunk counter starts again at 0. */
  void (*team_barrier)(const nacelle_team_member* member);
  /* Inside team_run only. Adds `count` to the shared counter and returns its value from before. */
  uint64_t (*team_claim)(const nacelle_team_member* member, uint64_t count);
  /* [any; not inside team_run] Splits [0, count) into ranges of at least `grain` and runs them on the pool. */
  void (*parallel_for)(void* context, uint64_t count, uint64_t grain, nacelle_range_function function, void* argument);

  /* [any] A setting of the plugin ("backend.cpu.isa") or of the host ("host.memory_limit": the bytes that the container
   * allows this process, set where there is such a limit), copied into `buffer` (cut at capacity); `size` gets the full
   * length. NACELLE_NOT_FOUND when it is not set. */
  nacelle_status (*config_get)(void* context, nacelle_string key, char* buffer, uint64_t capacity, uint64_t* size);
  /* [any] The tuning cache: opaque bytes under an opaque key, kept on disk. A miss is NACELLE_NOT_FOUND;
   * NACELLE_UNAVAILABLE says that there is something, but it is damaged, or that it cannot be kept: the host has logged
   * which, once. */
  nacelle_status (*tuning_get)(void* context, nacelle_string key, void* buffer, uint64_t capacity, uint64_t* size);
  nacelle_status (*tuning_put)(void* context, nacelle_string key, const void* data, uint64_t size);

  /* [any] Trace spans; `name` is a literal. trace_begin returns 0 when tracing is off, and trace_end(0) does nothing.
   */
  uint64_t (*trace_begin)(void* context, const char* name);
  void (*trace_end)(void* context, uint64_t span);

  /* [any; calls are queued] As team_run, for work that is divided by claims alone: a member goes to the barrier only
   * when its claim found nothing left. A barrier then waits for those alone who claimed since the last one; a member
   * that is late finds nothing to claim (2^64 - 1) until it has caught up, may miss the whole run, and fewer members
   * than team_size() may be asked. So a busy neighbour on one CPU does not hold up the others. */
  void (*team_share)(void* context, nacelle_team_function function, void* argument);
  /* Inside team_run and team_share. A barrier in two halves: the last member to come gets 1, all others 0 and only once
   * it has called team_open. Between the two it may do what one thread does best. */
  uint32_t (*team_arrive)(const nacelle_team_member* member);
  void (*team_open)(const nacelle_team_member* member);
} nacelle_host;
NACELLE_LAST_FIELD(nacelle_host, team_open, 184);

/* ---- The query ----------------------------------------------------------------------------------------------- */

enum { NACELLE_PLUGIN_BACKEND = 1, NACELLE_PLUGIN_ARCHITECTURE = 2 };

typedef struct nacelle_plugin_info {
  NACELLE_STRUCT_HEADER;
  uint32_t kind;                 /* NACELLE_PLUGIN_* */
  uint32_t abi_major, abi_minor; /* of the kind's ABI that the plugin was built against */
  uint32_t padding;
  nacelle_string name;    /* as in the manifest, e.g. "cpu" [kept: for ever] */
  nacelle_string version; /* the plugin's own [kept: for ever] */
  const void* api;        /* nacelle_backend_api or nacelle_architecture_api by kind [kept: for ever] */
  /* [init] Joins and frees everything the plugin holds. Called once, after every object was destroyed. May be NULL. */
  void (*shutdown)(void);
} nacelle_plugin_info;
NACELLE_LAST_FIELD(nacelle_plugin_info, shutdown, 72);

/* [init] The one exported symbol. `host` is [kept: for ever]. `info` has struct_size set by the host; the plugin fills
 * the fields that fit and lowers struct_size to what it knows. May be called again: it answers the same. */
typedef nacelle_status (*nacelle_plugin_query_function)(const nacelle_host* host, nacelle_plugin_info* info,
                                                        nacelle_error** error);

#if defined(__GNUC__)
#define NACELLE_EXPORT NACELLE_EXTERN_C __attribute__((visibility("default")))
#else
#define NACELLE_EXPORT NACELLE_EXTERN_C
#endif

/* ---- The manifest -------------------------------------------------------------------------------------------- */

/* An ELF note in section .note.nacelle, owner "Nacelle", type NACELLE_MANIFEST_NOTE. Strings are NUL-terminated. */
#define NACELLE_MANIFEST_NOTE 1u
#define NACELLE_MANIFEST_SECTION ".note.nacelle"

typedef struct nacelle_manifest {
  uint32_t manifest_version; /* 1 */
  uint32_t kind;             /* NACELLE_PLUGIN_* */
  uint32_t abi_major, abi_minor;
  char name[32];
  char version[32];
  char platform[32];  /* "linux-x86_64" */
  char sanitizer[16]; /* "", "address" or "thread": a mismatch with the host is refused */
  char build_id[48];  /* free text of the build, shown by `nacelle plugins` */
} nacelle_manifest;

typedef struct nacelle_manifest_note {
  uint32_t owner_size, manifest_size, type; /* Elf64_Nhdr */
  char owner[8];                            /* "Nacelle" */
  nacelle_manifest manifest;
} nacelle_manifest_note;
NACELLE_STATIC_ASSERT(sizeof(nacelle_manifest_note) == 20 + 176, "the note has no padding");

#if defined(__aarch64__)
#define NACELLE_PLATFORM "linux-aarch64"
#elif defined(__x86_64__)
#define NACELLE_PLATFORM "linux-x86_64"
#else
#define NACELLE_PLATFORM "unknown"
#endif

/* GCC says which sanitizer it compiles for by macros, clang by features. */
#if defined(__SANITIZE_ADDRESS__)
#define NACELLE_SANITIZER "address"
#elif defined(__SANITIZE_THREAD__)
#define NACELLE_SANITIZER "thread"
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NACELLE_SANITIZER "address"
#elif __has_feature(thread_sanitizer)
#define NACELLE_SANITIZER "thread"
#endif
#endif
#ifdef NACELLE_SANITIZER
#define NACELLE_SANITIZED 1
#else
#define NACELLE_SANITIZED 0
#define NACELLE_SANITIZER ""
#endif

#ifndef NACELLE_BUILD_ID
#define NACELLE_BUILD_ID ""
#endif

/* clang's AddressSanitizer would put its guard zone behind the note, into the section. */
#ifdef __clang__
#define NACELLE_NO_GUARD no_sanitize("address"),
#else
#define NACELLE_NO_GUARD
#endif

/* Once, at file scope of one source of the plugin: NACELLE_PLUGIN_MANIFEST(NACELLE_PLUGIN_BACKEND, BACKEND, "cpu",
 * "1.2"); */
#define NACELLE_PLUGIN_MANIFEST(kind, ABI, name, version)                                              \
  __attribute__((section(NACELLE_MANIFEST_SECTION), NACELLE_NO_GUARD used,                             \
                 aligned(4))) static const nacelle_manifest_note nacelle_plugin_manifest_note = {      \
      8,                                                                                               \
      (uint32_t)sizeof(nacelle_manifest),                                                              \
      NACELLE_MANIFEST_NOTE,                                                                           \
      "Nacelle",                                                                                       \
      {1, kind, NACELLE_##ABI##_ABI_MAJOR, NACELLE_##ABI##_ABI_MINOR, name, version, NACELLE_PLATFORM, \
       NACELLE_SANITIZER, NACELLE_BUILD_ID}}

#ifdef __cplusplus
}
#endif
#endif
