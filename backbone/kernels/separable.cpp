// A depthwise convolution of 3x3 and the pointwise one behind it, each with bias and activation. See ../separable.py.
//
// Some rows of the map between the two are computed at a time, and stay in the cache until the product has read them;
// of small maps all of them, as there the weights are more.

#if defined(__x86_64__) && defined(__GNUC__)

#include <omp.h>

#include <memory>

#include "lanes.h"

constexpr Count COLUMNS = 32;       // outputs that are computed at once: the weights are packed by so many
constexpr Count BETWEEN = 1 << 17;  // bytes of the map between that a thread computes at once, about
constexpr int MOST_ROWS = 14;       // pixels that are multiplied at once, on any CPU
constexpr Count LARGE = 1 << 25;    // bytes of an output that is no longer in a cache when the next layer reads it
constexpr Count AHEAD = 64;         // channels whose weights are fetched before they are needed

struct Sizes {
    Count batch, height, width, channels;                     // of x
    Count out_height, out_width, outputs, stride, top, left;  // top, left: zeros in front, less than 2
};

struct Separable : Sizes {
    Count step;  // from pixel to pixel of the map between: not a power of two, of which a cache keeps few
    const float *depthwise, *depthwise_bias;  // [3][3][channels], [channels]
    const float *pointwise, *pointwise_bias;  // [outputs / 32][channels][32], [outputs], with zeros behind
    float ceiling;
    bool past_caches;
};

// To an address that is a multiple of the size of the lanes.
template <int N>
INLINE void store_past_caches(float* to, Lanes<N> lanes) {
    __asm__ volatile("vmovntps %1, %0" : "=m"(*reinterpret_cast<Lanes<N>*>(to)) : "v"(lanes));
}

template <int N>
INLINE Lanes<N> clamp_lanes(Lanes<N> value, float ceiling) {  // NaN stays NaN
    value = value < 0 ? Lanes<N>{} : value;
    return value > ceiling ? Lanes<N>{} + ceiling : value;
}

// N channels of a row of the map between. rows: those of x that it is computed from.
template <int N>
INLINE void convolve_row(const Row<float> (&rows)[3], const float* weight, const float* bias, float* to,
                         const Separable& of) {
    Lanes<N> weights[9], window[3][3];
    const auto read = [&](int i, Count column) __attribute__((always_inline)) {
        const bool inside = column >= 0 && column < of.width;
        for (int j = 0; j < 3; ++j) window[j][i] = inside ? load_lanes<N>(rows[j], column) : Lanes<N>{};
    };
    for (int k = 0; k < 9; ++k) weights[k] = load_lanes<N>(weight + k * of.channels);
    const Lanes<N> shift = load_lanes<N>(bias);
    const auto write = [&](Count out_x) __attribute__((always_inline)) {
        Lanes<N> total = shift;
        for (int k = 0; k < 9; ++k) total += window[k / 3][k % 3] * weights[k];
        store_lanes<N>(to + out_x * of.step, clamp_lanes<N>(total, of.ceiling));
    };
    Count column = -of.left;
    if (of.stride == 1) {
        read(1, column), read(2, column + 1);
        for (Count out_x = 0; out_x < of.out_width; ++out_x, ++column) {
            for (int j = 0; j < 3; ++j) window[j][0] = window[j][1], window[j][1] = window[j][2];
            read(2, column + 2), write(out_x);
        }
    } else {
        read(2, column);
        for (Count out_x = 0; out_x < of.out_width; ++out_x, column += 2) {
            for (int j = 0; j < 3; ++j) window[j][0] = window[j][2];
            read(1, column + 1), read(2, column + 2), write(out_x);
        }
    }
}

// A row of the map between: row `index` of all pictures' rows.
template <int N>
INLINE void convolve(const float* x, Count index, float* to, const Separable& of) {
    const Count y = index % of.out_height * of.stride - of.top;
    const float* map = x + index / of.out_height * of.height * of.width * of.channels;
    const auto some = [&](auto lanes, Count c) __attribute__((always_inline)) {
        Row<float> rows[3];
        for (int j = 0; j < 3; ++j) rows[j] = row_of(map + c, y + j, of.height, of.width, of.channels);
        convolve_row<decltype(lanes)::value>(rows, of.depthwise + c, of.depthwise_bias + c, to + c, of);
    };
    Count c = 0;
    for (; c + N <= of.channels; c += N) some(std::integral_constant<int, N>{}, c);
    for (; c < of.channels; c += 8) some(std::integral_constant<int, 8>{}, c);
}

// ROWS pixels of the map between, times the weights of 32 outputs from `first` on; `pixels` of them are written.
template <int N, int ROWS>
INLINE void multiply(const float* between, float* y, Count pixels, Count first, const Separable& of) {
    constexpr int VECTORS = COLUMNS / N;
    const float *weight = of.pointwise + first * of.channels, *bias = of.pointwise_bias + first;
    Lanes<N> sums[ROWS][VECTORS], weights[VECTORS];
    for (int v = 0; v < VECTORS; ++v) sums[0][v] = load_lanes<N>(bias + v * N);
    for (int r = 1; r < ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v) sums[r][v] = sums[0][v];
    for (Count c = 0; c < of.channels; ++c, weight += COLUMNS) {
        for (int v = 0; v < VECTORS; ++v) weights[v] = load_lanes<N>(weight + v * N);
        __builtin_prefetch(weight + AHEAD * COLUMNS), __builtin_prefetch(weight + AHEAD * COLUMNS + COLUMNS / 2);
#pragma GCC unroll 16
        for (int r = 0; r < ROWS; ++r)
            for (int v = 0; v < VECTORS; ++v) sums[r][v] += between[r * of.step + c] * weights[v];
    }
    const Count outputs = std::min(of.outputs - first, COLUMNS);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
        if (r >= pixels) break;
        float row[COLUMNS], *to = outputs < COLUMNS ? row : y + r * of.outputs;
        for (int v = 0; v < VECTORS; ++v) {
            const Lanes<N> value = clamp_lanes<N>(sums[r][v], of.ceiling);
            of.past_caches ? store_past_caches<N>(to + v * N, value) : store_lanes<N>(to + v * N, value);
        }
        if (to == row) std::memcpy(y + r * of.outputs, row, outputs * sizeof(float));
    }
}

// `pixels` of the map between, times the weights of the outputs from `first` to `last`.
template <int N, int ROWS>
INLINE void multiply_all(const float* between, float* y, Count pixels, Count first, Count last, const Separable& of) {
    constexpr int HALF = (ROWS + 1) / 2;
    for (Count o = first; o < last; o += COLUMNS)
        for (Count p = 0; p < pixels; p += ROWS) {
            const float* from = between + p * of.step;
            float* to = y + p * of.outputs + o;
            if (pixels - p > HALF)
                multiply<N, ROWS>(from, to, pixels - p, o, of);
            else
                multiply<N, HALF>(from, to, pixels - p, o, of);
        }
    if (of.past_caches) __builtin_ia32_sfence();
}

// Each compiled for a CPU, with as many sums as it has registers for.
struct Code {
    void (*convolve)(const float*, Count, float*, const Separable&);
    void (*multiply)(const float*, float*, Count, Count, Count, const Separable&);
};

#define CODE(CPU, TARGET, N, ROWS)                                                                                    \
    __attribute__((target(TARGET))) static void CPU##_convolve(const float* x, Count row, float* to,                 \
                                                               const Separable& of) {                                \
        convolve<N>(x, row, to, of);                                                                                 \
    }                                                                                                                \
    __attribute__((target(TARGET))) static void CPU##_multiply(const float* between, float* y, Count pixels,         \
                                                               Count first, Count last, const Separable& of) {       \
        multiply_all<N, ROWS>(between, y, pixels, first, last, of);                                                  \
    }                                                                                                                \
    static const Code CPU{CPU##_convolve, CPU##_multiply};

CODE(avx512, "avx512f,fma", 16, MOST_ROWS)
CODE(avx2, "avx2,fma", 8, 3)

static const Code* of_this_cpu() {
    if (!__builtin_cpu_supports("fma")) return nullptr;
#if defined(WITHOUT_AVX512)  // to test the other on a CPU that has both
    return __builtin_cpu_supports("avx2") ? &avx2 : nullptr;
#endif
    return __builtin_cpu_supports("avx512f") ? &avx512 : __builtin_cpu_supports("avx2") ? &avx2 : nullptr;
}

// Each thread computes some rows at a time, and multiplies them by all weights.
static void by_rows(const Code& code, const float* x, float* y, const Separable& of, int threads) {
    const Count rows = of.batch * of.out_height;
    const Count pixels = std::max<Count>(BETWEEN / (of.step * sizeof(float)), 9 * MOST_ROWS);
    const Count high = std::max<Count>(std::min(pixels / of.out_width, (rows + threads - 1) / threads), 1);
    const Count each = (high * of.out_width + MOST_ROWS) * of.step;
    const std::unique_ptr<float[]> all(new float[threads * each]);
#pragma omp parallel num_threads(threads)
    {
        float* const between = all.get() + omp_get_thread_num() * each;
#pragma omp for schedule(static)
        for (Count first = 0; first < rows; first += high) {
            const Count some = std::min(rows - first, high);
            for (Count row = 0; row < some; ++row)
                code.convolve(x, first + row, between + row * of.out_width * of.step, of);
            code.multiply(between, y + first * of.out_width * of.outputs, some * of.out_width, 0, of.outputs, of);
        }
    }
}

// The threads compute the whole map between, and each multiplies it by some of the weights, which it reads alone.
static void by_outputs(const Code& code, const float* x, float* y, const Separable& of, int threads) {
    const Count rows = of.batch * of.out_height, pixels = rows * of.out_width;
    const Count blocks = (of.outputs + COLUMNS - 1) / COLUMNS;
    const std::unique_ptr<float[]> between(new float[(pixels + MOST_ROWS) * of.step]);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (Count row = 0; row < rows; ++row)
            code.convolve(x, row, between.get() + row * of.out_width * of.step, of);
#pragma omp for schedule(static)
        for (int part = 0; part < threads; ++part) {
            const Count first = blocks * part / threads * COLUMNS, end = blocks * (part + 1) / threads * COLUMNS;
            code.multiply(between.get(), y, pixels, first, std::min(end, of.outputs), of);
        }
    }
}

extern "C" int separable_forward_fits() { return of_this_cpu() != nullptr; }

// y: written past the caches only where lanes begin at multiples of their size.
static void forward(const float* x, float* y, Separable of, int threads) {
    const Count pixels = of.batch * of.out_height * of.out_width;
    const bool large = pixels * of.outputs * Count(sizeof(float)) > LARGE;
    of.past_caches = large && of.outputs % COLUMNS == 0 && reinterpret_cast<std::uintptr_t>(y) % 64 == 0;
    const bool more_weights = of.outputs > pixels;  // than numbers between
    (more_weights && threads > 1 ? by_outputs : by_rows)(*of_this_cpu(), x, y, of, threads);
}

extern "C" int separable_forward_float(const float* x, const float* depthwise, const float* depthwise_bias,
                                       const float* pointwise, const float* pointwise_bias, float* y,
                                       const Sizes* sizes, float ceiling, int threads) {
    const Separable of{*sizes, sizes->channels + 16, depthwise, depthwise_bias, pointwise, pointwise_bias, ceiling, false};
    return status_of([&] { forward(x, y, of, threads_here(threads)); });
}

TELL(separable_forward_float)

#endif
