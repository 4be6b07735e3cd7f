#include <algorithm>
#include <cmath>
#include <limits>

#include "compare.h"
#include "inference.h"

namespace temport::runner {
namespace {

// JSON has no NaN or infinity; they become null.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json as_json(const std::optional<double>& measure) { return measure ? number(*measure) : Json(nullptr); }

// `fail` over `ill-conditioned` over `pass`.
std::string worst(const std::string& a, const std::string& b) {
  for (const char* verdict : {"fail", "ill-conditioned"})
    if (a == verdict || b == verdict) return verdict;
  return "pass";
}

// The first frame of a stream [batch, frames, ...] that leaves its bound, in the words of the parity report.
Json first_wrong_frame(const std::string& name, const char* output, const std::vector<double>& values,
                       const std::vector<double>& oracle, const ArrayView& stream, double allowed) {
  const auto batch = static_cast<size_t>(stream.shape[0]), frames = static_cast<size_t>(stream.shape[1]);
  const size_t width = values.size() / std::max<size_t>(1, batch * frames);
  std::vector<double> errors(frames);
  for (size_t i = 0; i < values.size(); ++i) {
    const double error = std::abs(values[i] - oracle[i]);
    double& largest = errors[i / width % frames];
    largest = std::max(largest, std::isnan(error) ? std::numeric_limits<double>::infinity() : error);
  }
  const auto wrong = [&](double error) { return !(error <= allowed); };
  const auto first = std::find_if(errors.begin(), errors.end(), wrong);
  if (first == errors.end() || std::isnan(allowed)) return nullptr;
  const std::string told = "frame " + std::to_string(first - errors.begin()) + " of " + std::to_string(frames) +
                           " is the first that is wrong; " +
                           std::to_string(std::count_if(first, errors.end(), wrong)) + " are";
  return {{"case", name},   {"where", "unlocated"}, {"tensor", output},     {"op", "step model"},
          {"node", ""},     {"error", number(*first)}, {"allowed", allowed}, {"explanation", told}};
}

struct Judged {
  Json row;
  std::string verdict;
  Json divergence;
  Json stream;
};

// Whether the native engine gave the bytes that it gave where it was exported; frames that were refused it never saw.
Result<bool> as_recorded(const Opened& opened, const std::string& name, const Inferred& produced) {
  if (produced.stream && !produced.stream->refused.empty()) return true;
  const auto recorded = opened.bundle.recorded_sha256(name);
  if (!recorded) return recorded.error();
  std::vector<ArrayView> outputs;
  for (const auto& output : produced.outputs) outputs.push_back(output.view);
  return recorded->empty() || *recorded == outputs_sha256(outputs);
}

Result<Judged> judge(const ArrayView& produced, const Vectors& vectors, const std::string& name, const char* output,
                     temport_dtype precision, bool stream) {
  const auto oracle = vectors.tensor(name, "output", output), bound = vectors.tensor(name, "bound", output);
  if (!oracle) return oracle.error();
  if (!bound) return bound.error();
  if (produced.shape != view_of(*oracle).shape)
    return refused("case " + name + ": output " + output + " has another shape than the recorded one");
  const auto values = to_doubles(produced), expected = to_doubles(view_of(*oracle));
  const Bound limit = bound_of(view_of(*bound));
  const auto row = compare(values, expected, limit, precision);
  Json divergence;
  if (stream && row.verdict == "fail") divergence = first_wrong_frame(name, output, values, expected, produced, limit.allowed);
  return Judged{{{"verdict", row.verdict},
                 {"reason", row.reason},
                 {"max_abs", as_json(row.max_abs)},
                 {"max_rel", as_json(row.max_rel)},
                 {"rms_ratio", as_json(row.rms_ratio)},
                 {"cosine", as_json(row.cosine)},
                 {"quantiles", row.quantiles}},
                row.verdict,
                std::move(divergence),
                nullptr};
}

// One case: its row, and where it is the first to fail, where that is. `exact`: its bytes have to be the recorded ones.
Result<Judged> run_case(const Opened& opened, const Vectors& vectors, const std::string& name, bool exact) {
  std::vector<ArrayView> inputs;
  for (const auto& spec : data_inputs(opened.bundle)) {
    const auto input = vectors.tensor(name, "input", spec.name);
    if (!input) return input.error();
    inputs.push_back(view_of(*input));
  }
  const auto produced = infer(opened, inputs);
  if (!produced) return Error{produced.error().code, "case " + name + ": " + produced.error().message};
  Judged result{{{"case", name}, {"outputs", Json::object()}},
                "pass",
                nullptr,
                produced->stream ? as_json(*produced->stream) : Json(nullptr)};
  const auto same = exact ? as_recorded(opened, name, *produced) : Result<bool>(true);
  if (!same) return same.error();
  const auto specs = data_outputs(opened.bundle);
  for (size_t i = 0; i < specs.size(); ++i) {
    auto own = judge(produced->outputs[i].view, vectors, name, specs[i].name, opened.bundle.precision(),
                     !opened.bundle.states().empty());
    if (!own) return own.error();
    if (!*same) {
      own->verdict = "fail";
      own->row.update({{"verdict", "fail"}, {"reason", "its bytes differ from those that engine.json recorded"}});
    }
    result.verdict = worst(result.verdict, own->verdict);
    result.row["outputs"][specs[i].name] = std::move(own->row);
    if (result.divergence.is_null()) result.divergence = std::move(own->divergence);
  }
  result.row["verdict"] = result.verdict;
  return result;
}

}  // namespace

void report_not_run(const std::string& reason, Json& report) {
  report["runtimes"] = Json::array({{{"name", "cpp-" + report["machine"].get<std::string>()},
                                     {"version", report["runner"]},
                                     {"path", ""},
                                     {"verdict", "not run"},
                                     {"reason", reason},
                                     {"results", Json::array()},
                                     {"divergence", nullptr}}});
}

Result<bool> replay(const Opened& opened, Json& report) {
  const auto vectors = opened.bundle.vectors();
  if (!vectors) return vectors.error();
  Json results = Json::array(), divergence;
  std::string verdict = "pass";
  size_t judged = 0;
  for (const auto& name : vectors->cases()) {
    auto result = run_case(opened, *vectors, name, report["runtime"] == "native");
    if (!result) return result.error();
    if (!result->stream.is_null()) report["streams"][name] = std::move(result->stream);
    judged += result->verdict != "ill-conditioned";
    verdict = worst(verdict, result->verdict);
    results.push_back(std::move(result->row));
    if (divergence.is_null()) divergence = std::move(result->divergence);
  }
  const auto text = [&](const char* key) { return report[key].get<std::string>(); };
  const std::string version = text("runtime") + " " + text("version") + " from " + text("library");
  report["runtimes"] = Json::array({{{"name", "cpp-" + text("machine")},
                                     {"version", text("runner") + ", " + version},
                                     {"path", report["path"]},
                                     {"verdict", verdict},
                                     {"reason", ""},
                                     {"results", std::move(results)},
                                     {"divergence", std::move(divergence)}}});
  return judged && 2 * judged >= vectors->cases().size() && verdict != "fail";
}

}  // namespace temport::runner
