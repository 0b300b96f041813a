// Batch norm in training and the ReLU or ReLU6 behind it, in two passes over memory each way. See ../norm_act.py.

#include "maps.h"

constexpr Count BLOCK = 16384;  // numbers whose sums are of float; blocks are added up in double

// As torch's clamp and its gradient: NaN stays NaN, and at the limits nothing passes.
INLINE float clamp(float value, float ceiling) {
    value = value < 0 ? 0 : value;
    return value > ceiling ? ceiling : value;
}

INLINE float passed(float grad, float value, float ceiling) { return value <= 0 || value >= ceiling ? 0 : grad; }

// The layer: y = clamp(x * scale + shift), by channel.
struct Layer {
    Count channels;
    const float *scale, *shift;
    float ceiling;
};

// The four passes, over some rows each.

template <class T>
FOR_EVERY_CPU void add_moments(const T* x, Count rows, Count channels, const float* __restrict about,
                               float* __restrict sum, float* __restrict squares) {
    for (; rows > 0; --rows, x += channels)
        for (Count c = 0; c < channels; ++c) {
            const float distance = load(x + c) - about[c];
            sum[c] += distance;
            squares[c] += distance * distance;
        }
}

template <class T>
FOR_EVERY_CPU void activate(const T* __restrict x, T* __restrict y, Count rows, Layer layer) {
    for (; rows > 0; --rows, x += layer.channels, y += layer.channels)
        for (Count c = 0; c < layer.channels; ++c)
            store(y + c, clamp(load(x + c) * layer.scale[c] + layer.shift[c], layer.ceiling));
}

template <class T>
FOR_EVERY_CPU void add_gradients(const T* x, const T* grad, Count rows, Layer layer, const float* __restrict mean,
                                 float* __restrict sum, float* __restrict products) {
    for (; rows > 0; --rows, x += layer.channels, grad += layer.channels)
        for (Count c = 0; c < layer.channels; ++c) {
            const float value = load(x + c);
            const float g = passed(load(grad + c), value * layer.scale[c] + layer.shift[c], layer.ceiling);
            sum[c] += g;
            products[c] += g * (value - mean[c]);
        }
}

template <class T>
FOR_EVERY_CPU void differentiate(const T* __restrict x, const T* __restrict grad, T* __restrict grad_x, Count rows,
                                 Layer layer, const float* __restrict slope, const float* __restrict offset) {
    for (; rows > 0; --rows, x += layer.channels, grad += layer.channels, grad_x += layer.channels)
        for (Count c = 0; c < layer.channels; ++c) {
            const float value = load(x + c);
            const float g = passed(load(grad + c), value * layer.scale[c] + layer.shift[c], layer.ceiling);
            store(grad_x + c, g * layer.scale[c] + (value * slope[c] + offset[c]));
        }
}

// body(first number, rows) for every block of rows.
template <class Body>
void over_blocks(Count rows, Count channels, int threads, Body body) {
    const Count high = (BLOCK + channels - 1) / channels, blocks = (rows + high - 1) / high;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (Count i = 0; i < blocks; ++i) body(i * high * channels, std::min(high, rows - i * high));
}

// What body(first number, rows, two sums by channel) adds up.
template <class Body>
std::vector<double> sums_over_blocks(Count rows, Count channels, int threads, Body body) {
    const Count high = (BLOCK + channels - 1) / channels, blocks = (rows + high - 1) / high, each = 2 * channels;
    std::vector<double> parts(threads * each, 0.0);
    std::vector<float> of_blocks(threads * (each + APART));
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int thread = 0; thread < threads; ++thread) {
        float* sums = of_blocks.data() + thread * (each + APART);
        for (Count i = blocks * thread / threads; i < blocks * (thread + 1) / threads; ++i) {
            std::fill(sums, sums + each, 0.0f);
            body(i * high * channels, std::min(high, rows - i * high), sums, sums + channels);
            for (Count c = 0; c < each; ++c) parts[thread * each + c] += sums[c];
        }
    }
    for (Count i = each; i < Count(parts.size()); ++i) parts[i % each] += parts[i];
    parts.resize(each);
    return parts;
}

// statistics: mean, biased variance, scale and shift, each of `channels` numbers; written here, read on the way back.

template <class T>
void forward(const T* x, T* y, Count rows, Count channels, const float* weight, const float* bias, double eps,
             float ceiling, float* statistics, int threads) {
    float *mean = statistics, *variance = mean + channels, *scale = variance + channels, *shift = scale + channels;
    std::vector<float> about(channels);  // near the mean, so that the sum of squares keeps its digits
    for (Count c = 0; c < channels; ++c) about[c] = load(x + c);
    const auto sums = sums_over_blocks(rows, channels, threads, [&](Count at, Count some, float* sum, float* squares) {
        add_moments(x + at, some, channels, about.data(), sum, squares);
    });
    for (Count c = 0; c < channels; ++c) {
        const double off = sums[c] / rows, spread = std::max(sums[channels + c] / rows - off * off, 0.0);
        const double factor = weight[c] / std::sqrt(spread + eps);
        mean[c] = float(about[c] + off), variance[c] = float(spread);
        scale[c] = float(factor), shift[c] = float(bias[c] - (about[c] + off) * factor);
    }
    const Layer layer{channels, scale, shift, ceiling};
    over_blocks(rows, channels, threads, [&](Count at, Count some) { activate(x + at, y + at, some, layer); });
}

template <class T>
void backward(const T* x, const T* grad, T* grad_x, Count rows, Count channels, double eps, float ceiling,
              const float* statistics, float* grad_weight, float* grad_bias, int threads) {
    const float *mean = statistics, *variance = mean + channels, *scale = variance + channels;
    const Layer layer{channels, scale, scale + channels, ceiling};
    const auto sums = sums_over_blocks(rows, channels, threads, [&](Count at, Count some, float* sum, float* products) {
        add_gradients(x + at, grad + at, some, layer, mean, sum, products);
    });
    std::vector<float> slope(channels), offset(channels);
    for (Count c = 0; c < channels; ++c) {
        const double square = variance[c] + eps, factor = -double(scale[c]) * sums[channels + c] / square / rows;
        grad_bias[c] = float(sums[c]), grad_weight[c] = float(sums[channels + c] / std::sqrt(square));
        slope[c] = float(factor), offset[c] = float(-double(scale[c]) * sums[c] / rows - factor * mean[c]);
    }
    over_blocks(rows, channels, threads, [&](Count at, Count some) {
        differentiate(x + at, grad + at, grad_x + at, some, layer, slope.data(), offset.data());
    });
}

#define EXPORT(T)                                                                                                    \
    extern "C" int norm_act_forward_##T(const T* x, T* y, Count rows, Count channels, const float* weight,           \
                                        const float* bias, double eps, float ceiling, float* statistics,            \
                                        int threads) {                                                               \
        return status_of([&] {                                                                                       \
            forward(x, y, rows, channels, weight, bias, eps, ceiling, statistics, threads_here(threads));            \
        });                                                                                                          \
    }                                                                                                                \
    extern "C" int norm_act_backward_##T(const T* x, const T* grad, T* grad_x, Count rows, Count channels,           \
                                         double eps, float ceiling, const float* statistics, float* grad_weight,     \
                                         float* grad_bias, int threads) {                                            \
        return status_of([&] {                                                                                       \
            backward(x, grad, grad_x, rows, channels, eps, ceiling, statistics, grad_weight, grad_bias,              \
                     threads_here(threads));                                                                         \
        });                                                                                                          \
    }                                                                                                                \
    TELL(norm_act_forward_##T)                                                                                       \
    TELL(norm_act_backward_##T)

EXPORT(float)
EXPORT(bfloat16)
