// What the attributes and shapes of a plugin's node make of a call of api.h, and whether they fit each other: an engine's
// shapes are known when it runs, and TensorRT asks nobody but the plugin. Without TensorRT's headers, so that it is tested
// without them.
#pragma once

#include <cmath>
#include <string>

#include "api.h"

namespace temport {

// The ONNX attributes of both attention ops; each op reads its own.
struct PluginAttributes {
    int32_t num_heads = 1, kv_num_heads = 1, causal = 0, window = 0, query_offset = -1, block_size = 1;
    float scale = 1, eps = 1e-8f;
    std::string feature_map = "identity", normalizer = "key_sum";

    bool sound() const {
        constexpr int32_t most = 1 << 20;  // heads; sums of heads cannot overflow then
        return num_heads >= 1 && num_heads <= most && kv_num_heads >= 1 && num_heads % kv_num_heads == 0 &&
               (causal == 0 || causal == 1) && window >= 0 && query_offset >= -1 && block_size >= 1 &&
               std::isfinite(scale) && std::isfinite(eps) && eps >= 1e-30f &&
               (feature_map == "identity" || feature_map == "elu1") && (normalizer == "key_sum" || normalizer == "none");
    }
};

// Inputs in order: Q, or Q K V; then key_mask where the count is even.
struct PluginInputs {
    bool packed;
    int mask;  // index of key_mask, -1 where absent
    explicit PluginInputs(int count) : packed(count <= 2), mask(count % 2 == 0 ? count - 1 : -1) {}
};

// The sizes of a call; `fit` says whether the shapes fit each other and the heads, and nothing else means anything if not.
// `dims(i)` is the shape of input i, with nbDims and d as TensorRT's Dims.
struct PluginSizes {
    bool fit = false;
    int64_t batch = 0, query_length = 0, key_length = 0;
    int32_t head_dim = 0, value_dim = 0;

    template <class DimsOf>
    PluginSizes(int count, int64_t heads, int64_t kv_heads, const DimsOf& dims) {
        const PluginInputs given(count);
        if (count < 1 || count > 4 || heads < 1 || kv_heads < 1 || dims(0).nbDims != 3) return;
        const auto q = dims(0);
        batch = q.d[0];
        query_length = key_length = q.d[1];
        if (given.packed) {
            if (!divide(q.d[2], heads + 2 * kv_heads, head_dim)) return;
            value_dim = head_dim;
        } else {
            const auto k = dims(1), v = dims(2);
            int32_t key_dim = 0;
            if (k.nbDims != 3 || v.nbDims != 3 || !divide(q.d[2], heads, head_dim) || !divide(k.d[2], kv_heads, key_dim) ||
                !divide(v.d[2], kv_heads, value_dim) || key_dim != head_dim)
                return;
            key_length = k.d[1];
            if (k.d[0] != batch || v.d[0] != batch || v.d[1] != key_length) return;
        }
        if (given.mask >= 0) {
            const auto mask = dims(given.mask);
            if (mask.nbDims != 2 || mask.d[0] != batch || mask.d[1] != key_length) return;
        }
        fit = batch >= 0 && query_length >= 0 && key_length >= 0;
    }

private:
    static bool divide(int64_t width, int64_t heads, int32_t& dim) {
        if (heads < 1 || width < 1 || width % heads != 0 || width / heads > INT32_MAX) return false;
        dim = int32_t(width / heads);
        return true;
    }
};

}  // namespace temport
