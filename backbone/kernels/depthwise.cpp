// Both gradients of a depthwise convolution in one pass over memory. See ../gradients.py.

#include "maps.h"

constexpr Count LANES = 16;  // channels that are computed at once
typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef std::uint32_t Words __attribute__((vector_size(LANES * sizeof(std::uint32_t))));
typedef bfloat16 Halves __attribute__((vector_size(LANES * sizeof(bfloat16))));

INLINE Lanes load_lanes(const float* from) {
    Lanes lanes;
    std::memcpy(&lanes, from, sizeof lanes);
    return lanes;
}

INLINE Lanes load_lanes(const bfloat16* from) {
    Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    return Lanes(__builtin_convertvector(halves, Words) << 16);
}

INLINE void store_lanes(float* to, Lanes lanes) { std::memcpy(to, &lanes, sizeof lanes); }

INLINE void store_lanes(bfloat16* to, Lanes lanes) {
    const Words bits = Words(lanes);
    const Halves halves = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, Halves);
    std::memcpy(to, &halves, sizeof halves);
}

INLINE void add_lanes(float* to, Lanes lanes) { store_lanes(to, load_lanes(to) + lanes); }

struct Shapes {
    Count batch, height, width, channels;  // of x
    Count out_height, out_width, stride_y, stride_x, top, left;  // top, left: zeros in front
};

INLINE Count row_with_zeros(const Shapes& of) {
    return std::max(of.left + of.width, (of.out_width - 1) * of.stride_x + 3);
}

// LANES channels of row y of x: its gradient, and what it adds to that of the kernel. Kernels are [3][3][channels].
// inputs, sums: room for the row with zeros around it, [column][LANES].
template <class T>
INLINE void differentiate(const T* x, const T* grad, T* grad_x, Count y, const Shapes& of, const float* kernel,
                          float* grad_kernel, float* __restrict inputs, float* __restrict sums) {
    for (Count column = 0; column < of.width; ++column)
        store_lanes(inputs + (of.left + column) * LANES, load_lanes(x + column * of.channels));
    std::memset(sums, 0, row_with_zeros(of) * LANES * sizeof(float));
    for (Count j = 0; j < 3; ++j, kernel += 3 * of.channels, grad_kernel += 3 * of.channels) {
        const Count at = y + of.top - j, out_y = at / of.stride_y;
        if (at < 0 || at % of.stride_y != 0 || out_y >= of.out_height) continue;
        const Lanes left = load_lanes(kernel), middle = load_lanes(kernel + of.channels),
                    right = load_lanes(kernel + 2 * of.channels);
        Lanes grad_left{}, grad_middle{}, grad_right{};
        for (Count out_x = 0; out_x < of.out_width; ++out_x) {
            const Lanes g = load_lanes(grad + (out_y * of.out_width + out_x) * of.channels);
            const float* input = inputs + out_x * of.stride_x * LANES;
            float* sum = sums + out_x * of.stride_x * LANES;
            add_lanes(sum, g * left);
            add_lanes(sum + LANES, g * middle);
            add_lanes(sum + 2 * LANES, g * right);
            grad_left += g * load_lanes(input);
            grad_middle += g * load_lanes(input + LANES);
            grad_right += g * load_lanes(input + 2 * LANES);
        }
        add_lanes(grad_kernel, grad_left);
        add_lanes(grad_kernel + of.channels, grad_middle);
        add_lanes(grad_kernel + 2 * of.channels, grad_right);
    }
    for (Count column = 0; column < of.width; ++column)
        store_lanes(grad_x + column * of.channels, load_lanes(sums + (of.left + column) * LANES));
}

template <class T>
FOR_EVERY_CPU void differentiate_row(const T* x, const T* grad, T* grad_x, Count y, const Shapes& of,
                                     const float* kernels, float* grad_kernels, float* inputs, float* sums) {
    for (Count c = 0; c < of.channels; c += LANES)
        differentiate(x + c, grad + c, grad_x + c, y, of, kernels + c, grad_kernels + c, inputs, sums);
}

template <class T>
void backward(const T* x, const T* grad, const float* kernels, T* grad_x, float* grad_kernels, const Shapes& of,
              int threads) {
    const Count rows = of.batch * of.height, row = of.width * of.channels;
    const Count out_map = of.out_height * of.out_width * of.channels;
    const Count size = 9 * of.channels, room = row_with_zeros(of) * LANES;
    std::vector<double> parts(threads * size, 0.0);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; ++thread) {
        std::vector<float> sums(size), inputs(room, 0.0f), outputs(room);
        const Count end = rows * (thread + 1) / threads;
        for (Count i = rows * thread / threads; i < end; ++i) {
            const Count picture = i / of.height, y = i % of.height;
            differentiate_row(x + i * row, grad + picture * out_map, grad_x + i * row, y, of, kernels, sums.data(),
                              inputs.data(), outputs.data());
            if (y + 1 < of.height && i + 1 < end) continue;  // of float within a picture, of double over pictures
            for (Count k = 0; k < size; ++k) parts[thread * size + k] += sums[k];
            std::fill(sums.begin(), sums.end(), 0.0f);
        }
    }
    for (Count k = 0; k < size; ++k) {
        double sum = 0;
        for (Count part = k; part < Count(parts.size()); part += size) sum += parts[part];
        grad_kernels[k] = float(sum);
    }
}

#define EXPORT(T)                                                                                                    \
    extern "C" void depthwise_backward_##T(const T* x, const T* grad, const float* kernels, T* grad_x,               \
                                           float* grad_kernels, const Shapes* of, int threads) {                     \
        backward(x, grad, kernels, grad_x, grad_kernels, *of, threads);                                              \
    }

EXPORT(float)
EXPORT(bfloat16)
