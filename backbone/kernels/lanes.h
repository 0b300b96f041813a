// Vectors of channels, and rows of maps that they are read from.

#pragma once

#include "maps.h"

// N channels, which are computed at once.
template <int N>
struct Vectors {
    typedef float Floats __attribute__((vector_size(N * sizeof(float))));
    typedef std::uint32_t Words __attribute__((vector_size(N * sizeof(std::uint32_t))));
    typedef bfloat16 Halves __attribute__((vector_size(N * sizeof(bfloat16))));
};
template <int N>
using Lanes = typename Vectors<N>::Floats;

template <int N>
INLINE Lanes<N> load_lanes(const float* from) {
    Lanes<N> lanes;
    std::memcpy(&lanes, from, sizeof lanes);
    return lanes;
}

template <int N>
INLINE Lanes<N> load_lanes(const bfloat16* from) {
    typename Vectors<N>::Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    return Lanes<N>(__builtin_convertvector(halves, typename Vectors<N>::Words) << 16);
}

template <int N>
INLINE void store_lanes(float* to, Lanes<N> lanes) {
    std::memcpy(to, &lanes, sizeof lanes);
}

template <int N>
INLINE void store_lanes(bfloat16* to, Lanes<N> lanes) {
    typedef typename Vectors<N>::Words Words;
    const Words bits = Words(lanes);
    const Words rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const auto halves = __builtin_convertvector(rounded, typename Vectors<N>::Halves);
    std::memcpy(to, &halves, sizeof halves);
}

// Some channels of a row of a picture's map, or zeros where the map has none.
template <class T>
struct Row {
    const T* first;
    Count step;  // from column to column
};

template <class T>
INLINE Row<T> row_of(const T* map, Count row, Count height, Count width, Count channels) {
    static const T zeros[16] = {};
    return row >= 0 && row < height ? Row<T>{map + row * width * channels, channels} : Row<T>{zeros, 0};
}

template <int N, class T>
INLINE Lanes<N> load_lanes(const Row<T>& row, Count column) {
    return load_lanes<N>(row.first + column * row.step);
}
