/* The C ABI of temport: open an exported bundle, load it in a runtime, run it.
 *
 * Errors are values: a function that can fail returns a code and, where `error` is not NULL, writes one sentence into
 * it. Nothing here throws, exits, aborts or prints. Every pointer handed out belongs to the object it was asked from and
 * lives as long as that object; a session does not need its bundle, a request or a stream does not need its session
 * handle. Handles and places for results must not be NULL, except where it says so.
 *
 * Threads: a bundle and a session may be used by any number of threads at once. A request holds the buffers of one
 * inference, a stream those of one stream and its state; each belongs to one thread at a time, so give each thread its
 * own. Handing one over to another thread needs whatever makes the two threads' work happen one after the other.
 */
#ifndef TEMPORT_TEMPORT_H
#define TEMPORT_TEMPORT_H

#include <stddef.h>
#include <stdint.h>

#if defined(TEMPORT_BUILDING)
#define TEMPORT_API __attribute__((visibility("default")))
#else
#define TEMPORT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum temport_code {
  TEMPORT_OK = 0,
  TEMPORT_REFUSED = 1,          /* the bundle is damaged, tampered with or of an unknown format */
  TEMPORT_UNAVAILABLE = 2,      /* the runtime asked for is not on this machine or not in this build */
  TEMPORT_INVALID_ARGUMENT = 3, /* the caller asked for something the model does not have */
  TEMPORT_FAILED = 4,           /* the runtime reported a failure */
  TEMPORT_UNSUPPORTED = 5,      /* the runtime has no kernel for this model: an operator or element type is not in it */
  TEMPORT_NONFINITE = 6,        /* a stream refused a frame with NaN or infinity; it goes on with the next one */
  TEMPORT_ENDED = 7             /* a stream refused a frame after the last that the model has a position for; reset it */
} temport_code;

typedef struct temport_error {
  temport_code code;
  char message[508]; /* one sentence, UTF-8, NUL-terminated, cut where it does not fit */
} temport_error;

typedef enum temport_dtype {
  TEMPORT_BOOL = 0,
  TEMPORT_INT32 = 1,
  TEMPORT_INT64 = 2,
  TEMPORT_FLOAT16 = 3,
  TEMPORT_BFLOAT16 = 4,
  TEMPORT_FLOAT32 = 5,
  TEMPORT_FLOAT64 = 6,
  TEMPORT_UINT8 = 7,
  TEMPORT_INT8 = 8,
  TEMPORT_UINT16 = 9,
  TEMPORT_INT16 = 10
} temport_dtype;

/* One dimension of a signature: `name` is NULL and min == opt == max where the size is fixed. */
typedef struct temport_axis {
  const char* name;
  int64_t min, opt, max;
} temport_axis;

typedef struct temport_tensor_spec {
  const char* name;
  temport_dtype dtype;
  size_t rank;
  const temport_axis* axes;
} temport_tensor_spec;

/* A tensor that a step model carries from frame to frame: what comes out as `output` goes in as `input`. */
typedef struct temport_state_spec {
  const char* input;
  const char* output;
} temport_state_spec;

/* A view of a dense row-major tensor. */
typedef struct temport_tensor {
  temport_dtype dtype;
  size_t rank;
  const int64_t* shape;
  void* data;
  size_t bytes;
} temport_tensor;

typedef struct temport_bundle temport_bundle;
typedef struct temport_vectors temport_vectors;
typedef struct temport_session temport_session;
typedef struct temport_request temport_request;
typedef struct temport_stream temport_stream;

/* Version of this library, "major.minor.patch". */
TEMPORT_API const char* temport_version(void);

typedef struct temport_bundle_options {
  const char* digest; /* of the bundle that is wanted, as manifest.sha256 holds it; NULL or empty: any */
  int strict;         /* not 0: files in the directory that the manifest does not list are refused */
} temport_bundle_options;

/* Opens a bundle directory; `options` may be NULL. Checked here, before any runtime sees a byte: the manifest's digest and
 * form, the size and SHA-256 of every listed file, and that the model reads no file but the listed weights. Anything wrong
 * is TEMPORT_REFUSED. */
TEMPORT_API temport_code temport_bundle_open(const char* directory, const temport_bundle_options* options,
                                             temport_bundle** bundle, temport_error* error);
TEMPORT_API void temport_bundle_close(temport_bundle* bundle);
TEMPORT_API size_t temport_bundle_inputs(const temport_bundle* bundle, const temport_tensor_spec** specs);
TEMPORT_API size_t temport_bundle_outputs(const temport_bundle* bundle, const temport_tensor_spec** specs);
/* None where the model takes whole sequences; a bundle that has some is a step model (temport export --streaming). */
TEMPORT_API size_t temport_bundle_states(const temport_bundle* bundle, const temport_state_spec** specs);
/* SHA-256 of the manifest, which holds that of every other file: 64 hexadecimal digits that name this very bundle. */
TEMPORT_API const char* temport_bundle_digest(const temport_bundle* bundle);
TEMPORT_API const char* temport_bundle_architecture(const temport_bundle* bundle);
/* What the model computes in; one of a half type may still take and give TEMPORT_FLOAT32. */
TEMPORT_API temport_dtype temport_bundle_precision(const temport_bundle* bundle);
/* SHA-256 of the outputs that the native engine gave for a recorded case where it was exported, as 64 hexadecimal digits and
 * a null: it gives the same bytes wherever it runs. Empty where the bundle has none. `sha256` has room for 65 characters. */
TEMPORT_API temport_code temport_bundle_recorded_sha256(const temport_bundle* bundle, const char* case_name, char* sha256,
                                                        temport_error* error);

/* The recorded test vectors: inputs in the model's dtypes, float64 outputs, float64 bounds on the absolute error. Those of
 * a step model are whole streams: the frame [batch, 1, ...] is recorded as [batch, frames, ...], an input or output
 * [batch, ...] as [batch, frames, ...], and the states, which start at zero, are not recorded. */
TEMPORT_API temport_code temport_vectors_read(const temport_bundle* bundle, temport_vectors** vectors,
                                              temport_error* error);
TEMPORT_API void temport_vectors_close(temport_vectors* vectors);
TEMPORT_API size_t temport_vectors_cases(const temport_vectors* vectors, const char* const** names);
/* `kind` is "input", "output" or "bound". */
TEMPORT_API temport_code temport_vectors_tensor(const temport_vectors* vectors, const char* case_name, const char* kind,
                                                const char* name, temport_tensor* tensor, temport_error* error);

typedef struct temport_session_options {
  /* "native", "onnxruntime", "tensorrt", "tensorrt-rtx" or, as NULL is, "auto": the bundle's own engine where it has one for
   * this processor and the fields below are left alone, else ONNX Runtime. An engine is native code: of a bundle from
   * somebody whose program you would not run, ask for another runtime. */
  const char* runtime;
  const char* library; /* the runtime's shared library; NULL: $TEMPORT_ONNXRUNTIME_LIBRARY, then the loader's search path */
  const char* ops;     /* the temport op library; an absolute path; NULL: $TEMPORT_OPS_LIBRARY, then beside this library; "none": function bodies */
  int threads;         /* intra-op threads; 0 means 1 */
} temport_session_options;

TEMPORT_API temport_code temport_session_create(const temport_bundle* bundle, const temport_session_options* options,
                                                temport_session** session, temport_error* error);
TEMPORT_API void temport_session_close(temport_session* session);
TEMPORT_API const char* temport_session_runtime(const temport_session* session);
TEMPORT_API const char* temport_session_version(const temport_session* session);
/* File name of the runtime's shared library, or of the engine's. */
TEMPORT_API const char* temport_session_library(const temport_session* session);
/* Which path runs the custom operators: "native kernels <version>, <instruction set>" (the file name of an op library that
 * does not say them), "function body", "standard operators", "native engine <version>, <instruction set>" or, in TensorRT, "engine". Where the op library has not all
 * the kernels of the model, a word on each operator that runs as its body follows: "; MovingAverage as its body". */
TEMPORT_API const char* temport_session_path(const temport_session* session);

typedef struct temport_axis_size {
  const char* axis;
  int64_t size;
} temport_axis_size;

/* Allocates the input and output buffers for the given sizes of the named axes (not named: `opt`). */
TEMPORT_API temport_code temport_request_create(const temport_session* session, const temport_axis_size* sizes,
                                                size_t count, temport_request** request, temport_error* error);
TEMPORT_API void temport_request_close(temport_request* request);
/* The buffer of an input or output: write inputs and read outputs in place, nothing is copied. */
TEMPORT_API temport_code temport_request_tensor(const temport_request* request, const char* name,
                                                temport_tensor* tensor, temport_error* error);
/* Uses the caller's memory for one tensor; it must hold exactly `bytes` and outlive the request or the next bind. */
TEMPORT_API temport_code temport_request_bind(temport_request* request, const char* name, void* data, size_t bytes,
                                              temport_error* error);
/* One inference. Allocates nothing itself; the runtime's own behaviour is the runtime's. */
TEMPORT_API temport_code temport_request_run(temport_request* request, temport_error* error);

/* What becomes of a frame that holds NaN or infinity in a float input. One such frame ends up in the state, and in most
 * architectures every later output of that stream is NaN. */
typedef enum temport_on_nonfinite {
  TEMPORT_REFUSE_NONFINITE = 0, /* TEMPORT_NONFINITE, before the runtime sees it: state and output are as they were */
  TEMPORT_PASS_NONFINITE = 1    /* it is computed like any other */
} temport_on_nonfinite;

typedef struct temport_stream_options {
  temport_on_nonfinite on_nonfinite;
} temport_stream_options;

/* A step model run frame by frame: write the frame, run, read the output. The state stays inside, in two sets of buffers
 * that change places after every frame (a cache that native kernels write in place has one buffer) or in the memory of a
 * native engine; it starts at zero.
 * `sizes` as for a request; where the batch is more than one, its entries are independent streams that advance
 * together. `options` may be NULL: a frame that is not finite is refused. */
TEMPORT_API temport_code temport_stream_create(const temport_session* session, const temport_axis_size* sizes,
                                               size_t count, const temport_stream_options* options,
                                               temport_stream** stream, temport_error* error);
TEMPORT_API void temport_stream_close(temport_stream* stream);
/* The buffer of a frame or an output; it keeps its place for the life of the stream. */
TEMPORT_API temport_code temport_stream_tensor(const temport_stream* stream, const char* name, temport_tensor* tensor,
                                               temport_error* error);
/* One frame. Allocates nothing itself. After a failure the state is the one before this frame. */
TEMPORT_API temport_code temport_stream_run(temport_stream* stream, temport_error* error);
/* How many independent streams there are. */
TEMPORT_API size_t temport_stream_entries(const temport_stream* stream);
/* All streams start anew, or the one at `entry` does. */
TEMPORT_API void temport_stream_reset(temport_stream* stream);
TEMPORT_API temport_code temport_stream_reset_entry(temport_stream* stream, size_t entry, temport_error* error);
/* 1 where the state of any stream, or of the one at `entry`, holds NaN or infinity: a frame was passed that did, or a
 * number overflowed. Only a reset or a restore is sure to end that. Looks at the whole state when it is asked. */
TEMPORT_API int temport_stream_poisoned(const temport_stream* stream);
TEMPORT_API temport_code temport_stream_poisoned_entry(const temport_stream* stream, size_t entry, int* poisoned,
                                                       temport_error* error);
/* The state of the stream at `entry`, as bytes from which any stream of the same model goes on, here or in another
 * process. `bytes` is always what temport_stream_state_bytes says; restoring refuses the state of another model and
 * damaged bytes, and then changes nothing. */
TEMPORT_API temport_code temport_stream_state_bytes(const temport_stream* stream, size_t* bytes, temport_error* error);
TEMPORT_API temport_code temport_stream_save(const temport_stream* stream, size_t entry, void* state, size_t bytes,
                                             temport_error* error);
TEMPORT_API temport_code temport_stream_restore(temport_stream* stream, size_t entry, const void* state, size_t bytes,
                                                temport_error* error);

#ifdef __cplusplus
}
#endif
#endif
