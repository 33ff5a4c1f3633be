// Owns the checking of what JavaScript passes in. Must not know what the values are for.

#include "arguments.h"

#include <cmath>
#include "error.h"

std::optional<Bytes> ReadBytes(const Napi::Value &value, const char *name) {
  bool is_array = false;
  napi_is_typedarray(value.Env(), value, &is_array);
  if (is_array) {
    napi_typedarray_type type;
    size_t length = 0;
    void *data = nullptr;
    napi_status status =
        napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr);
    if (status == napi_ok && type == napi_uint8_array)
      return Bytes{static_cast<const uint8_t *>(data), length};
  }
  ThrowTypeError(value.Env(), std::string(name) + " must be a Uint8Array");
  return std::nullopt;
}

std::optional<std::string> ReadText(const Napi::Value &value, const char *name) {
  if (value.IsString()) {
    std::string text = value.As<Napi::String>().Utf8Value();
    if (!text.empty() && text.find('\0') == std::string::npos)
      return text;
  }
  ThrowTypeError(value.Env(), std::string(name) + " must be a string, not empty and without NUL");
  return std::nullopt;
}

std::optional<uint32_t> ReadUint32(const Napi::Value &value, const char *name,
                                   std::optional<uint32_t> fallback, uint32_t least) {
  if (fallback.has_value() && value.IsUndefined())
    return fallback;
  if (!value.IsNumber()) {
    ThrowTypeError(value.Env(), std::string(name) + " must be a number");
    return std::nullopt;
  }
  double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= least && number <= UINT32_MAX) || number != std::floor(number)) {
    ThrowRangeError(value.Env(), std::string(name) + " must be a whole number of " +
                                     std::to_string(least) + " to 4294967295");
    return std::nullopt;
  }
  return static_cast<uint32_t>(number);
}

std::optional<Napi::Object> ReadOptions(const Napi::Value &value, const char *name) {
  if (value.IsUndefined())
    return Napi::Object::New(value.Env());
  if (value.IsObject())
    return value.As<Napi::Object>();
  ThrowTypeError(value.Env(), std::string(name) + " must be an object");
  return std::nullopt;
}

std::optional<Napi::Value> ReadProperty(const Napi::Object &options, const char *name) {
  Napi::Value value = options.Get(name);
  if (options.Env().IsExceptionPending())
    return std::nullopt;
  return value;
}

std::optional<Bytes> ReadBytesProperty(const Napi::Object &options, const char *name) {
  std::optional<Napi::Value> value = ReadProperty(options, name);
  if (!value)
    return std::nullopt;
  return value->IsUndefined() ? Bytes{nullptr, 0} : ReadBytes(*value, name);
}

std::optional<uint32_t> ReadUint32Property(const Napi::Object &options, const char *name,
                                           uint32_t fallback, uint32_t least) {
  std::optional<Napi::Value> value = ReadProperty(options, name);
  if (!value)
    return std::nullopt;
  return ReadUint32(*value, name, fallback, least);
}
