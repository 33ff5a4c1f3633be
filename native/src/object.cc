// Owns BpfObject: a compiled file on its way into the kernel. Must not know what is in it.

#include "object.h"

#include <bpf/libbpf.h>
#include <cerrno>
#include "arguments.h"
#include "map.h"
#include "print.h"
#include "program.h"
#include "signals.h"

namespace {

/** The error of a failed call of libbpf, with what it warned about meanwhile. */
Napi::Error LibbpfError(Napi::Env env, int error, const std::string &what,
                        const std::string &warnings) {
  return MakeBpfError(env, error, warnings.empty() ? what : what + ": " + warnings);
}

/** How a load ended: 0 or an errno, and what libbpf and the verifier said. */
struct LoadOutcome {
  int error = 0;
  std::string warnings;
  std::string program;
  std::string verifier_log;
};

/** bpf_object__load(), on any thread. */
LoadOutcome LoadNow(bpf_object *object) {
  PrintCapture printed;
  SignalsHeld held;
  int result = bpf_object__load(object);
  return {-result, printed.warnings(), printed.program(), printed.verifier_log()};
}

Napi::Error LoadError(Napi::Env env, const std::string &what, const LoadOutcome &outcome) {
  if (outcome.verifier_log.empty())
    return LibbpfError(env, outcome.error, what + ": load", outcome.warnings);
  return MakeVerifierError(env, outcome.error, what + ": program '" + outcome.program + "'",
                           outcome.verifier_log);
}

/** One loadAsync(): keeps the handle alive and has its object meanwhile. */
class LoadWorker : public Napi::AsyncWorker {
public:
  LoadWorker(Napi::Env env, Object *handle, OwnedObject object, std::string what)
      : AsyncWorker(env, "weft.loadWorker"), deferred_(Napi::Promise::Deferred::New(env)),
        handle_(handle), kept_(Napi::Persistent(handle->Value())), object_(std::move(object)),
        what_(std::move(what)) {}

  Napi::Promise Start() {
    Napi::Promise promise = deferred_.Promise();
    Queue();
    return promise;
  }

private:
  void Execute() final { outcome_ = LoadNow(object_.get()); }

  void OnOK() final {
    handle_->EndLoad(std::move(object_));
    if (outcome_.error == 0)
      deferred_.Resolve(Env().Undefined());
    else
      deferred_.Reject(LoadError(Env(), what_, outcome_).Value());
  }

  Napi::Promise::Deferred deferred_;
  Object *handle_;
  Napi::ObjectReference kept_;
  OwnedObject object_;
  std::string what_;
  LoadOutcome outcome_;
};

Napi::Array MapNames(Napi::Env env, const bpf_object *object) {
  Napi::Array names = Napi::Array::New(env);
  bpf_map *map;
  bpf_object__for_each_map(map, object) {
    if (!bpf_map__is_internal(map))
      names.Set(names.Length(), bpf_map__name(map));
  }
  names.Freeze();
  return names;
}

Napi::Array ProgramNames(Napi::Env env, const bpf_object *object) {
  Napi::Array names = Napi::Array::New(env);
  bpf_program *program;
  bpf_object__for_each_program(program, object) {
    names.Set(names.Length(), bpf_program__name(program));
  }
  names.Freeze();
  return names;
}

/** In what a map cannot stand in for the object's own; empty when it can. */
std::string Difference(const bpf_map *own, const bpf_map_info &other) {
  auto compare = [](const char *what, uint32_t mine, uint32_t theirs) {
    return mine == theirs ? std::string()
                          : std::string(what) + " " + std::to_string(theirs) +
                                ", the object's own has " + std::to_string(mine);
  };
  std::string difference = compare("type", bpf_map__type(own), other.type);
  if (difference.empty())
    difference = compare("key size", bpf_map__key_size(own), other.key_size);
  if (difference.empty())
    difference = compare("value size", bpf_map__value_size(own), other.value_size);
  if (difference.empty())
    difference = compare("flags", bpf_map__map_flags(own), other.map_flags);
  return difference;
}

} // namespace

void BpfObjectCloser::operator()(bpf_object *object) const {
  bpf_object__close(object);
}

void Object::Define(Napi::Env env) {
  Register<Object>(env, {
                            InstanceMethod<&Object::SetMaxEntries>("setMaxEntries"),
                            InstanceMethod<&Object::ReuseMap>("reuseMap"),
                            InstanceMethod<&Object::Load>("load"),
                            InstanceMethod<&Object::LoadAsync>("loadAsync"),
                            InstanceMethod<&Object::TakeMap>("map"),
                            InstanceMethod<&Object::TakeProgram>("program"),
                            InstanceMethod<&Object::Close>("close"),
                        });
}

Napi::Value Object::OpenFile(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  std::optional<std::string> path = ReadText(info[0], "path");
  if (!path)
    return Napi::Value();
  PrintCapture printed;
  bpf_object *object = bpf_object__open_file(path->c_str(), nullptr);
  if (object == nullptr) {
    LibbpfError(env, errno, "open " + *path, printed.warnings()).ThrowAsJavaScriptException();
    return Napi::Value();
  }
  ObjectState state;
  state.object.reset(object);
  state.name = bpf_object__name(object);
  return Create(env, std::move(state));
}

Object::Object(const Napi::CallbackInfo &info) : Handle(info) {
  if (!state_.object)
    return;
  Napi::Object self = info.This().As<Napi::Object>();
  SetConstant(self, "mapNames", MapNames(info.Env(), state_.object.get()));
  SetConstant(self, "programNames", ProgramNames(info.Env(), state_.object.get()));
}

std::string Object::Describe() const {
  return "object '" + state_.name + "'";
}

bool Object::RequireOpen(Napi::Env env, const char *action) const {
  if (state_.is_loading)
    ThrowBpfError(env, EBUSY, Describe() + " is being loaded: " + action);
  else if (!state_.object)
    ThrowBpfError(env, EBADF, Describe() + " is closed: " + action);
  return state_.object != nullptr;
}

bpf_map *Object::FindMap(const Napi::Value &value) const {
  std::optional<std::string> name = ReadText(value, "map name");
  if (!name)
    return nullptr;
  bpf_map *map = bpf_object__find_map_by_name(state_.object.get(), name->c_str());
  if (map == nullptr)
    ThrowBpfError(value.Env(), ENOENT, Describe() + " has no map '" + *name + "'");
  return map;
}

Napi::Value Object::SetMaxEntries(const Napi::CallbackInfo &info) {
  if (!RequireOpen(info.Env(), "setMaxEntries"))
    return Napi::Value();
  bpf_map *map = FindMap(info[0]);
  if (map == nullptr)
    return Napi::Value();
  std::optional<uint32_t> entries = ReadUint32(info[1], "entries", std::nullopt, 1);
  if (!entries)
    return Napi::Value();
  int result = bpf_map__set_max_entries(map, *entries);
  if (result != 0)
    return ThrowBpfError(info.Env(), -result,
                         Describe() + ": setMaxEntries of map '" + bpf_map__name(map) + "'");
  return info.Env().Undefined();
}

Napi::Value Object::ReuseMap(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  if (!RequireOpen(env, "reuseMap"))
    return Napi::Value();
  bpf_map *own = FindMap(info[0]);
  if (own == nullptr)
    return Napi::Value();
  Map *other = Map::Unwrap(info[1]);
  if (other == nullptr)
    return Napi::Value();
  int fd = other->RequireFd(env, "reuseMap");
  if (fd < 0)
    return Napi::Value();
  std::string what = Describe() + ": reuseMap of map '" + bpf_map__name(own) + "'";
  std::string difference = Difference(own, other->info());
  if (!difference.empty())
    return ThrowBpfError(env, EINVAL, what + ": the map given has " + difference);
  int result = bpf_map__reuse_fd(own, fd);
  if (result != 0)
    return ThrowBpfError(env, -result, what);
  return env.Undefined();
}

Napi::Value Object::Load(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  if (!RequireOpen(env, "load"))
    return Napi::Value();
  LoadOutcome outcome = LoadNow(state_.object.get());
  if (outcome.error != 0)
    LoadError(env, Describe(), outcome).ThrowAsJavaScriptException();
  return env.Undefined();
}

Napi::Value Object::LoadAsync(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  if (!RequireOpen(env, "loadAsync"))
    return Napi::Value();
  state_.is_loading = true;
  auto *worker = new LoadWorker(env, this, std::move(state_.object), Describe());
  return worker->Start();
}

void Object::EndLoad(OwnedObject object) {
  // close() has taken the mark away.
  if (state_.is_loading)
    state_.object = std::move(object);
  state_.is_loading = false;
}

Napi::Value Object::TakeMap(const Napi::CallbackInfo &info) {
  if (!RequireOpen(info.Env(), "map"))
    return Napi::Value();
  bpf_map *map = FindMap(info[0]);
  if (map == nullptr)
    return Napi::Value();
  std::string what = Describe() + ": map '" + bpf_map__name(map) + "'";
  int fd = bpf_map__fd(map);
  if (fd < 0)
    return ThrowBpfError(info.Env(), EINVAL, what + " before load()");
  return Map::Open(info.Env(), Fd::Duplicate(fd), what);
}

Napi::Value Object::TakeProgram(const Napi::CallbackInfo &info) {
  if (!RequireOpen(info.Env(), "program"))
    return Napi::Value();
  std::optional<std::string> name = ReadText(info[0], "program name");
  if (!name)
    return Napi::Value();
  const bpf_program *program = bpf_object__find_program_by_name(state_.object.get(), name->c_str());
  if (program == nullptr)
    return ThrowBpfError(info.Env(), ENOENT, Describe() + " has no program '" + *name + "'");
  std::string what = Describe() + ": program '" + *name + "'";
  int fd = bpf_program__fd(program);
  if (fd < 0)
    return ThrowBpfError(info.Env(), EINVAL, what + " before load()");
  return Program::Open(info.Env(), Fd::Duplicate(fd), what);
}

Napi::Value Object::Close(const Napi::CallbackInfo &info) {
  state_.object.reset();
  state_.is_loading = false;
  return info.Env().Undefined();
}
