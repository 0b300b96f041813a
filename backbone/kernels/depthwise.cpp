// Both gradients of a depthwise convolution of 3x3 in one pass over memory. See ../depthwise.py.

#include "lanes.h"

struct Shapes {
    Count batch, height, width, channels;            // of x
    Count out_height, out_width, stride, top, left;  // top, left: zeros in front, less than 2
};

// Some channels of a row of x, of its gradient, of the kernel [3][3][channels], and of the kernel's gradient.
template <class T>
struct Place {
    const T* x;
    T* grad_x;
    const float* kernel;
    float* grad_kernel;
};

// At stride 1. grads: of the rows that this one gave to; those of what a column gave to are a window that moves along.
template <int N, class T>
INLINE void differentiate_dense(const Place<T>& row, const Row<T> (&grads)[3], const Shapes& of) {
    Lanes<N> weights[3][3], window[3][3], sums[3][3] = {};
    const auto read = [&](int i, Count column) __attribute__((always_inline)) {
        const bool inside = column >= 0 && column < of.out_width;
        for (int j = 0; j < 3; ++j) window[j][i] = inside ? load_lanes<N>(grads[j], column) : Lanes<N>{};
    };
    for (int k = 0; k < 9; ++k) weights[k / 3][k % 3] = load_lanes<N>(row.kernel + k * of.channels);
    read(0, of.left - 1), read(1, of.left - 2);
    for (Count column = 0; column < of.width; ++column) {
        for (int j = 0; j < 3; ++j) window[j][2] = window[j][1], window[j][1] = window[j][0];
        read(0, column + of.left);
        const Lanes<N> value = load_lanes<N>(row.x + column * of.channels);
        Lanes<N> total{};
        for (int k = 0; k < 9; ++k) {
            total += window[k / 3][k % 3] * weights[k / 3][k % 3];
            sums[k / 3][k % 3] += window[k / 3][k % 3] * value;
        }
        store_lanes<N>(row.grad_x + column * of.channels, total);
    }
    for (int k = 0; k < 9; ++k) {
        float* to = row.grad_kernel + k * of.channels;
        store_lanes<N>(to, load_lanes<N>(to) + sums[k / 3][k % 3]);
    }
}

// At stride 2 a row of x meets ROWS rows of the kernel: the middle one, or the two others. grads: by row of the kernel.
template <int N, int ROWS, class T>
INLINE void differentiate_strided(const Place<T>& row, const Row<T> (&grads)[3], const Shapes& of) {
    Lanes<N> weights[ROWS][3], sums[ROWS][3] = {}, carried{};
    constexpr int FIRST = ROWS == 1;
    const auto input = [&](Count column) __attribute__((always_inline)) {
        return column >= 0 && column < of.width ? load_lanes<N>(row.x + column * of.channels) : Lanes<N>{};
    };
    const auto output = [&](Count column, Lanes<N> grad) __attribute__((always_inline)) {
        if (column >= 0 && column < of.width) store_lanes<N>(row.grad_x + column * of.channels, grad);
    };
    for (int k = 0; k < 3 * ROWS; ++k)
        weights[k / 3][k % 3] = load_lanes<N>(row.kernel + (3 * (FIRST + 2 * (k / 3)) + k % 3) * of.channels);
    Lanes<N> values[3] = {{}, {}, input(-of.left)};
    for (Count out_x = 0, column = -of.left; out_x < of.out_width; ++out_x, column += 2) {
        values[0] = values[2], values[1] = input(column + 1), values[2] = input(column + 2);
        Lanes<N> totals[3] = {carried, {}, {}};
        for (int j = 0; j < ROWS; ++j) {
            const Lanes<N> grad = load_lanes<N>(grads[FIRST + 2 * j], out_x);
            for (int i = 0; i < 3; ++i) totals[i] += grad * weights[j][i], sums[j][i] += grad * values[i];
        }
        output(column, totals[0]), output(column + 1, totals[1]), carried = totals[2];
    }
    for (Count column = 2 * of.out_width - of.left; column < of.width; ++column, carried = Lanes<N>{})
        output(column, carried);
    for (int k = 0; k < 3 * ROWS; ++k) {
        float* to = row.grad_kernel + (3 * (FIRST + 2 * (k / 3)) + k % 3) * of.channels;
        store_lanes<N>(to, load_lanes<N>(to) + sums[k / 3][k % 3]);
    }
}

template <int N, class T>
INLINE void differentiate(const Place<T>& row, const Row<T> (&grads)[3], Count y, const Shapes& of) {
    if (of.stride == 1)
        differentiate_dense<N>(row, grads, of);
    else if ((y + of.top) % 2)
        differentiate_strided<N, 1>(row, grads, of);
    else
        differentiate_strided<N, 2>(row, grads, of);
}

template <class T>
FOR_EVERY_CPU void differentiate_row(const T* x, const T* grad, T* grad_x, Count y, const Shapes& of,
                                     const float* kernels, float* grad_kernels) {
    Row<T> grads[3];  // by row of the kernel
    for (int j = 0; j < 3; ++j) {
        const Count at = y + of.top - j;
        grads[j] = row_of(grad, at % of.stride ? -1 : at / of.stride, of.out_height, of.out_width, of.channels);
    }
    Place<T> row{x, grad_x, kernels, grad_kernels};
    Count c = 0;
    for (; c + 16 <= of.channels; c += 16) {
        differentiate<16>(row, grads, y, of);
        row = {row.x + 16, row.grad_x + 16, row.kernel + 16, row.grad_kernel + 16};
        for (auto& from : grads) from.first += from.step ? 16 : 0;
    }
    if (c < of.channels) differentiate<8>(row, grads, y, of);
}

template <class T>
void backward(const T* x, const T* grad, const float* kernels, T* grad_x, float* grad_kernels, const Shapes& of,
              int threads) {
    const Count rows = of.batch * of.height, row = of.width * of.channels, size = 9 * of.channels;
    const Count out_map = of.out_height * of.out_width * of.channels;
    std::vector<double> parts(threads * size, 0.0);
    std::vector<float> of_pictures(threads * (size + APART), 0.0f);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; ++thread) {
        float* sums = of_pictures.data() + thread * (size + APART);
        const Count end = rows * (thread + 1) / threads;
        for (Count i = rows * thread / threads; i < end; ++i) {
            const Count picture = i / of.height, y = i % of.height;
            differentiate_row(x + i * row, grad + picture * out_map, grad_x + i * row, y, of, kernels, sums);
            if (y + 1 < of.height && i + 1 < end) continue;  // of float within a picture, of double over pictures
            for (Count k = 0; k < size; ++k) parts[thread * size + k] += sums[k];
            std::fill(sums, sums + size, 0.0f);
        }
    }
    for (Count k = 0; k < size; ++k) {
        double sum = 0;
        for (Count part = k; part < Count(parts.size()); part += size) sum += parts[part];
        grad_kernels[k] = float(sum);
    }
}

#define EXPORT(T)                                                                                                    \
    extern "C" int depthwise_backward_##T(const T* x, const T* grad, const float* kernels, T* grad_x,                \
                                          float* grad_kernels, const Shapes* of, int threads) {                      \
        return status_of([&] { backward(x, grad, kernels, grad_x, grad_kernels, *of, threads_here(threads)); });     \
    }                                                                                                                \
    TELL(depthwise_backward_##T)

EXPORT(float)
EXPORT(bfloat16)
