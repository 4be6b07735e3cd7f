#include <cstdlib>

#include "custom_nodes.h"
#include "external_data.h"

using namespace temport::internal;

// Whatever is accepted, its nodes stand in a place that a domain can name.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  (void)check_external_data({reinterpret_cast<const char*>(data), size}, [](std::string_view) { return false; });
  const auto nodes = read_custom_nodes(data, size);
  if (!nodes) return 0;
  for (const auto& node : *nodes)
    if (node.body < 1) std::abort();
  return 0;
}
