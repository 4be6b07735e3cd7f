#include <algorithm>

#include "file.h"
#include "inference.h"
#include "npy.h"
#include "output.h"

namespace temport::runner {
namespace {

constexpr uint64_t kMaxInputFile = uint64_t{1} << 32;

using Files = std::vector<std::pair<std::string, std::string>>;
using Specs = std::vector<temport_tensor_spec>;

const std::string* file_of(const Files& files, const temport_tensor_spec& spec, const Specs& specs) {
  for (const auto& [name, path] : files)
    if (name == spec.name || (name.empty() && specs.size() == 1)) return &path;
  return nullptr;
}

// Every file belongs to one tensor, and no tensor has two.
Result<void> check_names(const char* option, const Files& files, const Specs& specs) {
  for (const auto& spec : specs) {
    const auto same = [&](const auto& file) { return file.first == spec.name || (file.first.empty() && specs.size() == 1); };
    if (std::count_if(files.begin(), files.end(), same) > 1)
      return invalid_argument(std::string(option) + " names " + spec.name + " twice");
  }
  for (const auto& [name, path] : files) {
    std::string known;
    for (const auto& spec : specs) known += (known.empty() ? "" : ", ") + std::string(spec.name);
    const auto same = [&, &wanted = name](const temport_tensor_spec& spec) { return wanted == spec.name; };
    if (name.empty() ? specs.size() != 1 : std::none_of(specs.begin(), specs.end(), same))
      return invalid_argument(std::string(option) + " " + (name.empty() ? path : name) + " is not one of " + known +
                              "; give NAME=file.npy");
  }
  return {};
}

// `stream`: the array holds frames, in the place of an axis of size 1 behind the batch, or on an axis of their own.
Result<Array> read_input(const temport_tensor_spec& spec, const Files& files, const Specs& specs, bool stream) {
  const std::string* path = file_of(files, spec, specs);
  if (!path)
    return invalid_argument(std::string("no file is given for the input ") + spec.name + "; add --input " + spec.name +
                            "=x.npy");
  auto bytes = internal::read_file(*path, kMaxInputFile, internal::Links::kFollow);
  if (!bytes) return bytes.error();
  auto array = internal::read_npy(bytes->data(), bytes->size());
  if (!array) return invalid_argument(*path + " is refused: " + array.error().message);
  const size_t rank = spec.rank + (stream && !frames_in_place(spec) ? 1 : 0);
  if (array->dtype != spec.dtype || array->shape.size() != rank)
    return invalid_argument(*path + " has " + internal::dtype_name(array->dtype) + " " +
                            internal::shape_text(array->shape) + "; " + spec.name + " is " +
                            internal::dtype_name(spec.dtype) + " of rank " + std::to_string(rank));
  return Array{*std::move(bytes), *std::move(array)};
}

}  // namespace

Result<void> run_once(const Opened& opened, const Arguments& arguments, Json& report) {
  const Specs inputs = data_inputs(opened.bundle), outputs = data_outputs(opened.bundle);
  if (auto named = check_names("--input", arguments.inputs, inputs); !named) return named;
  if (auto named = check_names("--output", arguments.outputs, outputs); !named) return named;
  std::vector<Array> files;
  std::vector<ArrayView> arrays;
  for (const auto& spec : inputs) {
    auto file = read_input(spec, arguments.inputs, inputs, !opened.bundle.states().empty());
    if (!file) return file.error();
    files.push_back(*std::move(file));
    arrays.push_back(files.back().view);
  }
  const auto results = infer(opened, arrays, arguments.state);
  if (!results) return results.error();
  if (results->stream) report["stream"] = as_json(*results->stream);
  report["outputs"] = Json::object();
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string* path = file_of(arguments.outputs, outputs[i], outputs);
    if (!path) continue;
    const ArrayView& result = results->outputs[i].view;
    if (auto written = write_file(*path, internal::write_npy(result)); !written) return written;
    report["outputs"][outputs[i].name] = {{"file", *path}, {"dtype", internal::dtype_name(result.dtype)},
                                          {"shape", result.shape}};
  }
  return {};
}

}  // namespace temport::runner
