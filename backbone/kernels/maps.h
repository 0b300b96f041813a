// What the kernels share: kinds of numbers, and one function compiled for several CPUs.
//
// Maps are channels last: x[batch][row][column][channel], of float or of bfloat16, the upper half of a float. What is
// added up is added in an order that depends on the number of threads alone.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <exception>
#include <type_traits>
#include <vector>

#define INLINE static inline __attribute__((always_inline))
// Compiled once for each of several CPUs; which one is called is decided when the library is loaded. Whoever tests one of
// them defines it as that one's target.
#if defined(FOR_EVERY_CPU)
#elif defined(__x86_64__) && defined(__linux__) && __GNUC__ >= 12
#define FOR_EVERY_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__linux__)
#define FOR_EVERY_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EVERY_CPU
#endif

using Count = std::int64_t;

constexpr Count APART = 16;  // floats between what threads write, so that no two write to a line of a cache
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

// How many threads may be used, of those that are wanted. See library.cpp.
int threads_here(int wanted);

// 0, or 1 where there was no memory for what is computed on the way: nobody behind ctypes would catch the exception.
// Threads of OpenMP must not throw either, so what they need is taken before they start.
template <class Body>
int status_of(Body body) {
    try {
        body();
        return 0;
    } catch (const std::exception&) {
        return 1;
    }
}

// The kinds of a function's arguments, a letter each: P points, q counts, d and f are numbers, i is an int.
template <class T>
constexpr char letter() {
    if (std::is_pointer<T>::value) return 'P';
    if (std::is_same<T, Count>::value) return 'q';
    return std::is_same<T, double>::value ? 'd' : std::is_same<T, float>::value ? 'f' : 'i';
}

template <class... Arguments>
const char* letters(int (*)(Arguments...)) {
    static const char all[] = {letter<Arguments>()..., 0};
    return all;
}

// Tells what an exported function takes, which is compared with what will be handed over (__init__.py).
#define TELL(FUNCTION)                                                        \
    extern "C" const char* FUNCTION##_takes() { return letters(&FUNCTION); }
