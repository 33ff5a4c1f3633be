// Owns BpfMap: single and batch operations on one map. Must not know what keys and values mean.

#include "map.h"

#include <bpf/bpf.h>
#include <cerrno>
#include "entries.h"
#include "map_layout.h"
#include "program.h"

namespace {

MapShape ShapeOf(int fd, const bpf_map_info &info, size_t value_bytes) {
  return {fd, info.type, info.key_size, value_bytes, info.max_entries};
}

Napi::Object InfoObject(Napi::Env env, const bpf_map_info &info) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("id", info.id);
  object.Set("type", info.type);
  object.Set("name", info.name);
  object.Set("keySize", info.key_size);
  object.Set("valueSize", info.value_size);
  object.Set("maxEntries", info.max_entries);
  object.Set("flags", info.map_flags);
  object.Freeze();
  return object;
}

} // namespace

void Map::Define(Napi::Env env) {
  Register<Map>(env, {
                         InstanceMethod<&Map::Lookup>("lookup"),
                         InstanceMethod<&Map::Update>("update"),
                         InstanceMethod<&Map::UpdateProgram>("updateProgram"),
                         InstanceMethod<&Map::Delete>("delete"),
                         InstanceMethod<&Map::UpdateBatch>("updateBatch"),
                         InstanceMethod<&Map::DeleteBatch>("deleteBatch"),
                         InstanceMethod<&Map::Entries>("entries"),
                         InstanceMethod<&Map::Layout>("layout"),
                         InstanceMethod<&Map::Pin>("pin"),
                         InstanceMethod<&Map::Close>("close"),
                     });
}

Napi::Value Map::Open(Napi::Env env, Fd fd, const std::string &what) {
  MapState state;
  uint32_t size = sizeof(state.info);
  if (!fd.valid() || bpf_obj_get_info_by_fd(fd.get(), &state.info, &size) != 0)
    return ThrowBpfError(env, errno, what);
  state.fd = std::move(fd);
  return Create(env, std::move(state));
}

Map::Map(const Napi::CallbackInfo &info) : Handle(info) {
  if (!state_.fd.valid())
    return;
  value_bytes_ = ValueBytes(state_.info);
  scratch_.resize(value_bytes_);
  SetConstant(info.This().As<Napi::Object>(), "info", InfoObject(info.Env(), state_.info));
}

std::string Map::Describe() const {
  return std::string("map '") + state_.info.name + "'";
}

int Map::RequireFd(Napi::Env env, const char *action) const {
  if (!state_.fd.valid())
    ThrowBpfError(env, EBADF, Describe() + " is closed: " + action);
  return state_.fd.get();
}

std::optional<Bytes> Map::ReadItems(const Napi::Value &value, const char *name, size_t item_size,
                                    size_t count) const {
  std::optional<Bytes> bytes = ReadBytes(value, name);
  if (!bytes || bytes->size == item_size * count)
    return bytes;
  std::string expected = std::to_string(item_size);
  if (count != 1)
    expected = std::to_string(count) + " times " + expected;
  ThrowRangeError(value.Env(), Describe() + ": " + name + " of " + std::to_string(bytes->size) +
                                   " bytes, expected " + expected);
  return std::nullopt;
}

Napi::Value Map::Lookup(const Napi::CallbackInfo &info) {
  int fd = RequireFd(info.Env(), "lookup");
  if (fd < 0)
    return Napi::Value();
  std::optional<Bytes> key = ReadItems(info[0], "key", state_.info.key_size, 1);
  if (!key)
    return Napi::Value();
  if (bpf_map_lookup_elem(fd, key->data, scratch_.data()) != 0) {
    if (errno == ENOENT)
      return info.Env().Undefined();
    return ThrowBpfError(info.Env(), errno, Describe() + ": lookup");
  }
  return Napi::Buffer<uint8_t>::Copy(info.Env(), scratch_.data(), scratch_.size());
}

Napi::Value Map::Update(const Napi::CallbackInfo &info) {
  int fd = RequireFd(info.Env(), "update");
  if (fd < 0)
    return Napi::Value();
  std::optional<uint32_t> flags = ReadUint32(info[2], "flags", BPF_ANY);
  if (!flags)
    return Napi::Value();
  std::optional<Bytes> key = ReadItems(info[0], "key", state_.info.key_size, 1);
  if (!key)
    return Napi::Value();
  std::optional<Bytes> value = ReadItems(info[1], "value", value_bytes_, 1);
  if (!value)
    return Napi::Value();
  if (bpf_map_update_elem(fd, key->data, value->data, *flags) != 0)
    return ThrowBpfError(info.Env(), errno, Describe() + ": update");
  return info.Env().Undefined();
}

Napi::Value Map::UpdateProgram(const Napi::CallbackInfo &info) {
  int fd = RequireFd(info.Env(), "updateProgram");
  if (fd < 0)
    return Napi::Value();
  if (state_.info.type != BPF_MAP_TYPE_PROG_ARRAY)
    return ThrowBpfError(info.Env(), EINVAL, Describe() + " holds no programs: updateProgram");
  std::optional<Bytes> key = ReadItems(info[0], "key", state_.info.key_size, 1);
  if (!key)
    return Napi::Value();
  Program *program = Program::Unwrap(info[1]);
  if (program == nullptr)
    return Napi::Value();
  int value = program->RequireFd(info.Env(), "updateProgram");
  if (value < 0)
    return Napi::Value();
  if (bpf_map_update_elem(fd, key->data, &value, BPF_ANY) != 0)
    return ThrowBpfError(info.Env(), errno, Describe() + ": update to " + program->Describe());
  return info.Env().Undefined();
}

Napi::Value Map::Delete(const Napi::CallbackInfo &info) {
  int fd = RequireFd(info.Env(), "delete");
  if (fd < 0)
    return Napi::Value();
  std::optional<Bytes> key = ReadItems(info[0], "key", state_.info.key_size, 1);
  if (!key)
    return Napi::Value();
  bool deleted = bpf_map_delete_elem(fd, key->data) == 0;
  if (!deleted && errno != ENOENT)
    return ThrowBpfError(info.Env(), errno, Describe() + ": delete");
  return Napi::Boolean::New(info.Env(), deleted);
}

static Napi::Value ToObject(Napi::Env env, const BatchResult &result, const std::string &what) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("done", result.done);
  if (result.error != 0)
    object.Set("error", MakeBpfError(env, result.error,
                                     what + " after " + std::to_string(result.done) + " entries")
                            .Value());
  return object;
}

Napi::Value Map::UpdateBatch(const Napi::CallbackInfo &info) {
  int fd = RequireFd(info.Env(), "updateBatch");
  if (fd < 0)
    return Napi::Value();
  std::optional<uint32_t> count = ReadUint32(info[2], "count");
  if (!count)
    return Napi::Value();
  std::optional<uint32_t> flags = ReadUint32(info[3], "flags", BPF_ANY);
  if (!flags)
    return Napi::Value();
  std::optional<Bytes> keys = ReadItems(info[0], "keys", state_.info.key_size, *count);
  if (!keys)
    return Napi::Value();
  std::optional<Bytes> values = ReadItems(info[1], "values", value_bytes_, *count);
  if (!values)
    return Napi::Value();
  BatchResult result = UpdateEntries(ShapeOf(fd, state_.info, value_bytes_), keys->data,
                                     values->data, *count, *flags);
  return ToObject(info.Env(), result, Describe() + ": updateBatch");
}

Napi::Value Map::DeleteBatch(const Napi::CallbackInfo &info) {
  int fd = RequireFd(info.Env(), "deleteBatch");
  if (fd < 0)
    return Napi::Value();
  std::optional<uint32_t> count = ReadUint32(info[1], "count");
  if (!count)
    return Napi::Value();
  std::optional<Bytes> keys = ReadItems(info[0], "keys", state_.info.key_size, *count);
  if (!keys)
    return Napi::Value();
  BatchResult result = DeleteEntries(ShapeOf(fd, state_.info, value_bytes_), keys->data, *count);
  return ToObject(info.Env(), result, Describe() + ": deleteBatch");
}

Napi::Value Map::Entries(const Napi::CallbackInfo &info) {
  int fd = RequireFd(info.Env(), "entries");
  if (fd < 0)
    return Napi::Value();
  std::vector<uint8_t> keys;
  std::vector<uint8_t> values;
  int error = ReadEntries(ShapeOf(fd, state_.info, value_bytes_), &keys, &values);
  if (error != 0)
    return ThrowBpfError(info.Env(), error, Describe() + ": entries");
  size_t count = state_.info.key_size == 0 ? 0 : keys.size() / state_.info.key_size;
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("count", static_cast<double>(count));
  object.Set("keys", Napi::Buffer<uint8_t>::Copy(info.Env(), keys.data(), keys.size()));
  object.Set("values", Napi::Buffer<uint8_t>::Copy(info.Env(), values.data(), values.size()));
  return object;
}

Napi::Value Map::Layout(const Napi::CallbackInfo &info) {
  if (RequireFd(info.Env(), "layout") < 0)
    return Napi::Value();
  return MapLayout(info.Env(), state_.info, Describe());
}

Napi::Value Map::Pin(const Napi::CallbackInfo &info) {
  int fd = RequireFd(info.Env(), "pin");
  if (fd < 0)
    return Napi::Value();
  std::optional<std::string> path = ReadText(info[0], "path");
  if (!path)
    return Napi::Value();
  if (bpf_obj_pin(fd, path->c_str()) != 0)
    return ThrowBpfError(info.Env(), errno, Describe() + ": pin at " + *path);
  return info.Env().Undefined();
}

Napi::Value Map::Close(const Napi::CallbackInfo &info) {
  state_.fd.Close();
  return info.Env().Undefined();
}
