/* The C interface of a native engine, which `temport export --target native` writes: one model, compiled ahead of time.
 *
 * An engine allocates nothing, locks nothing, makes no system call and keeps no state of its own: what changes lies in the
 * memory that the caller gives to an instance. Any number of instances may run at once, each on one thread at a time; they
 * share the weights, which are constants of the library.
 *
 *   const temport_engine* engine = temport_engine_of_this_library();
 *   void* memory = aligned_alloc(engine->alignment, engine->memory_bytes);
 *   engine->reset(memory);
 *   engine->run(memory, NULL, inputs, outputs, 0);
 */
#ifndef TEMPORT_ENGINE_H
#define TEMPORT_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TEMPORT_ENGINE_ABI 2 /* the first word of temport_engine; another one means another layout of it */

typedef struct temport_engine_axis {
  const char* name;
  int64_t min, max;
} temport_engine_axis;

typedef struct temport_engine_tensor {
  const char* name;
  int32_t dtype; /* as in ONNX TensorProto.DataType: 1 float32, 6 int32, 7 int64, 9 bool, 10 float16, ... */
  int32_t rank;
  const int64_t* shape;     /* largest sizes */
  const int32_t* axes;      /* where an axis is open, its number in the engine's `axis`, else -1 */
  const char* const* sizes; /* where a size follows from open axes, the expression, such as "batch" or "seq + 1"; else NULL */
} temport_engine_tensor;

typedef enum temport_engine_code {
  TEMPORT_ENGINE_OK = 0,
  TEMPORT_ENGINE_SIZE = 3,        /* the size of an axis is outside its range, or there is no such entry: nothing was done */
  TEMPORT_ENGINE_NONFINITE = 6,   /* a float input holds NaN or infinity: outputs and state are as they were */
  TEMPORT_ENGINE_NO_STATE = 7,    /* what is to be restored is no saved state, */
  TEMPORT_ENGINE_OTHER_MODEL = 8, /* is that of another model, */
  TEMPORT_ENGINE_DAMAGED = 9      /* or is damaged: the state is as it was */
} temport_engine_code;

#define TEMPORT_ENGINE_PASS_NONFINITE 1u /* flag of run: NaN and infinity are computed like any other number */

/* A parallel-for that the caller brings, over threads of its own: an engine starts none. */
typedef struct temport_parallel_for {
  void* context;
  /* Calls part(argument, i) once for each i of 0 to parts - 1, on any threads, several at once or one after the other,
   * and returns when all have returned. `parts` is at most the engine's `threads`. */
  void (*call)(void* context, uint32_t parts, void (*part)(void* argument, uint32_t i), void* argument);
} temport_parallel_for;

typedef struct temport_engine {
  uint32_t abi;
  const char *temport, *model, *isa; /* version, SHA-256 of the model's file, instruction set */
  size_t memory_bytes, alignment;    /* of an instance: its state, and scratch behind it */
  size_t state_bytes, weight_bytes;
  uint32_t axis_count, input_count, output_count, state_count;
  const temport_engine_axis* axis;
  const temport_engine_tensor *input, *output, *state; /* the states of a step model are not among its inputs */

  /* All states become zero. Has to be called once before the first run. */
  void (*reset)(void* memory);
  /* One inference, or one frame. `sizes` has a place for each axis of the table, of which those that are fixed are not read
   * (NULL where all are); inputs and outputs are dense, aligned for their element type, in the order of the tables, and do
   * not overlap. It rounds to nearest with denormals as zero, whatever the thread's mode, which is set back. */
  temport_engine_code (*run)(void* memory, const int64_t* sizes, const void* const* inputs, void* const* outputs,
                             uint32_t flags);
  /* The states as dense tensors, in the order of the table and in the layout of the model: in, and out. */
  void (*load)(void* memory, const int64_t* sizes, const void* const* states);
  void (*store)(const void* memory, const int64_t* sizes, void* const* states);
  /* The state of one entry of the batch, an independent stream, as bytes: those that the C++, Python and JavaScript streams
   * of the same model save and restore. `saved` has room for `saved_bytes`, and begins where an int64_t may. */
  size_t (*saved_bytes)(const int64_t* sizes);
  temport_engine_code (*save)(const void* memory, const int64_t* sizes, int64_t entry, void* saved);
  temport_engine_code (*restore)(void* memory, const int64_t* sizes, int64_t entry, const void* saved, size_t bytes);
  /* `weight_bytes` constants of the library, which all instances read: for who wants to lock them in memory. */
  const void* weights;
  /* Into how many parts large layers are shared (`--engine-threads`), and a run that has them computed by the caller's
   * parallel-for (NULL: one after the other, as `run`). The outputs are the same bits. */
  uint32_t threads;
  temport_engine_code (*run_parallel)(void* memory, const int64_t* sizes, const void* const* inputs, void* const* outputs,
                                      uint32_t flags, const temport_parallel_for* parallel_for);
} temport_engine;

#ifndef TEMPORT_ENGINE_EXPORT
#define TEMPORT_ENGINE_EXPORT /* an engine's own source says here that its library shows the function */
#endif

/* Of a shared library. An engine that is linked into a program is asked by its name, `<name>_engine()`. */
TEMPORT_ENGINE_EXPORT const temport_engine* temport_engine_of_this_library(void);

#ifdef __cplusplus
}
#endif
#endif
