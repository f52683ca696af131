// What every shader starts from. Buffers are reached by address (no descriptor sets, no limit on a buffer's range), and
// 32-bit words are all that is loaded and stored: narrower elements are packed and unpacked by arithmetic, so nothing
// beyond Vulkan 1.2 with device addresses and 64-bit integers is needed. Push constants are addresses first, then words.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require

layout(buffer_reference, std430, buffer_reference_align = 4) buffer Floats { float at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Words { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Words2 { uvec2 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Words4 { uvec4 at[]; };

layout(local_size_x_id = 0) in;  // a power of two
const uint kThreads = gl_WorkGroupSize.x;

#define kNever uintBitsToFloat(0xff800000u)  // -infinity
