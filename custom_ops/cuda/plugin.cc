// TensorRT plugins of both attention ops (IPluginV3, TensorRT 10.0 and newer, and TensorRT-RTX), calling api.h.
// The library needs no symbol of libnvinfer: TensorRT loads it, asks getCreators, and calls through the interfaces.
#include <NvInferRuntime.h>

#include <cstring>
#include <string>
#include <vector>

#include "api.h"

using namespace nvinfer1;

namespace {

constexpr char kVersion[] = "1", kNamespace[] = "temport";

// The ONNX attributes of both attention ops; each op reads its own.
struct Attributes {
    int32_t num_heads = 1, kv_num_heads = 1, causal = 0, window = 0, query_offset = -1, block_size = 1;
    float scale = 1, eps = 1e-8f;
    std::string feature_map = "identity", normalizer = "key_sum";
};

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

Attributes read(const PluginFieldCollection& collection) {
    Attributes a;
    for (int32_t i = 0; i < collection.nbFields; ++i) {
        const PluginField& field = collection.fields[i];
        if (!field.data || field.length < 1) continue;
        const std::string name = field.name;
        const auto integer = [&] { return *static_cast<const int32_t*>(field.data); };
        const auto number = [&] { return *static_cast<const float*>(field.data); };
        const auto text = [&] {  // the parser may count a terminating 0
            std::string value(static_cast<const char*>(field.data), size_t(field.length));
            return std::string(value.c_str());
        };
        if (name == "num_heads") a.num_heads = integer();
        else if (name == "kv_num_heads") a.kv_num_heads = integer();
        else if (name == "causal") a.causal = integer();
        else if (name == "window") a.window = integer();
        else if (name == "query_offset") a.query_offset = integer();
        else if (name == "block_size") a.block_size = integer();
        else if (name == "scale") a.scale = number();
        else if (name == "eps") a.eps = number();
        else if (name == "feature_map") a.feature_map = text();
        else if (name == "normalizer") a.normalizer = text();
    }
    return a;
}

// Inputs in order: Q, or Q K V; then key_mask where the count is even.
struct Inputs {
    bool packed;
    int mask;  // index of key_mask, -1 where absent
    explicit Inputs(int count) : packed(count <= 2), mask(count % 2 == 0 ? count - 1 : -1) {}
};

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
        const IDimensionExpr* width = inputs.packed ? in[0].d[2] : in[2].d[2];
        const int32_t heads = inputs.packed ? a_.num_heads + 2 * kv_heads : kv_heads;
        if (in[0].nbDims != 3 || heads < 1) return -1;
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
        const temport_block_linear call = block_linear([&](int i) { return in[i].max; }, in[0].desc.type, count);
        return temport_cuda_block_linear_workspace(&call);
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
            temport_block_linear call = block_linear(dims, in[0].type, count_);
            call.q = inputs[0];
            call.k = given.packed ? nullptr : inputs[1];
            call.v = given.packed ? nullptr : inputs[2];
            call.y = outputs[0];
            call.workspace = workspace;
            return temport_cuda_block_linear(&call, stream);
        }
        temport_online_softmax call{};
        call.q = inputs[0];
        call.k = given.packed ? nullptr : inputs[1];
        call.v = given.packed ? nullptr : inputs[2];
        call.key_mask = given.mask < 0 ? nullptr : static_cast<const uint8_t*>(inputs[given.mask]);
        call.y = outputs[0];
        call.batch = in[0].dims.d[0];
        call.query_length = in[0].dims.d[1];
        call.key_length = in[given.packed ? 0 : 1].dims.d[1];
        call.element_type = element_type(in[0].type);
        call.heads = a_.num_heads;
        call.kv_heads = a_.kv_num_heads;
        const int64_t width = in[0].dims.d[2];
        call.head_dim = int32_t(width / (given.packed ? a_.num_heads + 2 * a_.kv_num_heads : a_.num_heads));
        call.value_dim = given.packed ? call.head_dim : int32_t(in[2].dims.d[2] / a_.kv_num_heads);
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
    template <class DimsOf>
    temport_block_linear block_linear(DimsOf dims, DataType type, int32_t count) const {
        const Inputs given(count);
        temport_block_linear call{};
        call.batch = dims(0).d[0];
        call.length = dims(0).d[1];
        call.element_type = element_type(type);
        call.heads = a_.num_heads;
        call.head_dim = int32_t(dims(0).d[2] / ((given.packed ? 3 : 1) * a_.num_heads));
        call.value_dim = given.packed ? call.head_dim : int32_t(dims(2).d[2] / a_.num_heads);
        call.block_size = a_.block_size;
        call.scale = a_.scale;
        call.elu1 = a_.feature_map == "elu1";
        call.key_sum = a_.normalizer == "key_sum";
        call.eps = a_.eps;
        return call;
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
        return given ? new Plugin(op_, read(*given)) : nullptr;
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
