// Owns BpfObject: a compiled file on its way into the kernel. Must not know what is in it.

#ifndef WEFT_NATIVE_OBJECT_H
#define WEFT_NATIVE_OBJECT_H

#include <memory>
#include <napi.h>
#include <string>
#include "handle.h"

struct bpf_object;
struct bpf_map;

struct BpfObjectCloser {
  void operator()(bpf_object *object) const;
};

using OwnedObject = std::unique_ptr<bpf_object, BpfObjectCloser>;

struct ObjectState {
  OwnedObject object;
  std::string name;
  /** Another thread has the object until EndLoad(). */
  bool is_loading = false;
};

class Object : public Handle<Object, ObjectState> {
public:
  static constexpr HandleClass kClass = kObject;
  static constexpr const char *kName = "BpfObject";
  static constexpr napi_type_tag kTag = {0x77656674f0a94d04, 0xd1c86b25e9f74044};

  static void Define(Napi::Env env);
  /** openObject(path) */
  static Napi::Value OpenFile(const Napi::CallbackInfo &info);

  explicit Object(const Napi::CallbackInfo &info);

  /** Takes the object back that loadAsync() gave away; it is gone if it was closed meanwhile. */
  void EndLoad(OwnedObject object);

private:
  Napi::Value SetMaxEntries(const Napi::CallbackInfo &info);
  Napi::Value ReuseMap(const Napi::CallbackInfo &info);
  Napi::Value Load(const Napi::CallbackInfo &info);
  Napi::Value LoadAsync(const Napi::CallbackInfo &info);
  Napi::Value TakeMap(const Napi::CallbackInfo &info);
  Napi::Value TakeProgram(const Napi::CallbackInfo &info);
  Napi::Value Close(const Napi::CallbackInfo &info);

  /** False with BpfError pending: EBADF when closed, EBUSY while it is being loaded. */
  bool RequireOpen(Napi::Env env, const char *action) const;
  /** The map that `value` names; null with an exception pending. */
  bpf_map *FindMap(const Napi::Value &value) const;
  /** "object 'NAME'" */
  std::string Describe() const;
};

#endif
