// What the kernels share: kinds of numbers, and one function compiled for several CPUs.
//
// Maps are channels last: x[batch][row][column][channel], of float or of bfloat16, the upper half of a float. What is
// added up is added in an order that depends on the number of threads alone.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#define INLINE static inline __attribute__((always_inline))
// Compiled once for each of several CPUs; which one is called is decided when the library is loaded.
#if defined(__x86_64__) && defined(__linux__) && __GNUC__ >= 12
#define FOR_EVERY_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__linux__)
#define FOR_EVERY_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EVERY_CPU
#endif

using Count = std::int64_t;
using bfloat16 = std::uint16_t;

INLINE float load(const float* from) { return *from; }

INLINE float load(const bfloat16* from) {
    const std::uint32_t bits = std::uint32_t(*from) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

INLINE void store(float* to, float value) { *to = value; }

INLINE void store(bfloat16* to, float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    *to = bfloat16((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);  // to the nearest, of two equally near the even one
}
