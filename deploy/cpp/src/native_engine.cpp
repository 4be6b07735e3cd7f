#include "native_engine.h"

#include "huge_pages.h"
#include "json.h"
#include "memory_library.h"
#include "native/processor.h"

namespace temport::internal {
namespace {

constexpr const char *kReport = "engine.json", *kTarget = "native";

std::string said(const Json& object, const char* key) {
  const Json* text = object.is_object() ? member(object, key) : nullptr;
  return text && text->is_string() ? text->get<std::string>() : std::string();
}

// Whether it may be run here, by what engine.json says and once more by what the engine itself says.
Result<void> check_origin(const BundleDirectory& bundle, const std::string& file, const std::string& isa,
                          const std::string& model, const std::string& temport) {
  const std::string path = bundle.directory() + "/" + file;
  if (!processor_has(isa.c_str()))
    return unavailable(path + " is for processors with " + isa + ", which this one is not; compile it for this one");
  if (temport != TEMPORT_VERSION)
    return unavailable(path + " was compiled by temport " + temport + ", and this is " + TEMPORT_VERSION + "; compile it again");
  if (model != bundle.manifest().files.at(kModelFile).sha256)
    return refused(path + " was compiled from another model than " + kModelFile + "; compile it again");
  return {};
}

bool same_size(const temport_engine& engine, const temport_engine_tensor& tensor, int32_t d, const Axis& axis) {
  const int32_t open = tensor.axes[d];
  return tensor.shape[d] == axis.max && (open < 0 || engine.axis[open].name == axis.name);
}

bool same_tensor(const temport_engine& engine, const temport_engine_tensor& tensor, const TensorSpec& spec) {
  bool same = tensor.name == spec.name && tensor.dtype == onnx_type(spec.dtype) &&
              tensor.rank == static_cast<int32_t>(spec.axes.size());
  for (int32_t d = 0; same && d < tensor.rank; ++d) same = same_size(engine, tensor, d, spec.axes[static_cast<size_t>(d)]);
  return same;
}

bool has_axis(const std::vector<TensorSpec>& inputs, const temport_engine_axis& axis) {
  for (const auto& spec : inputs)
    for (const Axis& own : spec.axes)
      if (own.name == axis.name) return own.min == axis.min && own.max == axis.max;
  return false;
}

}  // namespace

Result<std::optional<EngineEntry>> find_engine(const BundleDirectory& bundle) {
  if (!bundle.manifest().files.count(kReport)) return std::optional<EngineEntry>();
  const auto bytes = bundle.read(kReport);
  if (!bytes) return bytes.error();
  const auto report = parse_json({reinterpret_cast<const char*>(bytes->data()), bytes->size()});
  if (!report) return refused(bundle.directory() + "/" + kReport + " is refused: " + report.error().message);
  const Json* engines = report->is_object() ? member(*report, "engines") : nullptr;
  if (!engines || !engines->is_array()) return refused(bundle.directory() + "/" + kReport + " is refused: it lists no engines");
  for (const Json& one : *engines) {
    const Json* versions = one.is_object() ? member(one, "versions") : nullptr;
    EngineEntry entry{said(one, "file"), said(one, "machine"), said(one, "isa"), said(one, "model_sha256"),
                      versions ? said(*versions, "temport") : "", {}};
    if (const Json* outputs = one.is_object() ? member(one, "outputs_sha256") : nullptr; outputs && outputs->is_object())
      for (const auto& [name, sha256] : outputs->items())
        if (sha256.is_string()) entry.outputs[name] = sha256.get<std::string>();
    if (said(one, "target") == kTarget && !entry.file.empty()) return std::optional<EngineEntry>(std::move(entry));
  }
  return std::optional<EngineEntry>();
}

Result<bool> has_native_engine(const BundleDirectory& bundle) {
  const auto entry = find_engine(bundle);
  if (!entry) return entry.error();
  return *entry && processor_is((*entry)->machine.c_str()) && processor_has((*entry)->isa.c_str());
}

Result<std::shared_ptr<const temport_engine>> load_engine(const BundleDirectory& bundle, const EngineEntry& entry) {
  if (!processor_is(entry.machine.c_str()))
    return unavailable(bundle.directory() + "/" + entry.file + " is for machines called " + entry.machine +
                       ", which this one is not; compile it for this one");
  if (auto ours = check_origin(bundle, entry.file, entry.isa, entry.model, entry.temport); !ours) return ours.error();
  const auto bytes = bundle.read(entry.file);
  if (!bytes) return bytes.error();
  const std::string path = bundle.directory() + "/" + entry.file;
  auto library = MemoryLibrary::load(*bytes, path);
  if (!library) return library.error();
  const auto table = reinterpret_cast<decltype(&::temport_engine_of_this_library)>(
      (*library)->symbol("temport_engine_of_this_library"));
  if (!table) return refused(path + " is no engine: it has no temport_engine_of_this_library");
  const temport_engine* engine = table();
  if (engine->abi != TEMPORT_ENGINE_ABI)
    return unavailable(path + " has version " + std::to_string(engine->abi) + " of the engine's interface, and this library " +
                       std::to_string(TEMPORT_ENGINE_ABI) + "; compile it again");
  if (auto ours = check_origin(bundle, entry.file, engine->isa, engine->model, engine->temport); !ours) return ours.error();
  if (auto same = check_engine(*engine, bundle.manifest().signature); !same)
    return refused(path + " is refused: " + same.error().message);
  if (engine->weight_bytes >= kLeastForHugePages) move_to_huge_pages(engine->weights, engine->weight_bytes);
  return std::shared_ptr<const temport_engine>(*std::move(library), engine);
}

Result<void> check_engine(const temport_engine& engine, const Signature& signature) {
  const size_t states = signature.states.size();
  if (engine.input_count + states != signature.inputs.size() || engine.output_count + states != signature.outputs.size() ||
      engine.state_count != states)
    return refused("it has other inputs or outputs than its signature");
  for (uint32_t i = 0; i < engine.axis_count; ++i)
    if (engine.axis[i].min != engine.axis[i].max && !has_axis(signature.inputs, engine.axis[i]))
      return refused(std::string("its axis ") + engine.axis[i].name + " is not what its signature says");
  const auto differs = [](const TensorSpec& spec) {
    return refused("its tensor " + spec.name + " is not what its signature says");
  };
  for (const auto* side : {&signature.inputs, &signature.outputs}) {
    const bool input = side == &signature.inputs;
    const temport_engine_tensor* next = input ? engine.input : engine.output;
    for (size_t i = 0; i < side->size(); ++i)
      if (!state_at(signature, input ? &StateSpec::input : &StateSpec::output, i))
        if (!same_tensor(engine, *next++, (*side)[i])) return differs((*side)[i]);
  }
  for (size_t i = 0; i < states; ++i)
    if (const TensorSpec& spec = signature.inputs[signature.states[i].input]; !same_tensor(engine, engine.state[i], spec))
      return differs(spec);
  return {};
}

}  // namespace temport::internal
