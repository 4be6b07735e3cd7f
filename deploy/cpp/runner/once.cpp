#include <cmath>
#include <cstring>

#include "file.h"
#include "modes.h"
#include "npy.h"

namespace temport::runner {
namespace {

using internal::ArrayView;
using internal::Bytes;

constexpr uint64_t kMaxInputFile = uint64_t{1} << 32;

struct InputFile {
  Bytes bytes;
  ArrayView array;
};

using Files = std::vector<std::pair<std::string, std::string>>;

const std::string* file_of(const Files& files, const temport_tensor_spec& spec, size_t tensors) {
  for (const auto& [name, path] : files)
    if (name == spec.name || (name.empty() && tensors == 1)) return &path;
  return nullptr;
}

Result<InputFile> read_input(const temport_tensor_spec& spec, const Files& files, size_t inputs) {
  const std::string* path = file_of(files, spec, inputs);
  if (!path)
    return invalid_argument(std::string("no file is given for the input ") + spec.name + "; add --input " + spec.name +
                            "=x.npy");
  auto bytes = internal::read_file(*path, kMaxInputFile);
  if (!bytes) return bytes.error();
  auto array = internal::read_npy(bytes->data(), bytes->size());
  if (!array) return invalid_argument(*path + " is refused: " + array.error().message);
  if (array->dtype != spec.dtype || array->shape.size() != spec.rank)
    return invalid_argument(*path + " has " + internal::dtype_name(array->dtype) + " " +
                            internal::shape_text(array->shape) + "; " + spec.name + " is " +
                            internal::dtype_name(spec.dtype) + " of rank " + std::to_string(spec.rank));
  return InputFile{*std::move(bytes), *std::move(array)};
}

}  // namespace

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Result<Request> request_for(const Opened& opened, const std::vector<std::vector<int64_t>>& shapes) {
  std::vector<AxisSize> sizes;
  const auto specs = opened.bundle.inputs();
  for (size_t i = 0; i < specs.size(); ++i) {
    if (shapes[i].size() != specs[i].rank) return invalid_argument(std::string(specs[i].name) + " has another rank");
    for (size_t d = 0; d < specs[i].rank; ++d) {
      const temport_axis& axis = specs[i].axes[d];
      const int64_t size = shapes[i][d];
      if (!axis.name && size != axis.opt)
        return invalid_argument("axis " + std::to_string(d) + " of " + specs[i].name + " is " + std::to_string(size) +
                                "; the model takes " + std::to_string(axis.opt));
      if (!axis.name) continue;
      for (const auto& known : sizes)
        if (known.axis == axis.name && known.size != size)
          return invalid_argument("axis " + known.axis + " is " + std::to_string(known.size) + " in one input and " +
                                  std::to_string(size) + " in " + specs[i].name);
      sizes.push_back({axis.name, size});
    }
  }
  return opened.session.request(sizes);
}

Result<void> run_once(const Opened& opened, const Arguments& arguments, Json& report) {
  const auto specs = opened.bundle.inputs();
  std::vector<InputFile> files;
  std::vector<std::vector<int64_t>> shapes;
  for (const auto& spec : specs) {
    auto file = read_input(spec, arguments.inputs, specs.size());
    if (!file) return file.error();
    shapes.push_back(file->array.shape);
    files.push_back(*std::move(file));
  }
  auto request = request_for(opened, shapes);
  if (!request) return request.error();
  for (size_t i = 0; i < specs.size(); ++i) {
    const auto buffer = request->tensor(specs[i].name);
    if (!buffer) return buffer.error();
    std::memcpy(buffer->data, files[i].array.data, buffer->bytes);
  }
  if (auto done = request->run(); !done) return done;
  report["outputs"] = Json::object();
  for (const auto& spec : opened.bundle.outputs()) {
    const std::string* path = file_of(arguments.outputs, spec, opened.bundle.outputs().size());
    if (!path) continue;
    const auto output = request->tensor(spec.name);
    if (!output) return output.error();
    const ArrayView result{output->dtype, {output->shape, output->shape + output->rank},
                           static_cast<const uint8_t*>(output->data), output->bytes};
    if (auto written = internal::write_file(*path, internal::write_npy(result)); !written) return written;
    report["outputs"][spec.name] = {{"file", *path}, {"dtype", internal::dtype_name(spec.dtype)},
                                    {"shape", result.shape}};
  }
  if (report["outputs"].size() != arguments.outputs.size())
    return invalid_argument("--output names a tensor that the model does not put out");
  return {};
}

}  // namespace temport::runner
