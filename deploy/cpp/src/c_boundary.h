// The boundary of the C ABI: what its files share. Handles in, codes out, no exception across.
#pragma once

#include <cstdio>
#include <exception>
#include <memory>
#include <string>

#include "session.h"
#include "temport/result.hpp"

struct temport_session {
  std::shared_ptr<const temport::internal::LoadedModel> model;
};

namespace temport::internal {

inline temport_code report(const Error& from, temport_error* to) {
  if (to) {
    to->code = from.code;
    std::snprintf(to->message, sizeof to->message, "%s", from.message.c_str());
  }
  return from.code;
}

// The standard library may still throw (no memory); that becomes a value here.
template <class Body>
temport_code guarded(temport_error* error, Body body) noexcept {
  try {
    Result<void> done = body();
    if (done) return TEMPORT_OK;
    return report(done.error(), error);
  } catch (const std::exception& thrown) {
    if (error) std::snprintf(error->message, sizeof error->message, "the library failed: %s", thrown.what());
  } catch (...) {
    if (error) std::snprintf(error->message, sizeof error->message, "the library failed");
  }
  if (error) error->code = TEMPORT_FAILED;
  return TEMPORT_FAILED;
}

inline std::string text(const char* given) { return given ? given : ""; }

inline temport_tensor plain(const Binding& binding) {
  return {binding.dtype, binding.shape.size(), binding.shape.data(), binding.data, binding.bytes};
}

inline AxisSizes plain(const temport_axis_size* sizes, size_t count) {
  AxisSizes named;
  for (size_t i = 0; i < count; ++i) named.emplace_back(text(sizes[i].axis), sizes[i].size);
  return named;
}

}  // namespace temport::internal
