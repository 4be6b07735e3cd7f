// A stand-in for ONNX Runtime: the slots that the library calls, for one model y = 2 x with x, y [batch, 3] float32.
// It allocates nothing in Run, refuses what the real one refuses, and counts live objects so that leaks are seen.
#include <array>
#include <atomic>
#include <cstring>
#include <string>

#include "ort_api.h"

namespace temport::internal::ort {

struct Status {
  std::string message;
};
struct Env {};
struct SessionOptions {};
struct Session {};
struct MemoryInfo {};
struct TensorInfo {};
struct Allocator {};
struct TypeInfo {
  TensorInfo tensor;
};
struct Value {
  float* data;
  size_t count;
};

}  // namespace temport::internal::ort

using namespace temport::internal::ort;

namespace {

std::atomic<int> live{0};
Allocator allocator;
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

const char* get_error_message(const Status* status) { return status->message.c_str(); }
void release_status(Status* status) { delete status; }
Status* create_env(LoggingLevel, const char*, Env** env) { return create(env); }
Status* create_options(SessionOptions** options) { return create(options); }
Status* set_threads(SessionOptions*, int) { return nullptr; }
Status* add_entry(SessionOptions*, const char*, const char*) { return nullptr; }
Status* create_session(const Env*, const void*, size_t bytes, const SessionOptions*, Session** session) {
  return bytes == 0 ? error("the model is empty") : create(session);
}
Status* count_one(const Session*, size_t* count) {
  *count = 1;
  return nullptr;
}
char* copy_name(const char* name) { return std::strcpy(new char[2], name); }
Status* input_name(const Session*, size_t, Allocator*, char** name) {
  *name = copy_name("x");
  return nullptr;
}
Status* output_name(const Session*, size_t, Allocator*, char** name) {
  *name = copy_name("y");
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
Status* type_info(const Session*, size_t, TypeInfo** info) { return create(info); }
Status* cast(const TypeInfo* info, const TensorInfo** tensor) {
  *tensor = &info->tensor;
  return nullptr;
}
Status* element(const TensorInfo*, ElementType* type) {
  *type = kFloat;
  return nullptr;
}
Status* rank(const TensorInfo*, size_t* count) {
  *count = 2;
  return nullptr;
}
Status* dimensions(const TensorInfo*, int64_t* sizes, size_t) {
  sizes[0] = -1;
  sizes[1] = 3;
  return nullptr;
}
Status* memory_info(AllocatorType, MemType, MemoryInfo** info) { return create(info); }
Status* create_value(const MemoryInfo*, void* data, size_t bytes, const int64_t* shape, size_t, ElementType type,
                     Value** value) {
  if (type != kFloat || bytes != static_cast<size_t>(shape[0] * shape[1]) * sizeof(float)) return error("bad tensor");
  if (Status* failed = create(value)) return failed;
  **value = {static_cast<float*>(data), bytes / sizeof(float)};
  return nullptr;
}
Status* run(Session*, const RunOptions*, const char* const* inputs, const Value* const* x, size_t,
            const char* const* outputs, size_t, Value** y) {
  if (std::strcmp(inputs[0], "x") != 0 || std::strcmp(outputs[0], "y") != 0) return error("unknown name");
  if (x[0]->data[0] == 13.0f) return error("thirteen is not run");
  for (size_t i = 0; i < x[0]->count; ++i) y[0]->data[i] = 2 * x[0]->data[i];
  return nullptr;
}

template <class S, class F>
void put(const void** table, F* function) {
  table[S::number] = reinterpret_cast<const void*>(function);
}

using Table = std::array<const void*, 256>;

Table make_table() {
  Table slots{};
  const void** table = slots.data();
  put<GetErrorMessage>(table, get_error_message);
  put<CreateEnv>(table, create_env);
  put<CreateSessionFromArray>(table, create_session);
  put<Run>(table, run);
  put<CreateSessionOptions>(table, create_options);
  put<SetIntraOpNumThreads>(table, set_threads);
  put<SetInterOpNumThreads>(table, set_threads);
  put<SessionGetInputCount>(table, count_one);
  put<SessionGetOutputCount>(table, count_one);
  put<SessionGetInputTypeInfo>(table, type_info);
  put<SessionGetOutputTypeInfo>(table, type_info);
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
  return slots;
}

const void* const* get_api(uint32_t version) {
  static const Table table = make_table();
  return version == kApiVersion ? table.data() : nullptr;
}

const char* get_version() { return "stand-in"; }

}  // namespace

extern "C" __attribute__((visibility("default"))) const ApiBase* OrtGetApiBase() {
  static const ApiBase base{get_api, get_version};
  return &base;
}

extern "C" __attribute__((visibility("default"))) int stand_in_live_objects() { return live; }
