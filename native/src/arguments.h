// Owns the checking of what JavaScript passes in: each reader gives a value, or nothing with a
// TypeError or RangeError pending. Must not know what the values are for.

#ifndef WEFT_NATIVE_ARGUMENTS_H
#define WEFT_NATIVE_ARGUMENTS_H

#include <cstddef>
#include <cstdint>
#include <napi.h>
#include <optional>
#include <string>

/** The memory of a Uint8Array; valid until JavaScript runs again. */
struct Bytes {
  const uint8_t *data;
  size_t size;
};

/** A Uint8Array (a Buffer is one). */
std::optional<Bytes> ReadBytes(const Napi::Value &value, const char *name);

/** A string without NUL, not empty: a path or the name of a map, program or interface. */
std::optional<std::string> ReadText(const Napi::Value &value, const char *name);

/** A whole number in [least, 2^32 - 1]; `fallback`, where given, stands for undefined. */
std::optional<uint32_t> ReadUint32(const Napi::Value &value, const char *name,
                                   std::optional<uint32_t> fallback = std::nullopt,
                                   uint32_t least = 0);

/** An options object; undefined gives an empty one. */
std::optional<Napi::Object> ReadOptions(const Napi::Value &value, const char *name);

/** A property of an options object; null with an exception pending when a getter throws. */
std::optional<Napi::Value> ReadProperty(const Napi::Object &options, const char *name);

/** ReadBytes of a property; empty when it is undefined. */
std::optional<Bytes> ReadBytesProperty(const Napi::Object &options, const char *name);

/** ReadUint32 of a property. */
std::optional<uint32_t> ReadUint32Property(const Napi::Object &options, const char *name,
                                           uint32_t fallback, uint32_t least = 0);

#endif
