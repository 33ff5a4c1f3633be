// Owns BpfError: how an errno of the kernel or libbpf becomes a JavaScript error.
// Must not know which call failed.

#include "error.h"

#include <cstring>
#include "print.h"

namespace {
/** Kernel-internal errno that bpf(2) lets through, e.g. for a map type without batches. */
constexpr int kEnotsupp = 524;
} // namespace

std::string ErrnoName(int error) {
  if (error == kEnotsupp)
    return "ENOTSUPP";
  const char *name = strerrorname_np(error);
  return name != nullptr ? name : "ERRNO_" + std::to_string(error);
}

Napi::Error MakeBpfError(Napi::Env env, int error, const std::string &what) {
  std::string code = ErrnoName(error);
  const char *description = strerrordesc_np(error);
  std::string message =
      what + ": " + code + " (" + (description != nullptr ? description : "not supported") + ")";
  Napi::Error result = Napi::Error::New(env, message);
  result.Set("code", Napi::String::New(env, code));
  result.Set("errno", Napi::Number::New(env, error));
  return result;
}

Napi::Value ThrowBpfError(Napi::Env env, int error, const std::string &what) {
  MakeBpfError(env, error, what).ThrowAsJavaScriptException();
  return Napi::Value();
}

Napi::Error MakeVerifierError(Napi::Env env, int error, const std::string &what,
                              const std::string &log) {
  Napi::Error result =
      MakeBpfError(env, error, what + " refused by the verifier: " + VerifierSummary(log));
  // Not enumerable: a log of megabytes does not belong in every printed error.
  result.Value().DefineProperty(
      Napi::PropertyDescriptor::Value("verifierLog", Napi::String::New(env, log), napi_default));
  return result;
}

Napi::Value ThrowVerifierError(Napi::Env env, int error, const std::string &what,
                               const std::string &log) {
  MakeVerifierError(env, error, what, log).ThrowAsJavaScriptException();
  return Napi::Value();
}

Napi::Value ThrowTypeError(Napi::Env env, const std::string &message) {
  Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
  return Napi::Value();
}

Napi::Value ThrowRangeError(Napi::Env env, const std::string &message) {
  Napi::RangeError::New(env, message).ThrowAsJavaScriptException();
  return Napi::Value();
}
