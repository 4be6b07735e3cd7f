// Softmax attention over tiles of keys with a running maximum and sum (Rabe & Staats, arXiv 2112.05682;
// FlashAttention-2, arXiv 2307.08691). A row sees one interval of keys; tiles outside the hull of a query tile's
// intervals are never read, and only tiles that an interval cuts are masked.
#pragma once

#include "row_attention.cuh"

namespace temport {

// Copy `rows` rows of `width` elements to shared memory, rows `stride` apart there; zeros beyond the tensor.
template <class T, int Threads, int Columns>
DEVICE void load_rows(T* to, int stride, const T* from, int64_t row_stride, int first, int rows, int end, int width,
                      bool vectorised) {
    constexpr int kPerCopy = 16 / int(sizeof(T));
    if (vectorised) {
        for (int i = int(threadIdx.x); i < rows * (Columns / kPerCopy); i += Threads) {
            int row = i / (Columns / kPerCopy), column = i % (Columns / kPerCopy) * kPerCopy;
            bool present = first + row < end && column < width;
            copy_async(to + row * stride + column, from + (present ? (first + row) * row_stride + column : 0), present);
        }
    } else {
        for (int i = int(threadIdx.x); i < rows * Columns; i += Threads) {
            int row = i / Columns, column = i % Columns;
            bool present = first + row < end && column < width;
            if (present) to[row * stride + column] = from[(first + row) * row_stride + column];
            else assign(to[row * stride + column], 0.0f);
        }
    }
    copies_commit();
}

// Half types: D (padded head dim) in {32, 64, 128, 256}; each warp owns 16 rows; products on tensor cores.
template <class T, int D, int Warps, int Keys>
struct HalfTile {
    static constexpr int kThreads = 32 * Warps, kRows = 16 * Warps, kStride = D + 8;  // +8: no bank conflicts
    static constexpr size_t kShared = sizeof(T) * size_t(kStride) * (kRows + 2 * Keys);
};

template <class T, int D, int Warps, int Keys>
DEVICE void half_tile(const Attention& p) {
    using Tile = HalfTile<T, D, Warps, Keys>;
    constexpr int kStride = Tile::kStride, kKeyTiles = Keys / 8, kDimTiles = D / 8;
    T* queries = reinterpret_cast<T*>(shared_memory());
    T* keys = queries + Tile::kRows * kStride;
    T* values = keys + Keys * kStride;

    const int batch = int(blockIdx.z), head = int(blockIdx.y), kv_head = head / (p.heads / p.kv_heads);
    const int first_row = (int(gridDim.x) - 1 - int(blockIdx.x)) * Tile::kRows;  // long causal rows start first
    const int last_row = min(first_row + Tile::kRows, p.query_length) - 1;
    const T* q = static_cast<const T*>(p.q) + batch * p.q_batch + head * p.head_dim;
    const T* k = static_cast<const T*>(p.k) + batch * p.k_batch + kv_head * p.head_dim;
    const T* v = static_cast<const T*>(p.v) + batch * p.v_batch + kv_head * p.value_dim;
    const int begin = p.first_key(first_row), end = p.last_key(last_row) + 1;

    const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
    const int row0 = first_row + warp * 16 + lane / 4;  // this thread's rows: row0 and row0 + 8
    float output[kDimTiles][4] = {};
    float highest[2] = {minus_infinity(), minus_infinity()}, total[2] = {0, 0};
    const Scale scale(p.scale);

    load_rows<T, Tile::kThreads, D>(queries, kStride, q, p.q_row, first_row, Tile::kRows, p.query_length,
                                    p.head_dim, p.vectorised);
    if (begin < end)
        load_rows<T, Tile::kThreads, D>(keys, kStride, k, p.k_row, begin, Keys, end, p.head_dim, p.vectorised);

    for (int key = begin; key < end; key += Keys) {
        copies_wait();
        block_barrier();  // keys are here, and nobody reads the old values any more
        load_rows<T, Tile::kThreads, D>(values, kStride, v, p.v_row, key, Keys, end, p.value_dim, p.vectorised);

        float scores[kKeyTiles][4] = {};
#pragma unroll
        for (int d = 0; d < D; d += 16) {
            uint32_t a[4];
            load_tiles<false>(a, queries + (warp * 16 + (lane & 15)) * kStride + d + (lane >> 4) * 8);
#pragma unroll
            for (int n = 0; n < kKeyTiles; n += 2) {
                uint32_t b[4];
                const int row = n * 8 + (lane & 7) + (lane >> 4) * 8;
                load_tiles<false>(b, keys + row * kStride + d + ((lane >> 3) & 1) * 8);
                mma<T>(scores[n], a, b[0], b[1]);
                mma<T>(scores[n + 1], a, b[2], b[3]);
            }
        }

        if (scale.products != 1)
            for (int n = 0; n < kKeyTiles; ++n)
                for (int e = 0; e < 4; ++e) scores[n][e] *= scale.products;

        const bool whole = p.first_key(last_row) <= key && key + Keys - 1 <= p.last_key(first_row) && !p.key_mask;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = row0 + 8 * half;
            float top = highest[half];
#pragma unroll
            for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
                for (int e = 2 * half; e < 2 * half + 2; ++e) {
                    const int at = key + n * 8 + 2 * (lane & 3) + (e & 1);
                    const bool seen = whole || (row < p.query_length && visible(p, batch, row, at));
                    scores[n][e] = seen ? scores[n][e] : minus_infinity();
                    top = fmaxf(top, scores[n][e]);
                }
            top = fmaxf(top, shuffle_xor(top, 1));  // the 4 lanes of a row
            top = fmaxf(top, shuffle_xor(top, 2));
            const float shift = top == minus_infinity() ? 0.0f : top;  // a row that has seen no key yet
            const float shrink = exp2_fast((highest[half] - shift) * scale.factor);
            highest[half] = top;
            float sum = 0;
#pragma unroll
            for (int n = 0; n < kKeyTiles; ++n)
#pragma unroll
                for (int e = 2 * half; e < 2 * half + 2; ++e) {
                    scores[n][e] = exp2_fast((scores[n][e] - shift) * scale.factor);
                    sum += scores[n][e];
                }
            total[half] = total[half] * shrink + sum;
#pragma unroll
            for (int n = 0; n < kDimTiles; ++n) {
                output[n][2 * half] *= shrink;
                output[n][2 * half + 1] *= shrink;
            }
        }

        copies_wait();
        block_barrier();  // values are here, and nobody reads the old keys any more
        if (key + Keys < end)
            load_rows<T, Tile::kThreads, D>(keys, kStride, k, p.k_row, key + Keys, Keys, end, p.head_dim, p.vectorised);
#pragma unroll
        for (int n = 0; n < kKeyTiles; n += 2) {
            const uint32_t a[4] = {pack2<T>(scores[n][0], scores[n][1]), pack2<T>(scores[n][2], scores[n][3]),
                                   pack2<T>(scores[n + 1][0], scores[n + 1][1]),
                                   pack2<T>(scores[n + 1][2], scores[n + 1][3])};
#pragma unroll
            for (int d = 0; d < kDimTiles; d += 2) {
                uint32_t b[4];
                load_tiles<true>(b, values + (n * 8 + (lane & 15)) * kStride + d * 8 + (lane >> 4) * 8);
                mma<T>(output[d], a, b[0], b[1]);
                mma<T>(output[d + 1], a, b[2], b[3]);
            }
        }
    }

    copies_wait();  // a tile without keys has loaded its queries for nothing
    uint32_t undone = 0;  // bit r: row r of the warp
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float sum = total[half] + shuffle_xor(total[half], 1);
        sum += shuffle_xor(sum, 2);
        const int row = row0 + 8 * half;
        bool done = sum > 0;
        for (int n = 0; n < kDimTiles; ++n) done = done && finite(output[n][2 * half]) && finite(output[n][2 * half + 1]);
        const uint32_t votes = warp_votes(!done && row < p.query_length);
        for (int r = 0; r < 8; ++r) undone |= uint32_t((votes >> (4 * r) & 15) != 0) << (8 * half + r);
        if (row >= p.query_length || (undone >> (8 * half + lane / 4) & 1)) continue;
        const float inverse = 1.0f / sum;
        const int64_t at = ((int64_t(batch) * p.query_length + row) * p.heads + head) * p.value_dim;
        for (int n = 0; n < kDimTiles; ++n)
            for (int e = 0; e < 2; ++e) {
                const int d = n * 8 + 2 * (lane & 3) + e;
                if (d < p.value_dim)
                    assign(static_cast<T*>(p.y)[at + d],
                           output[n][2 * half + e] * inverse + (p.addend ? p.addend[at + d] : 0.0f));
            }
    }
#pragma unroll 1
    for (int r = 0; undone >> r; ++r)
        if (undone >> r & 1) attend_row<T>(p, batch, head, first_row + warp * 16 + r);
}

template <class T, int D, int Warps, int Keys>
KERNEL(32 * Warps) half_attention(const Attention p) {
    half_tile<T, D, Warps, Keys>(p);
}

// float32: no tensor core computes it whole, so 16 x 16 threads each own a small square of scores.
template <int D, int Side>
struct FloatTile {
    static constexpr int kThreads = 256, kEach = Side / 16, kStride = D + 4, kScoreStride = Side + 4;
    static constexpr size_t kShared = 4 * size_t(Side) * (2 * kStride + kScoreStride);
};

template <int D, int Side>
DEVICE void float_tile(const Attention& p) {
    using Tile = FloatTile<D, Side>;
    constexpr int kEach = Tile::kEach, kStride = Tile::kStride, kScoreStride = Tile::kScoreStride, kColumns = D / 16;
    float* queries = reinterpret_cast<float*>(shared_memory());
    float* tile = queries + Side * kStride;  // keys, then values
    float* weights = tile + Side * kStride;

    const int batch = int(blockIdx.z), head = int(blockIdx.y), kv_head = head / (p.heads / p.kv_heads);
    const int first_row = (int(gridDim.x) - 1 - int(blockIdx.x)) * Side;
    const int last_row = min(first_row + Side, p.query_length) - 1;
    const float* q = static_cast<const float*>(p.q) + batch * p.q_batch + head * p.head_dim;
    const float* k = static_cast<const float*>(p.k) + batch * p.k_batch + kv_head * p.head_dim;
    const float* v = static_cast<const float*>(p.v) + batch * p.v_batch + kv_head * p.value_dim;
    const int begin = p.first_key(first_row), end = p.last_key(last_row) + 1;
    const int ty = int(threadIdx.x) / 16, tx = int(threadIdx.x) % 16;

    const Scale scale(p.scale);
    float output[kEach][kColumns] = {}, highest[kEach], total[kEach] = {};
    for (int i = 0; i < kEach; ++i) highest[i] = minus_infinity();
    load_rows<float, 256, D>(queries, kStride, q, p.q_row, first_row, Side, p.query_length, p.head_dim, p.vectorised);

    for (int key = begin; key < end; key += Side) {
        block_barrier();  // nobody reads the old values any more
        load_rows<float, 256, D>(tile, kStride, k, p.k_row, key, Side, end, p.head_dim, p.vectorised);
        copies_wait();
        block_barrier();
        float scores[kEach][kEach] = {};
        for (int d = 0; d < p.head_dim; ++d) {
            float a[kEach], b[kEach];
#pragma unroll
            for (int i = 0; i < kEach; ++i) {
                a[i] = queries[(ty + 16 * i) * kStride + d];
                b[i] = tile[(tx + 16 * i) * kStride + d];
            }
#pragma unroll
            for (int i = 0; i < kEach; ++i)
#pragma unroll
                for (int j = 0; j < kEach; ++j) scores[i][j] += a[i] * b[j];
        }
        const bool whole = p.first_key(last_row) <= key && key + Side - 1 <= p.last_key(first_row) && !p.key_mask;
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
            const int row = first_row + ty + 16 * i;
            float top = highest[i];
            for (int j = 0; j < kEach; ++j) {
                const bool seen = whole || (row < p.query_length && visible(p, batch, row, key + tx + 16 * j));
                if (scale.products != 1) scores[i][j] *= scale.products;
                scores[i][j] = seen ? scores[i][j] : minus_infinity();
                top = fmaxf(top, scores[i][j]);
            }
            for (int lanes = 8; lanes > 0; lanes /= 2) top = fmaxf(top, shuffle_xor(top, lanes));  // 16 lanes of a row
            const float shift = top == minus_infinity() ? 0.0f : top;
            const float shrink = exp2_fast((highest[i] - shift) * scale.factor);
            highest[i] = top;
            float sum = 0;
            for (int j = 0; j < kEach; ++j) {
                const float weight = exp2_fast((scores[i][j] - shift) * scale.factor);
                weights[(ty + 16 * i) * kScoreStride + tx + 16 * j] = weight;
                sum += weight;
            }
            total[i] = total[i] * shrink + sum;
            for (int c = 0; c < kColumns; ++c) output[i][c] *= shrink;
        }
        block_barrier();  // nobody reads the keys any more, and all weights are written
        load_rows<float, 256, D>(tile, kStride, v, p.v_row, key, Side, end, p.value_dim, p.vectorised);
        copies_wait();
        block_barrier();
        const int count = min(Side, end - key);
        for (int n = 0; n < count; ++n) {
            float a[kEach];
#pragma unroll
            for (int i = 0; i < kEach; ++i) a[i] = weights[(ty + 16 * i) * kScoreStride + n];
#pragma unroll
            for (int c = 0; c < kColumns; ++c) {
                const float b = tile[n * kStride + tx + 16 * c];
#pragma unroll
                for (int i = 0; i < kEach; ++i) output[i][c] += a[i] * b;
            }
        }
    }

    copies_wait();
    uint32_t undone = 0;  // bit 2 * i + r: row i of the first (r = 0) or the second half of the warp
    for (int i = 0; i < kEach; ++i) {
        float sum = total[i];
        for (int lanes = 8; lanes > 0; lanes /= 2) sum += shuffle_xor(sum, lanes);
        const int row = first_row + ty + 16 * i;
        bool done = sum > 0;
        for (int c = 0; c < kColumns; ++c) done = done && finite(output[i][c]);
        const uint32_t votes = warp_votes(!done && row < p.query_length);
        for (int r = 0; r < 2; ++r) undone |= uint32_t((votes >> (16 * r) & 0xffff) != 0) << (2 * i + r);
        if (row >= p.query_length || (undone >> (2 * i + ty % 2) & 1)) continue;
        const float inverse = 1.0f / sum;
        const int64_t at = ((int64_t(batch) * p.query_length + row) * p.heads + head) * p.value_dim;
        for (int c = 0; c < kColumns; ++c) {
            const int d = tx + 16 * c;
            if (d < p.value_dim)
                static_cast<float*>(p.y)[at + d] = output[i][c] * inverse + (p.addend ? p.addend[at + d] : 0.0f);
        }
    }
#pragma unroll 1
    for (int r = 0; undone >> r; ++r)
        if (undone >> r & 1) attend_row<float>(p, batch, head, first_row + ty / 2 * 2 + r % 2 + r / 2 * 16);
}

template <int D, int Side>
KERNEL(256) float_attention(const Attention p) {
    float_tile<D, Side>(p);
}

}  // namespace temport
