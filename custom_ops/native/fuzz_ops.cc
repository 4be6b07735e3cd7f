// Nodes as nobody would write them, through the entry points that ONNX Runtime calls: every op, element type, attribute,
// shape, optional input and output. Under sanitizers each must be refused in a sentence that names the node, or give
// outputs of the shapes that were inferred for it, every element written, twice the same.
//
// Bytes say which op, then the sizes of a node that is right, then what is spoilt of it.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "written_nodes.h"

extern "C" temport::ort::Status* RegisterCustomOps(temport::ort::SessionOptions*, const temport::ort::ApiBase*);

namespace temport {
namespace {

constexpr int64_t kMostHeld = 16384;  // elements of an input that has any

[[noreturn]] void fail(const char* what, const std::string& detail) {
  std::fprintf(stderr, "%s: %s\n", what, detail.c_str());
  std::abort();
}

void spoil_attribute(Written& n, OpAttr& attribute) {
  constexpr float kNumbers[] = {0.0f, -1.0f, __builtin_nanf(""), __builtin_inff(), -__builtin_inff(), 1e-45f, 3e38f, -3e38f};
  constexpr const char* kTexts[] = {"", "relu", "elu1", "none", "nope", "\xff\xfe", "key_sum", "\x1b[31m"};
  if (n.draw.below(8) == 0) attribute.kind = OpAttr::Kind(n.draw.below(4));
  attribute.integer = n.draw.flag() ? n.draw.hostile() : n.draw.size();
  attribute.number = n.draw.one_of(kNumbers);
  attribute.text = n.draw.one_of(kTexts);
}

void spoil_shape(Written& n, Sizes& shape) {
  if (shape.empty() || n.draw.below(8) == 0) return shape.push_back(n.draw.size());
  int64_t& size = shape[size_t(n.draw.below(shape.size()))];
  switch (n.draw.below(5)) {
    case 0: size = std::max<int64_t>(0, n.draw.hostile()); break;
    case 1: size = 0; break;
    case 2: size = std::min(size, INT64_MAX - 1) + 1; break;
    case 3: size = n.draw.size(); break;
    default: shape.pop_back();
  }
}

void spoil(Written& n) {
  for (int left = n.draw.below(4); left > 0; --left) {
    Node::Input& input = n.inputs[size_t(n.draw.below(n.inputs.size()))];
    const size_t attribute = n.attributes.empty() ? 0 : size_t(n.draw.below(n.attributes.size()));
    switch (n.draw.below(8)) {
      case 0:
      case 1: if (!n.attributes.empty()) spoil_attribute(n, n.attributes[attribute]); break;
      case 2: if (!n.attributes.empty()) n.attributes.erase(n.attributes.begin() + int64_t(attribute)); break;
      // The runtime itself refuses a node without its first input or its first output.
      case 3: input.given = &input == &n.inputs[0]; break;
      case 4: if (n.inputs.size() > 1) n.inputs.pop_back(); break;
      case 5:
        if (n.outputs.size() > 1) n.outputs[size_t(1 + n.draw.below(n.outputs.size() - 1))].wanted = false;
        break;
      default: spoil_shape(n, input.value.shape);
    }
  }
}

// Bytes for a tensor: floats of about 1, and, if `wild`, some that are not; counters; masks of any bytes.
void fill(Draw& draw, ort::Value& value, size_t count, bool wild) {
  static const std::vector<float>& floats = *[] {
    auto* made = new std::vector<float>(4 * kMostHeld);
    std::mt19937 random(1);
    for (float& x : *made) x = float(int(random() % 4001) - 2000) / 1000;
    return made;
  }();
  constexpr float kWild[] = {__builtin_nanf(""), __builtin_inff(), -__builtin_inff(), 3e38f, -3e38f, 1e-40f, 1e10f, 0.0f};
  const size_t from = size_t(draw.byte()) * 32;
  for (size_t i = 0; i < count; ++i) {
    const float x = wild && (from + i) % 7 == 0 ? kWild[i % 8] : floats[from + i];
    uint16_t halves[2];
    std::memcpy(halves, &x, sizeof x);
    switch (value.type) {
      case ort::kFloat: static_cast<float*>(value.data)[i] = x; break;
      case ort::kInt64: static_cast<int64_t*>(value.data)[i] = draw.flag() ? draw.hostile() : draw.size(); break;
      case ort::kInt8: static_cast<uint8_t*>(value.data)[i] = uint8_t(halves[0]); break;
      case ort::kInt4: static_cast<uint8_t*>(value.data)[i / 2] = uint8_t(halves[0]); break;
      case ort::kBool: static_cast<uint8_t*>(value.data)[i] = uint8_t(halves[0] % 3); break;
      // A pattern of bits as good as any, finite where the node is not wild; never that of kNeverWritten.
      case ort::kFloat16: static_cast<uint16_t*>(value.data)[i] = halves[0] & (wild ? 0xfffe : 0xbbfe); break;
      default: static_cast<uint16_t*>(value.data)[i] = halves[1];
    }
  }
}

// Gives the inputs memory; one that would need too much becomes a tensor without elements, its other sizes as they are.
void hold(Written& n, const ort::CustomOp* op) {
  const bool wild = n.draw.below(4) == 0;
  for (size_t i = 0; i < n.inputs.size(); ++i) {
    ort::Value& value = n.inputs[i].value;
    Sizes shape = value.shape;
    int64_t count = 1;
    for (size_t axis = 0; axis < shape.size(); ++axis)
      if (__builtin_mul_overflow(count, shape[axis], &count) || count > kMostHeld)
        count = shape[axis == 0 ? shape.size() - 1 : 0] = 0;
    if (!n.inputs[i].given) continue;
    ort::ElementType type = op->GetInputType(op, i);
    if (type == ort::kUndefined) type = value.type == ort::kUndefined ? ort::kFloat : value.type;
    ort::stand_in::make(value, type, shape, size_t(count));
    fill(n.draw, value, size_t(count), wild);
  }
}

// What is said of the inputs before the model runs: all, nothing, some of it, or (then the return value is false) lies.
bool declare(Written& n) {
  const int kind = n.draw.below(8);
  for (Node::Input& input : n.inputs) {
    if (!input.given) continue;
    input.declared = {input.value.type, input.value.shape, {}};
    if (kind == 1 && n.draw.flag()) input.declared.sizes.clear();  // the runtime's way to say that the rank is unknown
    for (int64_t& size : input.declared.sizes) {
      const bool unknown = (kind == 2 || kind == 3) && n.draw.flag();
      input.declared.symbols.push_back(unknown && n.draw.flag() ? "n" : "");
      if (unknown) size = -1;
      if (kind == 4 && n.draw.flag()) size = std::max<int64_t>(-1, n.draw.hostile());
    }
  }
  return kind != 4;
}

// True for success; a refusal has to be one sentence that names the node.
bool succeeded(const ort::CustomOp* op, ort::Status* status) {
  if (status == nullptr) return true;
  const std::string message = status->message, begin = op->GetName(op) + std::string(" 'fuzzed': ");
  delete status;
  if (message.compare(0, begin.size(), begin) != 0 || message.back() != '.') fail("not a refusal", message);
  return false;
}

// How many elements of these bytes hold nothing but kNeverWritten.
template <typename T>
int64_t count_never_written(const ort::Value& value, int64_t count) {
  const T* data = static_cast<const T*>(value.data);
  int64_t found = 0;
  for (int64_t i = 0; i < count; ++i) found += data[i] == T(-1);
  return found;
}

// The outputs of a run are made, written and of the shapes that were inferred. Returns their bytes.
std::vector<char> check_outputs(const Node& node, bool told_true) {
  std::vector<char> all;
  for (const Node::Output& output : node.outputs) {
    if (!output.wanted) continue;
    const ort::Value& value = output.value;
    const std::string which = "output " + std::to_string(&output - node.outputs.data());
    if (value.type == ort::kUndefined) fail("not made", which);
    int64_t count = 1;
    for (const int64_t size : value.shape) count *= size;
    const bool wide = value.type == ort::kFloat;
    if (!output.written_over &&
        (wide ? count_never_written<uint32_t>(value, count) : count_never_written<uint16_t>(value, count)) != 0)
      fail("never written", which);
    const char* bytes = static_cast<const char*>(value.data);
    all.insert(all.end(), bytes, bytes + count * (wide ? 4 : 2));
    const ort::TensorInfo& inferred = output.inferred;
    if (!told_true || inferred.type == ort::kUndefined) continue;
    bool agree = inferred.type == value.type && inferred.sizes.size() == value.shape.size();
    for (size_t axis = 0; agree && axis < value.shape.size(); ++axis)
      agree = inferred.sizes[axis] < 0 || inferred.sizes[axis] == value.shape[axis];
    if (!agree) fail("inferred otherwise", which);
  }
  return all;
}

void check(const uint8_t* data, size_t size) {
  static const std::vector<const ort::CustomOp*>& ops = *[] {
    static const ort::ApiBase base{ort::stand_in::api, [] { return "1.24.0"; }};
    if (RegisterCustomOps(nullptr, &base) != nullptr) fail("no ops", "RegisterCustomOps");
    return &ort::stand_in::registered();
  }();
  Written n;
  n.draw = {data, size};
  const ort::CustomOp* const op = ops[size_t(n.draw.below(ops.size()))];
  const Row* row = std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& r) { return !std::strcmp(r.op, op->GetName(op)); });
  if (row == std::end(kRows)) fail("no row of written_nodes.h", op->GetName(op));
  n.outputs.resize(op->GetOutputTypeCount(op));
  for (size_t i = 0; i < n.outputs.size(); ++i) n.outputs[i].type = op->GetOutputType(op, i);
  row->write(n, n.draw);
  spoil(n);
  hold(n, op);
  const bool told_true = declare(n);

  ort::ShapeInferContext known{n};
  if (op->InferOutputShapeFn(op, &known) != nullptr) fail("shape inference", "refused");
  const ort::KernelInfo info{n};
  void* kernel = nullptr;
  if (!succeeded(op, op->CreateKernelV2(op, ort::stand_in::api(ort::kApiVersion), &info, &kernel))) return;
  ort::KernelContext context{n};
  if (succeeded(op, op->KernelComputeV2(kernel, &context))) {
    const std::vector<char> once = check_outputs(n, told_true);
    // Again, in the scratch memory of the first run.
    if (n.draw.below(4) == 0 && !n.in_place &&
        (!succeeded(op, op->KernelComputeV2(kernel, &context)) || check_outputs(n, told_true) != once))
      fail("not twice the same", op->GetName(op));
  }
  op->KernelDestroy(kernel);
}

}  // namespace
}  // namespace temport

// Short traces of allocations: taking them would take a third of the time.
extern "C" const char* __asan_default_options() { return "malloc_context_size=2:quarantine_size_mb=16"; }

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  temport::check(data, size);
  return 0;
}

#ifndef TEMPORT_FUZZER
int main(int argc, char** argv) {
  const int nodes = argc > 1 ? std::atoi(argv[1]) : 50;
  std::mt19937 random(argc > 2 ? unsigned(std::atoi(argv[2])) : 0);
  for (int i = 0; i < nodes; ++i) {
    uint8_t bytes[96];
    for (uint8_t& b : bytes) b = uint8_t(random());
    temport::check(bytes, sizeof bytes);
  }
  std::printf("%d nodes are refused or right\n", nodes);
}
#endif
