// The engine that `temport export --target native` puts into a bundle: finding it, and loading it once it is known to be the
// bundle's, this library's and this processor's.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "bundle.h"
#include "engine/temport_engine.h"

namespace temport::internal {

// What engine.json says of a library.
struct EngineEntry {
  // The name in the bundle, the machine that it is for as `uname -m` says it, and as temport_engine has them.
  std::string file, machine, isa, model, temport;
  // By the name of a recorded case: SHA-256 of the outputs that it gave where it was exported.
  std::map<std::string, std::string> outputs;
};

// Nothing where the bundle has none, or only its source.
Result<std::optional<EngineEntry>> find_engine(const BundleDirectory& bundle);

// The table of the engine, which lives as long as the library behind it. Refused before anything of it is called: an engine
// for another processor, of another version of temport, or of another model.
Result<std::shared_ptr<const temport_engine>> load_engine(const BundleDirectory& bundle, const EngineEntry& entry);

// The table against the signature: its axes, and the names, element types and sizes of its tensors.
Result<void> check_engine(const temport_engine& engine, const Signature& signature);

}  // namespace temport::internal
