// An op class as the table of callbacks that ONNX Runtime wants, one table per element type.
//
// An op class has kName, kInputs, kOutputs, kOtherInput (its input of another element type), a constructor
// (const NodeInfo&, DType, const Kernels&), `void compute(const NodeCall&)`, which many threads may call at once, and
// `static ort::Status* infer_shapes(const ShapeInference&)`. Input and output 0 are always there.
#pragma once

#include <memory>
#include <new>

#include "dispatch.h"
#include "node.h"
#include "shape_inference.h"

namespace temport {

template <typename Op>
class OpEntry : public ort::CustomOp {
 public:
  OpEntry(const ort::Api& api, DType dtype, bool infers_shapes) : ort::CustomOp{}, api_(api), dtype_(dtype) {
    version = ort::kApiVersion;
    GetName = [](const CustomOp*) { return Op::kName; };
    GetExecutionProviderType = [](const CustomOp*) -> const char* { return nullptr; };  // the CPU
    GetInputType = [](const CustomOp* op, size_t i) {
      constexpr OtherInput kOther = Op::kOtherInput;
      return i >= kOther.index && i - kOther.index < kOther.count ? kOther.type : self(op).element_type();
    };
    GetInputTypeCount = [](const CustomOp*) { return Op::kInputs; };
    GetOutputType = [](const CustomOp* op, size_t) { return self(op).element_type(); };
    GetOutputTypeCount = [](const CustomOp*) -> size_t { return Op::kOutputs; };
    GetInputCharacteristic = [](const CustomOp*, size_t i) { return i == 0 ? ort::kRequired : ort::kOptional; };
    GetOutputCharacteristic = [](const CustomOp*, size_t i) { return i == 0 ? ort::kRequired : ort::kOptional; };
    GetInputMemoryType = [](const CustomOp*, size_t) { return ort::kMemTypeDefault; };
    CreateKernelV2 = create;
    KernelComputeV2 = [](void* kernel, ort::KernelContext* context) {
      Kernel& k = *static_cast<Kernel*>(kernel);
      return guarded(k.api, k.label, [&] { k.op.compute(NodeCall(k.api, context, k.label)); });
    };
    KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    if (infers_shapes)
      InferOutputShapeFn = [](const CustomOp* op, ort::ShapeInferContext* context) -> ort::Status* {
        try {
          return Op::infer_shapes(ShapeInference(self(op).api_, context));
        } catch (const SizeError&) {  // no shape is known then, and the kernel, which refuses it too, names the node
          return nullptr;
        }
      };
    GetStartVersion = [](const CustomOp*) { return 1; };
    GetEndVersion = [](const CustomOp*) { return 1; };
    GetMayInplace = [](int**, int**) -> size_t { return 0; };
    ReleaseMayInplace = [](int*, int*) {};
    GetAliasMap = [](int**, int**) -> size_t { return 0; };
    ReleaseAliasMap = [](int*, int*) {};
  }

 private:
  struct Kernel {
    Kernel(const ort::Api& a, const NodeInfo& info, DType dtype, const Kernels& kernels)
        : api(a), label(info.label()), op(info, dtype, kernels) {}
    const ort::Api& api;
    const std::string label;
    Op op;
  };

  ort::ElementType element_type() const { return ort::ElementType(dtype_); }  // DType has ONNX's values
  static const OpEntry& self(const CustomOp* op) { return *static_cast<const OpEntry*>(op); }

  static ort::Status* create(const CustomOp* op, const ort::Api* api, const ort::KernelInfo* info, void** kernel) {
    std::string label = Op::kName;
    return guarded(*api, label, [&] {
      static std::string error;
      static const Kernels* kernels = choose_kernels(error);  // once: a virtual machine takes long to name its processor
      if (kernels == nullptr) throw NodeError(error);
      const NodeInfo node(*api, info, Op::kName);
      label = node.label();
      *kernel = new Kernel(*api, node, self(op).dtype_, *kernels);
    });
  }

  template <typename F>
  static ort::Status* guarded(const ort::Api& api, const std::string& label, const F& body) {
    try {
      body();
      return nullptr;
    } catch (const NodeError& e) {
      return ort::CreateStatus::call(api, ort::kInvalidArgument, e.what());
    } catch (const SizeError& e) {
      return ort::CreateStatus::call(api, ort::kInvalidArgument, (label + ": " + e.what()).c_str());
    } catch (const std::bad_alloc&) {
      return ort::CreateStatus::call(api, ort::kFail, (label + ": there is not enough memory for it.").c_str());
    } catch (const std::exception& e) {
      return ort::CreateStatus::call(api, ort::kFail, (label + ": " + e.what()).c_str());
    }
  }

  const ort::Api& api_;
  DType dtype_;
};

// The same in float32 with rings of keys and values, inputs and outputs 1 and 2, of float16.
template <typename Op>
class HalfRingEntry : public OpEntry<Op> {
 public:
  HalfRingEntry(const ort::Api& api, DType dtype, bool infers_shapes) : OpEntry<Op>(api, dtype, infers_shapes) {
    this->GetInputType = [](const ort::CustomOp*, size_t i) {
      return is_ring(i) ? ort::kFloat16 : i == Op::kOtherInput.index ? Op::kOtherInput.type : ort::kFloat;
    };
    this->GetOutputType = [](const ort::CustomOp*, size_t i) { return is_ring(i) ? ort::kFloat16 : ort::kFloat; };
  }

 private:
  static bool is_ring(size_t i) { return i == 1 || i == 2; }
};

}  // namespace temport
