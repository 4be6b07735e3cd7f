#include "manifest.h"

#include <algorithm>
#include <set>

#include "manifest_schema.h"
#include "schema.h"
#include "sizes.h"

namespace temport::internal {
namespace {

std::string text_of(const Json& object, const char* key) { return object.at(key).get<std::string>(); }

Axis read_axis(const Json& json) {
  if (!json.is_object()) {
    const int64_t size = whole_number(json);
    return {"", size, size, size};
  }
  return {text_of(json, "name"), whole_number(json.at("min")), whole_number(json.at("opt")), whole_number(json.at("max"))};
}

Result<std::vector<TensorSpec>> read_specs(const Json& list) {
  std::vector<TensorSpec> specs;
  for (const auto& item : list) {
    const auto dtype = dtype_from_name(text_of(item, "dtype"));
    if (!dtype) return refused("its signature has an element type that this library does not know");
    TensorSpec spec{text_of(item, "name"), *dtype, {}};
    std::vector<int64_t> largest;
    for (const auto& size : item.at("shape")) {
      const Axis axis = read_axis(size);
      if (!(axis.min <= axis.opt && axis.opt <= axis.max))
        return refused("its signature gives " + spec.name + " an axis that is not min <= opt <= max");
      spec.axes.push_back(axis);
      largest.push_back(axis.max);
    }
    if (!element_count(largest)) return refused("its signature makes " + spec.name + " larger than any memory");
    specs.push_back(std::move(spec));
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

const TensorSpec* find(const std::vector<TensorSpec>& specs, const std::string& name) {
  const auto same = [&](const TensorSpec& spec) { return spec.name == name; };
  const auto found = std::find_if(specs.begin(), specs.end(), same);
  return found == specs.end() ? nullptr : &*found;
}

Result<std::vector<StateSpec>> read_states(const Json& json, const Signature& signature) {
  const Json* list = member(json, "states");
  if (!list) return std::vector<StateSpec>();
  const auto &inputs = signature.inputs, &outputs = signature.outputs;
  std::vector<StateSpec> states;
  std::set<const TensorSpec*> seen;
  for (const auto& pair : *list) {
    const TensorSpec* before = find(inputs, text_of(pair, "input"));
    const TensorSpec* after = find(outputs, text_of(pair, "output"));
    if (!before || !after) return refused("its signature has a state that is not an input and an output");
    if (!seen.insert(before).second || !seen.insert(after).second)
      return refused("its signature carries " + before->name + " or " + after->name + " twice");
    if (before->dtype != after->dtype || before->axes.empty() || !(before->axes == after->axes))
      return refused("its signature gives " + before->name + " and " + after->name + " different types or shapes");
    const Json* in_place = member(pair, "in_place");
    states.push_back({static_cast<size_t>(before - inputs.data()), static_cast<size_t>(after - outputs.data()),
                      in_place && in_place->get<bool>()});
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

Result<Signature> signature_from(const Json& json) {
  auto inputs = read_specs(json.at("inputs")), outputs = read_specs(json.at("outputs"));
  if (!inputs) return inputs.error();
  if (!outputs) return outputs.error();
  Signature signature{*std::move(inputs), *std::move(outputs), {}};
  if (auto named = check_names(signature); !named) return named.error();
  auto states = read_states(json, signature);
  if (!states) return states.error();
  signature.states = *std::move(states);
  return signature;
}

// The same rules stand in exporter/bundle/signature_rules.py and deploy/js/lib/signature.mjs.
Result<void> check_stream(const Json& stream, const Signature& signature) {
  if (signature.states.empty()) return refused("its stream is that of a model without states");
  std::set<std::string> frames;
  for (const auto& spec : signature.inputs) frames.insert(spec.name);
  for (const auto& state : signature.states) frames.erase(signature.inputs[state.input].name);
  for (const auto& name : stream.at("static"))
    if (!frames.erase(name.get<std::string>()))
      return refused("its stream has the static input " + name.get<std::string>() + ", which is no input beside the states");
  if (frames.empty()) return refused("its stream has no input that is a frame");
  const Json* end = member(stream, "frames");
  if (end && whole_number(*end) > 0 && std::none_of(signature.states.begin(), signature.states.end(), [&](const StateSpec& state) {
        const TensorSpec& spec = signature.inputs[state.input];
        return spec.name == kCounter && spec.dtype == TEMPORT_INT64 && spec.axes.size() == 2 && spec.axes[1].name.empty() &&
               spec.axes[1].opt == 1;
      }))
    return refused(std::string("its stream ends, and it has no state ") + kCounter + " that counts to there");
  return {};
}

}  // namespace

bool is_weights(std::string_view file) {
  constexpr std::string_view kBegin = "model.onnx.";
  return file.substr(0, kBegin.size()) == kBegin;
}

Result<Manifest> read_manifest(std::string_view text) {
  static const Json schema = Json::parse(kManifestSchema);
  auto json = parse_json(text);
  if (!json) return json.error();
  if (auto checked = check_schema(schema, *json); !checked) return checked.error();
  auto signature = signature_from(json->at("signature"));
  if (!signature) return signature.error();
  if (const Json* stream = member(*json, "stream"))
    if (auto checked = check_stream(*stream, *signature); !checked) return checked.error();
  const Json& declaration = json->at("declaration");
  Manifest manifest{"", false, false, TEMPORT_FLOAT32, *std::move(signature), json->at("signature"), {}, 0};
  manifest.architecture = text_of(declaration, "arch");
  manifest.custom_ops = text_of(declaration, "ops") == "custom";
  if (member(declaration, "weights_dtype") != nullptr) manifest.fp8 = text_of(declaration, "weights_dtype") == "fp8";
  manifest.precision = dtype_from_name(text_of(declaration, "precision")).value_or(TEMPORT_FLOAT32);
  if (const Json* stream = member(*json, "stream"))
    if (const Json* frames = member(*stream, "frames")) manifest.frames = whole_number(*frames);
  for (const auto& [name, entry] : json->at("files").items())
    manifest.files[name] = {text_of(entry, "sha256"), static_cast<uint64_t>(whole_number(entry.at("bytes")))};
  return manifest;
}

}  // namespace temport::internal
