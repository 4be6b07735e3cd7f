// A value or the sentence that says why there is none.
#ifndef TEMPORT_RESULT_HPP
#define TEMPORT_RESULT_HPP

#include <optional>
#include <string>
#include <utility>

#include "temport/temport.h"

namespace temport {

struct Error {
  temport_code code;
  std::string message;
};

inline Error refused(std::string message) { return {TEMPORT_REFUSED, std::move(message)}; }
inline Error unavailable(std::string message) { return {TEMPORT_UNAVAILABLE, std::move(message)}; }
inline Error invalid_argument(std::string message) { return {TEMPORT_INVALID_ARGUMENT, std::move(message)}; }
inline Error unsupported(std::string message) { return {TEMPORT_UNSUPPORTED, std::move(message)}; }
inline Error failed(std::string message) { return {TEMPORT_FAILED, std::move(message)}; }

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Error error) : error_(std::move(error)) {}

  explicit operator bool() const { return value_.has_value(); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  const Error& error() const { return error_; }

 private:
  std::optional<T> value_;
  Error error_{};  // says nothing beside a value
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  explicit operator bool() const { return !error_.has_value(); }
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

}  // namespace temport
#endif
