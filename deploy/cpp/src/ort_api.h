// A view of ONNX Runtime's C API without its headers.
//
// The API is a table of function pointers that only ever grows at its end (onnxruntime_c_api.h, "All APIs are
// append-only"), so a slot's number is its contract. Asking for version 17 runs on every ONNX Runtime from 1.17.
// tests/ort_slots.cpp compares each number with the real header where one is found.
#pragma once

#include <cstddef>
#include <cstdint>

namespace temport::internal::ort {

constexpr uint32_t kApiVersion = 17;

struct Env;
struct Status;
struct Session;
struct SessionOptions;
struct RunOptions;
struct Value;
struct MemoryInfo;
struct TypeInfo;
struct TensorInfo;
struct Allocator;

struct ApiBase {
  const void* const* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

enum ErrorCode : int { kFail = 1, kNotImplemented = 9 };
enum LoggingLevel : int { kWarning = 2, kError = 3 };
enum AllocatorType : int { kArenaAllocator = 1 };
enum MemType : int { kMemTypeDefault = 0 };

enum ElementType : int {
  kFloat = 1,
  kInt32 = 6,
  kInt64 = 7,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kBfloat16 = 16,
};

// Slot<Number, R(Args...)>: one typed entry of the table.
template <size_t Number, class Signature>
struct Slot;

template <size_t Number, class R, class... Args>
struct Slot<Number, R(Args...)> {
  static constexpr size_t number = Number;
  static R call(const void* const* api, Args... args) {
    return reinterpret_cast<R (*)(Args...)>(const_cast<void*>(api[Number]))(args...);
  }
};

using GetErrorCode = Slot<1, ErrorCode(const Status*)>;
using GetErrorMessage = Slot<2, const char*(const Status*)>;
using CreateEnv = Slot<3, Status*(LoggingLevel, const char*, Env**)>;
using CreateSessionFromArray = Slot<8, Status*(const Env*, const void*, size_t, const SessionOptions*, Session**)>;
using Run = Slot<9, Status*(Session*, const RunOptions*, const char* const*, const Value* const*, size_t,
                            const char* const*, size_t, Value**)>;
using CreateSessionOptions = Slot<10, Status*(SessionOptions**)>;
using SetIntraOpNumThreads = Slot<24, Status*(SessionOptions*, int)>;
using SetInterOpNumThreads = Slot<25, Status*(SessionOptions*, int)>;
using SessionGetInputCount = Slot<30, Status*(const Session*, size_t*)>;
using SessionGetOutputCount = Slot<31, Status*(const Session*, size_t*)>;
using SessionGetInputTypeInfo = Slot<33, Status*(const Session*, size_t, TypeInfo**)>;
using SessionGetOutputTypeInfo = Slot<34, Status*(const Session*, size_t, TypeInfo**)>;
using SessionGetInputName = Slot<36, Status*(const Session*, size_t, Allocator*, char**)>;
using SessionGetOutputName = Slot<37, Status*(const Session*, size_t, Allocator*, char**)>;
using CreateTensorWithDataAsOrtValue =
    Slot<49, Status*(const MemoryInfo*, void*, size_t, const int64_t*, size_t, ElementType, Value**)>;
using CastTypeInfoToTensorInfo = Slot<55, Status*(const TypeInfo*, const TensorInfo**)>;
using GetTensorElementType = Slot<60, Status*(const TensorInfo*, ElementType*)>;
using GetDimensionsCount = Slot<61, Status*(const TensorInfo*, size_t*)>;
using GetDimensions = Slot<62, Status*(const TensorInfo*, int64_t*, size_t)>;
using CreateCpuMemoryInfo = Slot<69, Status*(AllocatorType, MemType, MemoryInfo**)>;
using AllocatorFree = Slot<76, Status*(Allocator*, void*)>;
using GetAllocatorWithDefaultOptions = Slot<78, Status*(Allocator**)>;
using ReleaseEnv = Slot<92, void(Env*)>;
using ReleaseStatus = Slot<93, void(Status*)>;
using ReleaseMemoryInfo = Slot<94, void(MemoryInfo*)>;
using ReleaseSession = Slot<95, void(Session*)>;
using ReleaseValue = Slot<96, void(Value*)>;
using ReleaseTypeInfo = Slot<98, void(TypeInfo*)>;
using ReleaseSessionOptions = Slot<100, void(SessionOptions*)>;
using AddSessionConfigEntry = Slot<130, Status*(SessionOptions*, const char*, const char*)>;
using RegisterCustomOpsLibrary = Slot<228, Status*(SessionOptions*, const char*)>;
// Of version 18: to be called where Library::has_version(18) says so.
using AddExternalInitializersFromFilesInMemory =
    Slot<279, Status*(SessionOptions*, const char* const*, char* const*, const size_t*, size_t)>;

}  // namespace temport::internal::ort
