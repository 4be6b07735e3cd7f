#include "manifest.h"

#include <algorithm>
#include <set>

#include "json.h"
#include "sizes.h"

namespace temport::internal {
namespace {

constexpr size_t kMaxTensors = 256, kMaxFiles = 256, kMaxName = 255;

bool plain_name(const std::string& name) {
  return !name.empty() && name.size() <= kMaxName && name != "." && name != ".." &&
         name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

bool hex_digest(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::optional<Axis> read_axis(const Json& json) {
  if (const auto size = as_size(json)) return Axis{"", *size, *size, *size};
  const std::string* name = string_member(json, "name");
  const auto min = size_member(json, "min"), opt = size_member(json, "opt"), max = size_member(json, "max");
  if (!name || name->empty() || name->size() > kMaxName || !min || !opt || !max) return std::nullopt;
  if (!(0 <= *min && 1 <= *max && *min <= *opt && *opt <= *max)) return std::nullopt;
  return Axis{*name, *min, *opt, *max};
}

Result<TensorSpec> read_spec(const Json& json) {
  const std::string *name = string_member(json, "name"), *dtype = string_member(json, "dtype");
  const Json* shape = member(json, "shape");
  if (!name || name->empty() || name->size() > kMaxName || name->find('\0') != std::string::npos || !dtype || !shape ||
      !shape->is_array() || shape->size() > kMaxRank)
    return refused("its signature is malformed");
  const auto type = dtype_from_name(*dtype);
  if (!type) return refused("its signature gives " + *name + " the unknown element type " + *dtype);
  TensorSpec spec{*name, *type, {}};
  std::vector<int64_t> largest;
  for (const auto& size : *shape) {
    const auto axis = read_axis(size);
    if (!axis) return refused("its signature gives " + *name + " a malformed axis");
    spec.axes.push_back(*axis);
    largest.push_back(axis->max);
  }
  if (!element_count(largest)) return refused("its signature makes " + *name + " larger than any memory");
  return spec;
}

Result<std::vector<TensorSpec>> read_specs(const Json& json, const char* side) {
  const Json* list = member(json, side);
  if (!list || !list->is_array() || list->empty() || list->size() > kMaxTensors)
    return refused(std::string("its signature has no ") + side);
  std::vector<TensorSpec> specs;
  for (const auto& item : *list) {
    auto spec = read_spec(item);
    if (!spec) return spec.error();
    specs.push_back(*std::move(spec));
  }
  return specs;
}

// One name, one meaning: tensors are distinct and an axis has the same bounds wherever it appears.
Result<void> check_names(const Signature& signature) {
  std::set<std::string> names;
  std::map<std::string, Axis> axes;
  for (const auto* specs : {&signature.inputs, &signature.outputs})
    for (const auto& spec : *specs) {
      if (!names.insert(spec.name).second) return refused("its signature names " + spec.name + " twice");
      for (const auto& axis : spec.axes)
        if (!axis.name.empty() && !(axes.emplace(axis.name, axis).first->second == axis))
          return refused("its signature gives the axis " + axis.name + " two different ranges");
    }
  for (const auto& spec : signature.outputs)
    for (const auto& axis : spec.axes) {
      const auto opt = [&](std::string_view name) -> std::optional<int64_t> {
        for (const auto& input : signature.inputs)
          for (const auto& other : input.axes)
            if (other.name == name) return other.opt;
        return std::nullopt;
      };
      if (!axis.name.empty() && evaluate(axis.name, opt) != axis.opt)
        return refused("its signature has the output axis " + axis.name +
                       ", which is no expression of input axes with the size " + std::to_string(axis.opt));
    }
  return {};
}

const TensorSpec* find(const std::vector<TensorSpec>& specs, const std::string* name) {
  const auto same = [&](const TensorSpec& spec) { return name && spec.name == *name; };
  const auto found = std::find_if(specs.begin(), specs.end(), same);
  return found == specs.end() ? nullptr : &*found;
}

Result<std::vector<StateSpec>> read_states(const Json& json, const Signature& signature) {
  const Json* list = member(json, "states");
  if (!list) return std::vector<StateSpec>();
  if (!list->is_array() || list->empty()) return refused("its signature has malformed states");
  const auto &inputs = signature.inputs, &outputs = signature.outputs;
  std::vector<StateSpec> states;
  std::set<const TensorSpec*> seen;
  for (const auto& pair : *list) {
    const TensorSpec* before = find(inputs, string_member(pair, "input"));
    const TensorSpec* after = find(outputs, string_member(pair, "output"));
    if (!before || !after) return refused("its signature has a state that is not an input and an output");
    if (!seen.insert(before).second || !seen.insert(after).second)
      return refused("its signature carries " + before->name + " or " + after->name + " twice");
    if (before->dtype != after->dtype || before->axes.empty() || !(before->axes == after->axes))
      return refused("its signature gives " + before->name + " and " + after->name + " different types or shapes");
    const auto in_place = flag_member(pair, "in_place");
    if (!in_place) return refused("its signature says neither true nor false of " + before->name + " in place");
    states.push_back(
        {static_cast<size_t>(before - inputs.data()), static_cast<size_t>(after - outputs.data()), *in_place});
  }
  if (states.size() == inputs.size() || states.size() == outputs.size())
    return refused("its signature has states and no frame or no output beside them");
  if (inputs[states[0].input].axes[0].min < 1) return refused("its signature has states of no stream");
  for (const auto* side : {&inputs, &outputs})
    for (const auto& spec : *side)
      if (spec.axes.empty() || !(spec.axes[0] == inputs[states[0].input].axes[0]))
        return refused("its signature gives " + spec.name + " another first axis than its states have");
  return states;
}

Result<std::map<std::string, FileEntry>> read_files(const Json& json) {
  const Json* list = member(json, "files");
  if (!list || !list->is_object() || list->size() > kMaxFiles) return refused("it lists no files");
  std::map<std::string, FileEntry> files;
  for (const auto& [name, entry] : list->items()) {
    if (!plain_name(name)) return refused("it names the file " + name + ", which is not a plain file name");
    const std::string* digest = string_member(entry, "sha256");
    const auto bytes = size_member(entry, "bytes");
    if (!digest || !hex_digest(*digest) || !bytes) return refused("its entry of " + name + " is malformed");
    files[name] = {*digest, static_cast<uint64_t>(*bytes)};
  }
  return files;
}

Result<Signature> signature_from(const Json& json) {
  auto inputs = read_specs(json, "inputs"), outputs = read_specs(json, "outputs");
  if (!inputs) return inputs.error();
  if (!outputs) return outputs.error();
  Signature signature{*std::move(inputs), *std::move(outputs), {}};
  if (auto named = check_names(signature); !named) return named.error();
  auto states = read_states(json, signature);
  if (!states) return states.error();
  signature.states = *std::move(states);
  return signature;
}

}  // namespace

bool is_weights(std::string_view file) {
  const std::string_view model = kModelFile;
  return file.size() > model.size() && file.substr(0, model.size()) == model;
}

Result<Signature> read_signature(std::string_view text) {
  const auto json = parse_json(text);
  if (!json) return json.error();
  return signature_from(*json);
}

Result<Manifest> read_manifest(std::string_view text) {
  const auto parsed = parse_json(text);
  if (!parsed) return parsed.error();
  const Json& json = *parsed;
  const auto format = size_member(json, "format"), semantics = size_member(json, "semantics");
  if (!format) return refused("it has no bundle format");
  if (*format != kBundleFormat)
    return refused("it has bundle format " + std::to_string(*format) + "; this library reads format " +
                   std::to_string(kBundleFormat));
  if (!semantics || *semantics != kSemantics)
    return refused("its operators are not of version " + std::to_string(kSemantics) + ", which this library knows");
  const Json* declaration = member(json, "declaration");
  const std::string* arch = declaration ? string_member(*declaration, "arch") : nullptr;
  const std::string* ops = declaration ? string_member(*declaration, "ops") : nullptr;
  const std::string* precision = declaration ? string_member(*declaration, "precision") : nullptr;
  if (!arch || !ops) return refused("its declaration is malformed");
  const Json* signature_json = member(json, "signature");
  if (!signature_json) return refused("it has no signature");
  auto signature = signature_from(*signature_json);
  if (!signature) return signature.error();
  auto files = read_files(json);
  if (!files) return files.error();
  return Manifest{*arch, *ops == "custom", dtype_from_name(precision ? *precision : "").value_or(TEMPORT_FLOAT32),
                  *std::move(signature), *std::move(files)};
}

}  // namespace temport::internal
