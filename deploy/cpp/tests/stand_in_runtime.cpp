// A stand-in for ONNX Runtime: the slots that the library calls, for the two models of tiny_bundle.h. It allocates nothing
// in Run, refuses what the real one refuses, and counts live objects so that leaks are seen.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "ort_abi.h"

namespace temport::ort {

struct Status {
  std::string message;
};
struct Env {};
struct SessionOptions {
  bool kernels = false;
};
struct TensorInfo {
  const char* name;
  ElementType type;
  std::vector<int64_t> dims;
};
struct Session {
  std::vector<TensorInfo> inputs, outputs;
  bool kernels = false;
};
struct MemoryInfo {};
struct Allocator {};
struct TypeInfo {
  const TensorInfo* tensor;
};
struct Value {
  void* data;
  std::vector<int64_t> dims;
  float* floats() const { return static_cast<float*>(data); }
  int64_t* counts() const { return static_cast<int64_t*>(data); }
};

}  // namespace temport::ort

using namespace temport::ort;

namespace {

std::atomic<int> live{0}, copied{0};
Allocator allocator;
constexpr const char* kNoKernel = "there is no kernel for Abacus";
Status* error(const char* message) { return new Status{message}; }

template <class T>
Status* create(T** out) {
  *out = new T();
  ++live;
  return nullptr;
}

template <class T>
void release(T* object) {
  if (!object) return;
  delete object;
  --live;
}

ErrorCode get_error_code(const Status* status) { return status->message == kNoKernel ? kNotImplemented : kFail; }
const char* get_error_message(const Status* status) { return status->message.c_str(); }
void release_status(Status* status) { delete status; }
Status* create_env(LoggingLevel, const char*, Env** env) { return create(env); }
Status* create_options(SessionOptions** options) { return create(options); }
Status* set_threads(SessionOptions*, int) { return nullptr; }
Status* add_entry(SessionOptions*, const char*, const char*) { return nullptr; }
Status* register_ops(SessionOptions* options, const char*) {
  options->kernels = true;
  return nullptr;
}
// The model is a step model where its bytes speak of states.
Status* create_session(const Env*, const void* model, size_t bytes, const SessionOptions* options, Session** session) {
  const std::string_view content(static_cast<const char*>(model), bytes);
  if (bytes == 0) return error("the model is empty");
  if (content.find("Abacus") != std::string_view::npos) return error(kNoKernel);
  if (Status* failed = create(session)) return failed;
  if (content.find("\"states\"") != std::string_view::npos)
    **session = {{{"frame", kFloat, {-1, 1, 3}},
                  {"state.frames", kInt64, {-1, 1}},
                  {"state.sum", kFloat, {-1, 3}},
                  {"state.last", kFloat, {-1, 2, 3}}},
                 {{"output", kFloat, {-1, 3}},
                  {"next_state.frames", kInt64, {-1, 1}},
                  {"next_state.sum", kFloat, {-1, 3}},
                  {"next_state.last", kFloat, {-1, 2, 3}}},
                 options->kernels};
  else
    **session = {{{"x", kFloat, {-1, 3}}}, {{"y", kFloat, {-1, 3}}}, false};
  return nullptr;
}
Status* input_count(const Session* session, size_t* count) {
  *count = session->inputs.size();
  return nullptr;
}
Status* output_count(const Session* session, size_t* count) {
  *count = session->outputs.size();
  return nullptr;
}
char* copy_name(const char* name) { return std::strcpy(new char[std::strlen(name) + 1], name); }
Status* input_name(const Session* session, size_t index, Allocator*, char** name) {
  *name = copy_name(session->inputs[index].name);
  return nullptr;
}
Status* output_name(const Session* session, size_t index, Allocator*, char** name) {
  *name = copy_name(session->outputs[index].name);
  return nullptr;
}
Status* allocator_free(Allocator*, void* memory) {
  delete[] static_cast<char*>(memory);
  return nullptr;
}
Status* get_allocator(Allocator** out) {
  *out = &allocator;
  return nullptr;
}
Status* input_type(const Session* session, size_t index, TypeInfo** info) {
  if (Status* failed = create(info)) return failed;
  (*info)->tensor = &session->inputs[index];
  return nullptr;
}
Status* output_type(const Session* session, size_t index, TypeInfo** info) {
  if (Status* failed = create(info)) return failed;
  (*info)->tensor = &session->outputs[index];
  return nullptr;
}
Status* cast(const TypeInfo* info, const TensorInfo** tensor) {
  *tensor = info->tensor;
  return nullptr;
}
Status* element(const TensorInfo* info, ElementType* type) {
  *type = info->type;
  return nullptr;
}
Status* rank(const TensorInfo* info, size_t* count) {
  *count = info->dims.size();
  return nullptr;
}
Status* dimensions(const TensorInfo* info, int64_t* sizes, size_t) {
  std::copy(info->dims.begin(), info->dims.end(), sizes);
  return nullptr;
}
Status* memory_info(AllocatorType, MemType, MemoryInfo** info) { return create(info); }
Status* create_value(const MemoryInfo*, void* data, size_t bytes, const int64_t* shape, size_t rank, ElementType type,
                     Value** value) {
  size_t count = type == kFloat ? sizeof(float) : sizeof(int64_t);
  for (size_t d = 0; d < rank; ++d) count *= static_cast<size_t>(shape[d]);
  if ((type != kFloat && type != kInt64) || bytes != count) return error("bad tensor");
  if (Status* failed = create(value)) return failed;
  **value = {data, {shape, shape + rank}};
  return nullptr;
}
Status* run_double(const Value* x, Value* y) {
  if (x->floats()[0] == 13.0f) return error("thirteen is not run");
  for (int64_t i = 0; i < 3 * x->dims[0]; ++i) y->floats()[i] = 2 * x->floats()[i];
  return nullptr;
}
// A sum of all frames, and the last two of them in a cache whose older row the newest frame takes; the output is the sum
// and 100 times the frames in the cache.
Status* run_step(bool kernels, const Value* const* in, Value** out) {
  const bool in_place = in[3]->data == out[3]->data;
  if (in_place && !kernels) return error("a function body got one buffer for two tensors");
  copied += !in_place;
  for (int64_t row = 0; row < in[0]->dims[0]; ++row) {
    const int64_t before = in[1]->counts()[row];
    const float* frame = in[0]->floats() + 3 * row;
    float* last = out[3]->floats() + 6 * row;
    if (!in_place) std::copy_n(in[3]->floats() + 6 * row, 6, last);
    std::copy_n(frame, 3, last + 3 * (before % 2));
    for (int64_t i = 0; i < 3; ++i) {
      const float sum = in[2]->floats()[3 * row + i] + frame[i];
      out[2]->floats()[3 * row + i] = sum;
      out[0]->floats()[3 * row + i] = sum + 100 * (last[i] + (before > 0 ? last[3 + i] : 0));
    }
    out[1]->counts()[row] = before + 1;
  }
  return in[0]->floats()[0] == 13.0f ? error("thirteen is not run") : nullptr;  // after the outputs are spoilt
}
Status* run(Session* session, const RunOptions*, const char* const* inputs, const Value* const* in, size_t input_number,
            const char* const* outputs, size_t output_number, Value** out) {
  if (input_number != session->inputs.size() || output_number != session->outputs.size()) return error("bad count");
  for (size_t i = 0; i < input_number; ++i)
    if (std::strcmp(inputs[i], session->inputs[i].name) != 0) return error("unknown input");
  for (size_t i = 0; i < output_number; ++i)
    if (std::strcmp(outputs[i], session->outputs[i].name) != 0) return error("unknown output");
  return input_number == 1 ? run_double(in[0], out[0]) : run_step(session->kernels, in, out);
}

template <class S, class F>
void put(const void** table, F* function) {
  table[S::number] = reinterpret_cast<const void*>(function);
}

using Table = std::array<const void*, 256>;

Table make_table() {
  Table slots{};
  const void** table = slots.data();
  put<GetErrorCode>(table, get_error_code);
  put<GetErrorMessage>(table, get_error_message);
  put<CreateEnv>(table, create_env);
  put<CreateSessionFromArray>(table, create_session);
  put<Run>(table, run);
  put<CreateSessionOptions>(table, create_options);
  put<SetIntraOpNumThreads>(table, set_threads);
  put<SetInterOpNumThreads>(table, set_threads);
  put<SessionGetInputCount>(table, input_count);
  put<SessionGetOutputCount>(table, output_count);
  put<SessionGetInputTypeInfo>(table, input_type);
  put<SessionGetOutputTypeInfo>(table, output_type);
  put<SessionGetInputName>(table, input_name);
  put<SessionGetOutputName>(table, output_name);
  put<CreateTensorWithDataAsOrtValue>(table, create_value);
  put<CastTypeInfoToTensorInfo>(table, cast);
  put<GetTensorElementType>(table, element);
  put<GetDimensionsCount>(table, rank);
  put<GetDimensions>(table, dimensions);
  put<CreateCpuMemoryInfo>(table, memory_info);
  put<AllocatorFree>(table, allocator_free);
  put<GetAllocatorWithDefaultOptions>(table, get_allocator);
  put<ReleaseEnv>(table, release<Env>);
  put<ReleaseStatus>(table, release_status);
  put<ReleaseMemoryInfo>(table, release<MemoryInfo>);
  put<ReleaseSession>(table, release<Session>);
  put<ReleaseValue>(table, release<Value>);
  put<ReleaseTypeInfo>(table, release<TypeInfo>);
  put<ReleaseSessionOptions>(table, release<SessionOptions>);
  put<AddSessionConfigEntry>(table, add_entry);
  put<RegisterCustomOpsLibrary_V2>(table, register_ops);
  return slots;
}

const Api* get_api(uint32_t version) {
  static const Table table = make_table();
  return version == kApiVersion ? reinterpret_cast<const Api*>(table.data()) : nullptr;
}

const char* get_version() { return "stand-in"; }

}  // namespace

extern "C" __attribute__((visibility("default"))) const ApiBase* OrtGetApiBase() {
  static const ApiBase base{get_api, get_version};
  return &base;
}

extern "C" {
__attribute__((visibility("default"))) int temport_ops_write_in_place() { return 1; }
__attribute__((visibility("default"))) const char* temport_ops_kernels() { return "Sum 2 1 10\nCache 1 1\n"; }
__attribute__((visibility("default"))) int stand_in_live_objects() { return live; }
__attribute__((visibility("default"))) int stand_in_copied_caches() { return copied; }
}
