/* libcuda.so.1 for tests: as much of a driver as the CUDA runtime asks before it gives one up.
 * NACELLE_FAKE_CUDA_VERSION is the CUDA version that it supports, as 11040; devices it has none. */
#include <stdlib.h>
#include <string.h>

enum { kSuccess = 0, kNoDevice = 100, kNotFound = 500 };

int cuInit(unsigned flags) {
  (void)flags;
  return kNoDevice;
}

int cuDriverGetVersion(int* version) {
  const char* text = getenv("NACELLE_FAKE_CUDA_VERSION");
  *version = text ? atoi(text) : 0;
  return kSuccess;
}

int cuGetProcAddress_v2(const char* name, void** function, int version, unsigned long long flags, int* found) {
  (void)version;
  (void)flags;
  *function = !strcmp(name, "cuInit")               ? (void*)cuInit
              : !strcmp(name, "cuDriverGetVersion") ? (void*)cuDriverGetVersion
              : !strcmp(name, "cuGetProcAddress")   ? (void*)cuGetProcAddress_v2
                                                    : NULL;
  if (found) *found = !*function;
  return *function ? kSuccess : kNotFound;
}

int cuGetProcAddress(const char* name, void** function, int version, unsigned long long flags) {
  return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
