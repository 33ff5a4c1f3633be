// Owns MapSocket: a socket pair whose far end is in a socket map, so that what is sent goes to the
// program that hangs on it. Must not know what is sent.

#include "map_socket.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <sys/socket.h>
#include "arguments.h"
#include "map.h"
#include "program.h"

Napi::Value AttachToMap(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Program *program = Program::Unwrap(info[0]);
  if (program == nullptr)
    return Napi::Value();
  Map *map = Map::Unwrap(info[1]);
  if (map == nullptr)
    return Napi::Value();
  int program_fd = program->RequireFd(env, "attachToMap");
  if (program_fd < 0)
    return Napi::Value();
  int map_fd = map->RequireFd(env, "attachToMap");
  if (map_fd < 0)
    return Napi::Value();
  std::optional<uint32_t> attach_type = ReadUint32(info[2], "attachType");
  if (!attach_type)
    return Napi::Value();
  if (bpf_prog_attach(program_fd, map_fd, static_cast<bpf_attach_type>(*attach_type), 0) != 0)
    return ThrowBpfError(env, errno, "attach " + program->Describe() + " to " + map->Describe());
  return env.Undefined();
}

void MapSocket::Define(Napi::Env env) {
  Register<MapSocket>(
      env, {InstanceMethod<&MapSocket::Send>("send"), InstanceMethod<&MapSocket::Close>("close")});
}

Napi::Value MapSocket::Open(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Map *map = Map::Unwrap(info[0]);
  if (map == nullptr)
    return Napi::Value();
  int map_fd = map->RequireFd(env, "openMapSocket");
  if (map_fd < 0)
    return Napi::Value();
  std::optional<uint32_t> key = ReadUint32(info[1], "key");
  if (!key)
    return Napi::Value();
  if (map->info().type != BPF_MAP_TYPE_SOCKMAP || map->info().value_size != sizeof(uint64_t))
    return ThrowBpfError(env, EINVAL, map->Describe() + " holds no sockets: openMapSocket");
  // Datagrams: each is a message of its own, whatever else waits.
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    return ThrowBpfError(env, errno, "make a socket pair for " + map->Describe());
  MapSocketState state{Fd(ends[0]), Fd(ends[1])};
  uint64_t far = static_cast<uint64_t>(state.far.get());
  uint32_t index = *key;
  if (bpf_map_update_elem(map_fd, &index, &far, BPF_ANY) != 0)
    return ThrowBpfError(env, errno, map->Describe() + ": put a socket there");
  return Create(env, std::move(state));
}

MapSocket::MapSocket(const Napi::CallbackInfo &info) : Handle(info) {}

Napi::Value MapSocket::Send(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  std::optional<Bytes> bytes = ReadBytes(info[0], "bytes");
  if (!bytes)
    return Napi::Value();
  if (!state_.near.valid())
    return ThrowBpfError(env, EBADF, "send to a map's socket that is closed");
  if (send(state_.near.get(), bytes->data, bytes->size, MSG_NOSIGNAL) >= 0)
    return Napi::Boolean::New(env, true);
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)
    return Napi::Boolean::New(env, false);
  return ThrowBpfError(env, errno, "send to a map's socket");
}

Napi::Value MapSocket::Close(const Napi::CallbackInfo &info) {
  state_.near.Close();
  state_.far.Close();
  return info.Env().Undefined();
}
