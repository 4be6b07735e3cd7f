#include <algorithm>
#include <cmath>
#include <cstring>

#include "compare.h"
#include "modes.h"

namespace temport::runner {
namespace {

Result<Request> prepare(const Opened& opened, const Vectors& vectors, const std::string& name) {
  std::vector<std::vector<int64_t>> shapes;
  for (const auto& spec : opened.bundle.inputs()) {
    const auto input = vectors.tensor(name, "input", spec.name);
    if (!input) return input.error();
    shapes.emplace_back(input->shape, input->shape + input->rank);
  }
  auto request = request_for(opened, shapes);
  if (!request) return refused("case " + name + ": " + request.error().message);
  for (const auto& spec : opened.bundle.inputs()) {
    const auto input = vectors.tensor(name, "input", spec.name);
    const auto buffer = request->tensor(spec.name);
    if (!buffer) return buffer.error();
    std::memcpy(buffer->data, input->data, buffer->bytes);
  }
  return request;
}

Json as_json(const std::optional<double>& measure) { return measure ? number(*measure) : Json(nullptr); }

Result<Json> judge(const Request& request, const Vectors& vectors, const std::string& name, const char* output) {
  const auto produced = request.tensor(output);
  const auto oracle = vectors.tensor(name, "output", output), bound = vectors.tensor(name, "bound", output);
  if (!produced) return produced.error();
  if (!oracle) return oracle.error();
  if (!bound) return bound.error();
  if (produced->rank != oracle->rank || !std::equal(produced->shape, produced->shape + produced->rank, oracle->shape))
    return refused("case " + name + ": output " + output + " has another shape than the recorded one");
  const auto row = compare(to_doubles(*produced), to_doubles(*oracle), *bound->as<double>(), produced->dtype);
  return Json{{"verdict", row.verdict},
              {"reason", row.reason},
              {"max_abs", as_json(row.max_abs)},
              {"max_rel", as_json(row.max_rel)},
              {"rms_ratio", as_json(row.rms_ratio)},
              {"cosine", as_json(row.cosine)},
              {"quantiles", row.quantiles}};
}

// `fail` over `ill-conditioned` over `pass`.
std::string worst(const std::string& a, const std::string& b) {
  for (const char* verdict : {"fail", "ill-conditioned"})
    if (a == verdict || b == verdict) return verdict;
  return "pass";
}

Result<Json> run_case(const Opened& opened, const Vectors& vectors, const std::string& name) {
  auto request = prepare(opened, vectors, name);
  if (!request) return request.error();
  if (auto done = request->run(); !done) return failed("case " + name + ": " + done.error().message);
  Json outputs = Json::object();
  std::string verdict = "pass";
  for (const auto& spec : opened.bundle.outputs()) {
    auto row = judge(*request, vectors, name, spec.name);
    if (!row) return row.error();
    verdict = worst(verdict, (*row)["verdict"].get<std::string>());
    outputs[spec.name] = *std::move(row);
  }
  return Json{{"case", name}, {"verdict", verdict}, {"outputs", std::move(outputs)}};
}

}  // namespace

Result<bool> replay(const Opened& opened, Json& report) {
  const auto vectors = opened.bundle.vectors();
  if (!vectors) return vectors.error();
  Json results = Json::array();
  std::string verdict = "pass";
  bool judged = false;
  for (const auto& name : vectors->cases()) {
    auto result = run_case(opened, *vectors, name);
    if (!result) return result.error();
    const auto& own = (*result)["verdict"];
    judged = judged || own != "ill-conditioned";
    verdict = worst(verdict, own.get<std::string>());
    results.push_back(*std::move(result));
  }
  report["runtimes"] = Json::array({{{"name", "cpp-" + report["machine"].get<std::string>()},
                                     {"version", report["runner"].get<std::string>() + ", " + report["runtime"].get<std::string>() +
                                                     " " + report["version"].get<std::string>()},
                                     {"path", report["path"]},
                                     {"verdict", verdict},
                                     {"reason", ""},
                                     {"results", std::move(results)},
                                     {"divergence", nullptr}}});
  return judged && verdict != "fail";
}

}  // namespace temport::runner
