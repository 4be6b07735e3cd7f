// The C ABI over bundles, vectors, sessions and requests.
#include "bundle.h"
#include "c_boundary.h"
#include "native_engine.h"
#include "vectors.h"

using namespace temport;
using namespace temport::internal;

namespace temport::internal {

// A signature as the C ABI shows it: arrays that point into the C++ one.
struct PlainSpecs {
  explicit PlainSpecs(const std::vector<TensorSpec>& specs) {
    axes.reserve(specs.size());
    for (const auto& spec : specs) {
      auto& own = axes.emplace_back();
      for (const auto& axis : spec.axes)
        own.push_back({axis.name.empty() ? nullptr : axis.name.c_str(), axis.min, axis.opt, axis.max});
      list.push_back({spec.name.c_str(), spec.dtype, own.size(), own.data()});
    }
  }
  std::vector<std::vector<temport_axis>> axes;
  std::vector<temport_tensor_spec> list;
};

}  // namespace temport::internal

struct temport_bundle {
  explicit temport_bundle(BundleDirectory opened)
      : directory(std::move(opened)), inputs(directory.manifest().signature.inputs),
        outputs(directory.manifest().signature.outputs) {
    for (const auto& state : directory.manifest().signature.states)
      states.push_back({inputs.list[state.input].name, outputs.list[state.output].name});
  }
  BundleDirectory directory;
  PlainSpecs inputs, outputs;
  std::vector<temport_state_spec> states;
};

struct temport_vectors {
  std::unique_ptr<TestVectors> vectors;
  std::vector<const char*> names;
};

struct temport_request {
  std::unique_ptr<RequestBuffers> buffers;
};

extern "C" {

const char* temport_version(void) { return TEMPORT_VERSION; }

temport_code temport_bundle_open(const char* directory, const temport_bundle_options* options, temport_bundle** bundle,
                                 temport_error* error) {
  return guarded(error, [&]() -> Result<void> {
    if (!directory || !bundle) return invalid_argument("a directory and a place for the bundle are needed");
    const std::string digest = options ? text(options->digest) : "";
    auto opened = BundleDirectory::open(directory, digest, options && options->strict);
    if (!opened) return opened.error();
    *bundle = new temport_bundle(*std::move(opened));
    return {};
  });
}

void temport_bundle_close(temport_bundle* bundle) { delete bundle; }

size_t temport_bundle_inputs(const temport_bundle* bundle, const temport_tensor_spec** specs) {
  *specs = bundle->inputs.list.data();
  return bundle->inputs.list.size();
}

size_t temport_bundle_outputs(const temport_bundle* bundle, const temport_tensor_spec** specs) {
  *specs = bundle->outputs.list.data();
  return bundle->outputs.list.size();
}

size_t temport_bundle_states(const temport_bundle* bundle, const temport_state_spec** specs) {
  *specs = bundle->states.data();
  return bundle->states.size();
}

const char* temport_bundle_digest(const temport_bundle* bundle) { return bundle->directory.digest().c_str(); }

const char* temport_bundle_architecture(const temport_bundle* bundle) {
  return bundle->directory.manifest().architecture.c_str();
}

temport_dtype temport_bundle_precision(const temport_bundle* bundle) { return bundle->directory.manifest().precision; }

temport_code temport_bundle_recorded_sha256(const temport_bundle* bundle, const char* case_name, char* sha256,
                                            temport_error* error) {
  return guarded(error, [&]() -> Result<void> {
    const auto entry = find_engine(bundle->directory);
    if (!entry) return entry.error();
    std::string found;
    if (*entry && (*entry)->outputs.count(text(case_name))) found = (*entry)->outputs.at(text(case_name));
    std::snprintf(sha256, 65, "%s", found.c_str());
    return {};
  });
}

temport_code temport_vectors_read(const temport_bundle* bundle, temport_vectors** vectors, temport_error* error) {
  return guarded(error, [&]() -> Result<void> {
    auto read = TestVectors::read(bundle->directory);
    if (!read) return read.error();
    auto handle = std::make_unique<temport_vectors>();
    handle->vectors = *std::move(read);
    for (const auto& name : handle->vectors->cases()) handle->names.push_back(name.c_str());
    *vectors = handle.release();
    return {};
  });
}

void temport_vectors_close(temport_vectors* vectors) { delete vectors; }

size_t temport_vectors_cases(const temport_vectors* vectors, const char* const** names) {
  *names = vectors->names.data();
  return vectors->names.size();
}

temport_code temport_vectors_tensor(const temport_vectors* vectors, const char* case_name, const char* kind,
                                    const char* name, temport_tensor* tensor, temport_error* error) {
  return guarded(error, [&]() -> Result<void> {
    const auto array = vectors->vectors->tensor(text(case_name), text(kind), text(name));
    if (!array) return array.error();
    const ArrayView& view = **array;
    *tensor = {view.dtype, view.shape.size(), view.shape.data(), const_cast<uint8_t*>(view.data), view.bytes};
    return {};
  });
}

temport_code temport_session_create(const temport_bundle* bundle, const temport_session_options* options,
                                    temport_session** session, temport_error* error) {
  return guarded(error, [&]() -> Result<void> {
    SessionConfig config{"", "", "", 1};
    if (options) {
      config.runtime = text(options->runtime);
      config.library = text(options->library);
      config.ops = text(options->ops);
      if (options->threads != 0) config.threads = options->threads;
    }
    auto model = load(bundle->directory, config);
    if (!model) return model.error();
    *session = new temport_session{*std::move(model)};
    return {};
  });
}

void temport_session_close(temport_session* session) { delete session; }
const char* temport_session_runtime(const temport_session* session) { return session->model->runtime.c_str(); }
const char* temport_session_version(const temport_session* session) { return session->model->version.c_str(); }
const char* temport_session_library(const temport_session* session) { return session->model->library.c_str(); }
const char* temport_session_path(const temport_session* session) { return session->model->path.c_str(); }

temport_code temport_request_create(const temport_session* session, const temport_axis_size* sizes, size_t count,
                                    temport_request** request, temport_error* error) {
  return guarded(error, [&]() -> Result<void> {
    auto buffers = RequestBuffers::create(session->model, plain(sizes, count));
    if (!buffers) return buffers.error();
    *request = new temport_request{*std::move(buffers)};
    return {};
  });
}

void temport_request_close(temport_request* request) { delete request; }

temport_code temport_request_tensor(const temport_request* request, const char* name, temport_tensor* tensor,
                                    temport_error* error) {
  return guarded(error, [&]() -> Result<void> {
    const auto binding = request->buffers->tensor(text(name));
    if (!binding) return binding.error();
    *tensor = plain(**binding);
    return {};
  });
}

temport_code temport_request_bind(temport_request* request, const char* name, void* data, size_t bytes,
                                  temport_error* error) {
  return guarded(error, [&] { return request->buffers->bind(text(name), data, bytes); });
}

temport_code temport_request_run(temport_request* request, temport_error* error) {
  return guarded(error, [&] { return request->buffers->run(); });
}

}  // extern "C"
