/* What a program in C does with a model: calls it again and again. `temport bench engine` times these loops, so that
 * neither the engine nor ONNX Runtime pays for Python. */
#include <stddef.h>
#include <stdint.h>

typedef int (*engine_run)(void* memory, const int64_t* sizes, const void* const* inputs, void* const* outputs, uint32_t flags);

int engine_runs(long count, engine_run run, void* memory, const int64_t* sizes, const void* const* inputs,
                void* const* outputs, uint32_t flags) {
  int code = 0;
  for (long i = 0; i < count && code == 0; ++i) code = run(memory, sizes, inputs, outputs, flags);
  return code;
}

typedef void* (*onnxruntime_run)(void* session, const void* options, const char* const* input_names, void* const* inputs,
                                 size_t input_count, const char* const* output_names, size_t output_count, void** outputs);

/* The status of the first run that fails, or NULL. */
void* onnxruntime_runs(long count, onnxruntime_run run, void* session, const char* const* input_names, void* const* inputs,
                       size_t input_count, const char* const* output_names, size_t output_count, void** outputs) {
  void* status = NULL;
  for (long i = 0; i < count && status == NULL; ++i)
    status = run(session, NULL, input_names, inputs, input_count, output_names, output_count, outputs);
  return status;
}
