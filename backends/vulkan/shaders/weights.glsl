// How packed weights are read. A matrix [N, K] is cut into panels of 32 columns (outputs) and blocks of 32 of K; lane c of
// a panel reads column c, and a load of 32 lanes is one run of memory:
//   codes   uvec4 [panel][block][unit][column]
//   extra   format by format, below; headers are words [panel][group of blocks][word][column]
// backends/vulkan/packing.cpp writes this. FORMAT is one of the numbers below.
#define FORMAT_F32 0
#define FORMAT_F16 1
#define FORMAT_BF16 2
#define FORMAT_Q8_0 3  // int8; header of 2 blocks: two f16 scales
#define FORMAT_Q4_0 4  // nibbles; header as Q8_0
#define FORMAT_Q4_K 5  // nibbles; header of 8 blocks: f16 scale and min, then 8 bytes of scales, 8 of mins
#define FORMAT_Q6_K 6  // low nibbles, and uvec2 [panel][block][column] of high pairs before the headers of 8 blocks:
                       // f32 scale, then 16 signed scale bytes
#define FORMAT_WIDE 7  // int8; header of 1 block: f32 scale and f32 min of each half. Exact for every other block type

#if FORMAT == FORMAT_F32
const uint kUnits = 8, kHeaderBlocks = 1, kHeaderWords = 0;
#elif FORMAT == FORMAT_F16 || FORMAT == FORMAT_BF16
const uint kUnits = 4, kHeaderBlocks = 1, kHeaderWords = 0;
#elif FORMAT == FORMAT_Q8_0
const uint kUnits = 2, kHeaderBlocks = 2, kHeaderWords = 1;
#elif FORMAT == FORMAT_Q4_0
const uint kUnits = 1, kHeaderBlocks = 2, kHeaderWords = 1;
#elif FORMAT == FORMAT_Q4_K
const uint kUnits = 1, kHeaderBlocks = 8, kHeaderWords = 5;
#elif FORMAT == FORMAT_Q6_K
const uint kUnits = 1, kHeaderBlocks = 8, kHeaderWords = 5;
#else
const uint kUnits = 2, kHeaderBlocks = 1, kHeaderWords = 4;
#endif
const uint kColumns = 32;  // of a panel

struct Matrix {
  Words4 codes;
  Words headers;
  uint blocks;  // of K
};

struct Block {
  uvec4 codes[kUnits];
#if FORMAT == FORMAT_Q6_K
  uvec2 high;
#endif
  float scale[2], low[2];  // of each half: weight = scale * code - low
};

#if FORMAT >= FORMAT_Q8_0
uint header_word(Matrix m, uint panel, uint block, uint word, uint column) {
  const uint groups = (m.blocks + kHeaderBlocks - 1) / kHeaderBlocks;
  return m.headers.at[((panel * groups + block / kHeaderBlocks) * kHeaderWords + word) * kColumns + column];
}
#endif

float signed_byte(uint word, uint index) { return float(bitfieldExtract(int(word), int(8 * index), 8)); }
float unsigned_byte(uint word, uint index) { return float(bitfieldExtract(word, int(8 * index), 8)); }

Block load_block(Matrix m, uint panel, uint block, uint column) {
  Block b;
  [[unroll]] for (uint u = 0; u < kUnits; ++u)
    b.codes[u] = m.codes.at[((panel * m.blocks + block) * kUnits + u) * kColumns + column];
  b.scale[0] = b.scale[1] = 1;
  b.low[0] = b.low[1] = 0;
#if FORMAT == FORMAT_Q8_0 || FORMAT == FORMAT_Q4_0
  const vec2 scales = unpackHalf2x16(header_word(m, panel, block, 0, column));
  b.scale[0] = b.scale[1] = (block & 1) == 0 ? scales.x : scales.y;
#elif FORMAT == FORMAT_Q4_K
  const vec2 factors = unpackHalf2x16(header_word(m, panel, block, 0, column));
  const uint sub = block % 8;
  b.scale[0] = b.scale[1] = factors.x * unsigned_byte(header_word(m, panel, block, 1 + sub / 4, column), sub % 4);
  b.low[0] = b.low[1] = factors.y * unsigned_byte(header_word(m, panel, block, 3 + sub / 4, column), sub % 4);
#elif FORMAT == FORMAT_Q6_K
  const uint panels_before = panel * m.blocks + block;
  b.high = Words2(uint64_t(m.headers) - EXTRA_BYTES).at[panels_before * kColumns + column];
  const float factor = uintBitsToFloat(header_word(m, panel, block, 0, column));
  const uint sub = block % 8, word = header_word(m, panel, block, 1 + sub / 2, column);
  b.scale[0] = factor * signed_byte(word, sub % 2 * 2);
  b.scale[1] = factor * signed_byte(word, sub % 2 * 2 + 1);
#elif FORMAT == FORMAT_WIDE
  [[unroll]] for (uint half_ = 0; half_ < 2; ++half_) {
    b.scale[half_] = uintBitsToFloat(header_word(m, panel, block, half_, column));
    b.low[half_] = uintBitsToFloat(header_word(m, panel, block, 2 + half_, column));
  }
#endif
  return b;
}

// Element `i` of 32, a constant once loops are unrolled. The product of scale and code is exact in f32, so that this is
// what nacelle/block_formats.hpp decodes, to the bit.
float weight(Block b, uint i) {
#if FORMAT == FORMAT_F32
  return uintBitsToFloat(b.codes[i / 4][i % 4]);
#elif FORMAT == FORMAT_F16
  const vec2 pair = unpackHalf2x16(b.codes[i / 8][i / 2 % 4]);
  return i % 2 == 0 ? pair.x : pair.y;
#elif FORMAT == FORMAT_BF16
  const uint pair = b.codes[i / 8][i / 2 % 4];
  return uintBitsToFloat(i % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
#elif FORMAT == FORMAT_Q8_0
  return b.scale[0] * signed_byte(b.codes[i / 16][i / 4 % 4], i % 4);
#elif FORMAT == FORMAT_Q4_0
  return b.scale[0] * (float(bitfieldExtract(b.codes[0][i / 8], int(4 * (i % 8)), 4)) - 8);
#elif FORMAT == FORMAT_Q4_K
  return fma(b.scale[0], float(bitfieldExtract(b.codes[0][i / 8], int(4 * (i % 8)), 4)), -b.low[0]);
#elif FORMAT == FORMAT_Q6_K
  const uint code = bitfieldExtract(b.codes[0][i / 8], int(4 * (i % 8)), 4) |
                    bitfieldExtract(b.high[i / 16], int(2 * (i % 16)), 2) << 4;
  return b.scale[i / 16] * (float(code) - 32);
#else
  return fma(b.scale[i / 16], signed_byte(b.codes[i / 16][i / 4 % 4], i % 4), -b.low[i / 16]);
#endif
}
