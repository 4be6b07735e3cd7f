// The C ABI over streams.
#include "c_boundary.h"
#include "stream.h"

using namespace temport;
using namespace temport::internal;

struct temport_stream {
  std::unique_ptr<StreamBuffers> buffers;
};

extern "C" {

temport_code temport_stream_create(const temport_session* session, const temport_axis_size* sizes, size_t count,
                                   const temport_stream_options* options, temport_stream** stream,
                                   temport_error* error) {
  return guarded(error, [&]() -> Result<void> {
    auto buffers = StreamBuffers::create(session->model, plain(sizes, count),
                                         options ? options->on_nonfinite : TEMPORT_REFUSE_NONFINITE);
    if (!buffers) return buffers.error();
    *stream = new temport_stream{*std::move(buffers)};
    return {};
  });
}

void temport_stream_close(temport_stream* stream) { delete stream; }

temport_code temport_stream_tensor(const temport_stream* stream, const char* name, temport_tensor* tensor,
                                   temport_error* error) {
  return guarded(error, [&]() -> Result<void> {
    const auto binding = stream->buffers->tensor(text(name));
    if (!binding) return binding.error();
    *tensor = plain(**binding);
    return {};
  });
}

temport_code temport_stream_run(temport_stream* stream, temport_error* error) {
  return guarded(error, [&] { return stream->buffers->run(); });
}

size_t temport_stream_entries(const temport_stream* stream) { return stream->buffers->entries(); }

void temport_stream_reset(temport_stream* stream) { stream->buffers->reset(); }

temport_code temport_stream_reset_entry(temport_stream* stream, size_t entry, temport_error* error) {
  return guarded(error, [&] { return stream->buffers->reset(entry); });
}

int temport_stream_poisoned(const temport_stream* stream) { return stream->buffers->poisoned(); }

temport_code temport_stream_poisoned_entry(const temport_stream* stream, size_t entry, int* poisoned,
                                           temport_error* error) {
  return guarded(error, [&]() -> Result<void> {
    const auto found = stream->buffers->poisoned(entry);
    if (!found) return found.error();
    *poisoned = *found;
    return {};
  });
}

temport_code temport_stream_state_bytes(const temport_stream* stream, size_t* bytes, temport_error* error) {
  return guarded(error, [&]() -> Result<void> {
    *bytes = stream->buffers->state_bytes();
    return {};
  });
}

temport_code temport_stream_save(const temport_stream* stream, size_t entry, void* state, size_t bytes,
                                 temport_error* error) {
  return guarded(error, [&] { return stream->buffers->save(entry, static_cast<uint8_t*>(state), bytes); });
}

temport_code temport_stream_restore(temport_stream* stream, size_t entry, const void* state, size_t bytes,
                                    temport_error* error) {
  return guarded(error, [&] { return stream->buffers->restore(entry, static_cast<const uint8_t*>(state), bytes); });
}

}  // extern "C"
