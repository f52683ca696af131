/* placeholder that fixes only the type ids; the op set follows */
#ifndef NACELLE_GRAPH_H
#define NACELLE_GRAPH_H
#include <stdint.h>

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
#endif
