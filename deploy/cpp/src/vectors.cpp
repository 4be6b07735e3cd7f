#include "vectors.h"

#include <cmath>
#include <cstring>
#include <set>

#include "npz.h"

namespace temport::internal {
namespace {

// Numbers that an error can be compared with: NaN says that there is nothing to judge, infinity would pass everything.
bool is_bound(const ArrayView& array) {
  for (size_t at = 0; at + sizeof(double) <= array.bytes; at += sizeof(double)) {
    double value;
    std::memcpy(&value, array.data + at, sizeof value);
    if (std::isinf(value) || value < 0) return false;
  }
  return true;
}

}  // namespace

Result<std::unique_ptr<TestVectors>> TestVectors::read(const BundleDirectory& bundle) {
  constexpr const char* kFile = "vectors.npz";
  auto bytes = bundle.read(kFile);
  if (!bytes) return bytes.error();
  auto vectors = std::make_unique<TestVectors>();
  auto arrays = read_npz(bytes->data(), bytes->size());
  if (!arrays) return refused(std::string(kFile) + " is refused: " + arrays.error().message);
  vectors->arrays_ = *std::move(arrays);
  // Members of an archive start anywhere; copies of their own are aligned for every element type.
  for (auto& [name, array] : vectors->arrays_) {
    Bytes& own = vectors->storage_[name];
    own.assign(array.data, array.data + array.bytes);
    array.data = own.data();
  }

  std::set<std::string> cases;
  for (const auto& [name, array] : vectors->arrays_) {
    const size_t slash = name.find('/');
    if (slash == 0 || slash == std::string::npos)
      return refused(std::string(kFile) + " is refused: " + name + " belongs to no case");
    cases.insert(name.substr(0, slash));
  }
  vectors->cases_.assign(cases.begin(), cases.end());
  for (const auto& name : vectors->cases_)
    if (auto checked = vectors->check_case(name, bundle.manifest().signature); !checked)
      return refused(std::string(kFile) + " is refused: " + checked.error().message);
  return vectors;
}

Result<void> TestVectors::check_case(const std::string& name, const Signature& signature) const {
  // A case of a step model is a whole stream: frame and output with a time axis, and no state.
  const bool stream = !signature.states.empty();
  for (size_t i = 0; i < signature.inputs.size(); ++i) {
    if (state_at(signature, &StateSpec::input, i)) continue;
    const TensorSpec& spec = signature.inputs[i];
    const auto input = tensor(name, "input", spec.name);
    if (!input) return input.error();
    // frames stand in the place of an axis of size 1 behind the batch, or on an axis of their own
    const bool in_place = spec.axes.size() >= 2 && spec.axes[1].min == 1 && spec.axes[1].max == 1;
    const size_t rank = spec.axes.size() + (stream && !in_place ? 1 : 0);
    if ((*input)->dtype != spec.dtype || (*input)->shape.size() != rank)
      return refused("input " + spec.name + " of case " + name + " is not what the signature says");
  }
  for (size_t i = 0; i < signature.outputs.size(); ++i) {
    if (state_at(signature, &StateSpec::output, i)) continue;
    const TensorSpec& spec = signature.outputs[i];
    const auto output = tensor(name, "output", spec.name), bound = tensor(name, "bound", spec.name);
    if (!output) return output.error();
    if (!bound) return bound.error();
    if ((*output)->dtype != TEMPORT_FLOAT64 || (*output)->shape.size() != spec.axes.size() + (stream ? 1 : 0) ||
        (*bound)->dtype != TEMPORT_FLOAT64 || (*bound)->bytes < sizeof(double))
      return refused("output " + spec.name + " of case " + name + " is not what the signature says");
    if (!is_bound(**bound)) return refused("the bound of " + spec.name + " in case " + name + " allows any error");
  }
  return {};
}

Result<const ArrayView*> TestVectors::tensor(const std::string& case_name, const std::string& kind,
                                             const std::string& name) const {
  const auto found = arrays_.find(case_name + "/" + kind + "/" + name);
  if (found == arrays_.end()) return invalid_argument("case " + case_name + " has no " + kind + " " + name);
  return &found->second;
}

}  // namespace temport::internal
