// TensorRT plugins of both attention ops (IPluginV3, TensorRT 10.0 and newer, and TensorRT-RTX), calling api.h.
// The library needs no symbol of libnvinfer: TensorRT loads it, asks getCreators, and calls through the interfaces.
#include <NvInferRuntime.h>

#include <cstring>
#include <string>
#include <vector>

#include "plugin_sizes.h"

using namespace nvinfer1;

namespace {

constexpr char kVersion[] = "1", kNamespace[] = "temport";

using Attributes = temport::PluginAttributes;
using Inputs = temport::PluginInputs;
using Sizes = temport::PluginSizes;

enum class Op { kOnlineSoftmax, kBlockLinear };

const char* op_name(Op op) { return op == Op::kOnlineSoftmax ? "OnlineSoftmaxAttention" : "BlockLinearAttention"; }

// Views of `a` as TensorRT's fields; they live as long as `a`.
std::vector<PluginField> fields(Op op, const Attributes& a) {
    std::vector<PluginField> list{{"num_heads", &a.num_heads, PluginFieldType::kINT32, 1},
                                  {"scale", &a.scale, PluginFieldType::kFLOAT32, 1}};
    if (op == Op::kOnlineSoftmax) {
        list.push_back({"kv_num_heads", &a.kv_num_heads, PluginFieldType::kINT32, 1});
        list.push_back({"causal", &a.causal, PluginFieldType::kINT32, 1});
        list.push_back({"window", &a.window, PluginFieldType::kINT32, 1});
        list.push_back({"query_offset", &a.query_offset, PluginFieldType::kINT32, 1});
    } else {
        list.push_back({"block_size", &a.block_size, PluginFieldType::kINT32, 1});
        list.push_back({"eps", &a.eps, PluginFieldType::kFLOAT32, 1});
        list.push_back({"feature_map", a.feature_map.data(), PluginFieldType::kCHAR, int32_t(a.feature_map.size())});
        list.push_back({"normalizer", a.normalizer.data(), PluginFieldType::kCHAR, int32_t(a.normalizer.size())});
    }
    return list;
}

// False where a field has another type than its attribute, or a value that the op does not have.
bool read(const PluginFieldCollection& collection, Attributes& a) {
    bool typed = true;
    for (int32_t i = 0; i < collection.nbFields; ++i) {
        const PluginField& field = collection.fields[i];
        if (!field.name || !field.data || field.length < 1) continue;
        const std::string name = field.name;
        const auto is = [&](const char* attribute, PluginFieldType type) {
            return name == attribute && (typed &= field.type == type);
        };
        const auto integer = [&](const char* attribute, int32_t& to) {
            if (is(attribute, PluginFieldType::kINT32)) to = *static_cast<const int32_t*>(field.data);
        };
        const auto number = [&](const char* attribute, float& to) {
            if (is(attribute, PluginFieldType::kFLOAT32)) to = *static_cast<const float*>(field.data);
        };
        const auto text = [&](const char* attribute, std::string& to) {
            if (!is(attribute, PluginFieldType::kCHAR)) return;
            to.assign(static_cast<const char*>(field.data), size_t(field.length));
            to.resize(std::strlen(to.c_str()));  // the parser may count a terminating 0
        };
        integer("num_heads", a.num_heads);
        integer("kv_num_heads", a.kv_num_heads);
        integer("causal", a.causal);
        integer("window", a.window);
        integer("query_offset", a.query_offset);
        integer("block_size", a.block_size);
        number("scale", a.scale);
        number("eps", a.eps);
        text("feature_map", a.feature_map);
        text("normalizer", a.normalizer);
    }
    return typed && a.sound();
}

int32_t element_type(DataType type) {
    return type == DataType::kFLOAT ? TEMPORT_FLOAT32 : type == DataType::kHALF ? TEMPORT_FLOAT16 : TEMPORT_BFLOAT16;
}

class Plugin final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime {
public:
    Plugin(Op op, Attributes attributes) : op_(op), a_(std::move(attributes)) {}

    IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
        if (type == PluginCapabilityType::kCORE) return static_cast<IPluginV3OneCore*>(this);
        if (type == PluginCapabilityType::kBUILD) return static_cast<IPluginV3OneBuild*>(this);
        return static_cast<IPluginV3OneRuntime*>(this);
    }
    IPluginV3* clone() noexcept override { return new Plugin(op_, a_); }
    const char* getPluginName() const noexcept override { return op_name(op_); }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return kNamespace; }

    int32_t configurePlugin(const DynamicPluginTensorDesc*, int32_t, const DynamicPluginTensorDesc*,
                            int32_t) noexcept override {
        return 0;
    }
    int32_t getNbOutputs() const noexcept override { return 1; }
    int32_t getOutputDataTypes(DataType* types, int32_t, const DataType* inputs, int32_t) const noexcept override {
        types[0] = inputs[0];
        return 0;
    }

    int32_t getOutputShapes(const DimsExprs* in, int32_t count, const DimsExprs*, int32_t, DimsExprs* out, int32_t,
                            IExprBuilder& build) noexcept override {
        const Inputs inputs(count);
        const int32_t kv_heads = op_ == Op::kOnlineSoftmax ? a_.kv_num_heads : a_.num_heads;
        const int32_t heads = inputs.packed ? a_.num_heads + 2 * kv_heads : kv_heads;
        if (in[0].nbDims != 3 || (!inputs.packed && in[2].nbDims != 3)) return -1;
        const IDimensionExpr* width = inputs.packed ? in[0].d[2] : in[2].d[2];
        const IDimensionExpr* dim = build.operation(DimensionOperation::kFLOOR_DIV, *width, *build.constant(heads));
        out[0].nbDims = 3;
        out[0].d[0] = in[0].d[0];
        out[0].d[1] = in[0].d[1];
        out[0].d[2] = build.operation(DimensionOperation::kPROD, *dim, *build.constant(a_.num_heads));
        return 0;
    }

    bool supportsFormatCombination(int32_t at, const DynamicPluginTensorDesc* all, int32_t inputs,
                                   int32_t) noexcept override {
        if (all[at].desc.format != PluginFormat::kLINEAR) return false;
        const DataType type = all[at].desc.type;
        if (at == Inputs(inputs).mask) return op_ == Op::kOnlineSoftmax && type == DataType::kBOOL;
        if (at > 0) return type == all[0].desc.type;
        return type == DataType::kFLOAT || type == DataType::kHALF || type == DataType::kBF16;
    }

    size_t getWorkspaceSize(const DynamicPluginTensorDesc* in, int32_t count, const DynamicPluginTensorDesc*,
                            int32_t) const noexcept override {
        if (op_ != Op::kBlockLinear) return 0;
        temport_block_linear call{};
        return block_linear([&](int i) { return in[i].max; }, in[0].desc.type, count, call)
                   ? temport_cuda_block_linear_workspace(&call)
                   : 0;
    }

    int32_t onShapeChange(const PluginTensorDesc*, int32_t inputs, const PluginTensorDesc*, int32_t) noexcept override {
        count_ = inputs;
        return 0;
    }

    int32_t enqueue(const PluginTensorDesc* in, const PluginTensorDesc*, const void* const* inputs, void* const* outputs,
                    void* workspace, cudaStream_t stream) noexcept override {
        const Inputs given(count_);
        const auto dims = [&](int i) { return in[i].dims; };
        if (op_ == Op::kBlockLinear) {
            temport_block_linear call{};
            if (!block_linear(dims, in[0].type, count_, call)) return kDoNotFit;
            call.q = inputs[0];
            call.k = given.packed ? nullptr : inputs[1];
            call.v = given.packed ? nullptr : inputs[2];
            call.y = outputs[0];
            call.workspace = workspace;
            return temport_cuda_block_linear(&call, stream);
        }
        const Sizes sizes(count_, a_.num_heads, a_.kv_num_heads, dims);
        if (!sizes.fit) return kDoNotFit;
        temport_online_softmax call{};
        call.q = inputs[0];
        call.k = given.packed ? nullptr : inputs[1];
        call.v = given.packed ? nullptr : inputs[2];
        call.key_mask = given.mask < 0 ? nullptr : static_cast<const uint8_t*>(inputs[given.mask]);
        call.y = outputs[0];
        call.batch = sizes.batch;
        call.query_length = sizes.query_length;
        call.key_length = sizes.key_length;
        call.element_type = element_type(in[0].type);
        call.heads = a_.num_heads;
        call.kv_heads = a_.kv_num_heads;
        call.head_dim = sizes.head_dim;
        call.value_dim = sizes.value_dim;
        call.causal = a_.causal;
        call.window = a_.window;
        call.query_offset = a_.query_offset;
        call.scale = a_.scale;
        return temport_cuda_online_softmax(&call, stream);
    }

    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }

    const PluginFieldCollection* getFieldsToSerialize() noexcept override {
        fields_ = fields(op_, a_);
        collection_ = {int32_t(fields_.size()), fields_.data()};
        return &collection_;
    }

private:
    static constexpr int32_t kDoNotFit = -1;  // TensorRT says only that the plugin failed, and names the layer

    // False where the shapes do not fit each other; blocks are cut from queries and keys at the same rows.
    template <class DimsOf>
    bool block_linear(const DimsOf& dims, DataType type, int32_t count, temport_block_linear& call) const {
        const Sizes sizes(count, a_.num_heads, a_.num_heads, dims);
        if (!sizes.fit || sizes.query_length != sizes.key_length || count % 2 == 0) return false;
        call.batch = sizes.batch;
        call.length = sizes.query_length;
        call.element_type = element_type(type);
        call.heads = a_.num_heads;
        call.head_dim = sizes.head_dim;
        call.value_dim = sizes.value_dim;
        call.block_size = a_.block_size;
        call.scale = a_.scale;
        call.elu1 = a_.feature_map == "elu1";
        call.key_sum = a_.normalizer == "key_sum";
        call.eps = a_.eps;
        return true;
    }

    Op op_;
    Attributes a_;
    int32_t count_ = 0;
    std::vector<PluginField> fields_;
    PluginFieldCollection collection_{};
};

class Creator final : public IPluginCreatorV3One {
public:
    explicit Creator(Op op) : op_(op), fields_(fields(op, defaults_)) {
        collection_ = {int32_t(fields_.size()), fields_.data()};
    }
    IPluginV3* createPlugin(const char*, const PluginFieldCollection* given, TensorRTPhase) noexcept override {
        Attributes attributes;
        return given && read(*given, attributes) ? new Plugin(op_, std::move(attributes)) : nullptr;
    }
    const PluginFieldCollection* getFieldNames() noexcept override { return &collection_; }
    const char* getPluginName() const noexcept override { return op_name(op_); }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return kNamespace; }

private:
    Op op_;
    Attributes defaults_;
    std::vector<PluginField> fields_;
    PluginFieldCollection collection_{};
};

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT void setLoggerFinder(ILoggerFinder*) {}

EXPORT IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static Creator online_softmax(Op::kOnlineSoftmax), block_linear(Op::kBlockLinear);
    static IPluginCreatorInterface* const creators[] = {&online_softmax, &block_linear};
    count = 2;
    return creators;
}
