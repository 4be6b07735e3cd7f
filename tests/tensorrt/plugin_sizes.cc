// plugin_sizes.h as a C function: shapes by input, four axes each, the first number of a shape being how many it has.
#include "plugin_sizes.h"

namespace {
struct Dims {
    int nbDims;
    int64_t d[4];
};
}  // namespace

extern "C" bool sizes_fit(int count, int64_t heads, int64_t kv_heads, const int64_t* shapes, int64_t* found) {
    const temport::PluginSizes sizes(count, heads, kv_heads, [&](int i) {
        const int64_t* shape = shapes + 5 * i;
        return Dims{int(shape[0]), {shape[1], shape[2], shape[3], shape[4]}};
    });
    const int64_t all[] = {sizes.batch, sizes.query_length, sizes.key_length, sizes.head_dim, sizes.value_dim};
    for (int i = 0; i < 5; ++i) found[i] = all[i];
    return sizes.fit;
}

extern "C" bool attributes_sound(const int32_t* integers, const float* numbers, const char* feature_map,
                                 const char* normalizer) {
    temport::PluginAttributes a;
    int32_t* const to[] = {&a.num_heads, &a.kv_num_heads, &a.causal, &a.window, &a.query_offset, &a.block_size};
    for (int i = 0; i < 6; ++i) *to[i] = integers[i];
    a.scale = numbers[0];
    a.eps = numbers[1];
    a.feature_map = feature_map;
    a.normalizer = normalizer;
    return a.sound();
}
