// Owns what every object handed to JavaScript has in common: creation from C++ only, and a type
// tag that is checked before a pointer is believed. Must not know any class.

#ifndef WEFT_NATIVE_HANDLE_H
#define WEFT_NATIVE_HANDLE_H

#include <array>
#include <napi.h>
#include <string>
#include <utility>
#include "error.h"

/** Index of a class among the constructors of an environment. */
enum HandleClass {
  kMap,
  kProgram,
  kLink,
  kObject,
  kRingBuffer,
  kStats,
  kDirectoryLock,
  kMapSocket,
  kHandleClasses
};

/** What one environment (main thread or worker) keeps; freed with it. */
struct AddonData {
  std::array<Napi::FunctionReference, kHandleClasses> constructors;
  /** The State of the handle under construction; null whenever JavaScript runs. */
  void *pending = nullptr;
};

/**
 * Base of a class T, which declares: `struct State`, `static constexpr HandleClass kClass`,
 * `static constexpr napi_type_tag kTag`, `static constexpr const char *kName`.
 */
template <class T, class StateType> class Handle : public Napi::ObjectWrap<T> {
public:
  using State = StateType;

  /** A new handle that owns `state`; empty with an exception pending when that fails. */
  static Napi::Value Create(Napi::Env env, State state) {
    AddonData *data = env.GetInstanceData<AddonData>();
    data->pending = &state;
    Napi::Value created = data->constructors[T::kClass].New({});
    data->pending = nullptr;
    return created;
  }

  /**
   * The T behind `value`; null with a TypeError pending when it is anything else. Hides
   * ObjectWrap's own, which believes any wrapped object: node-addon-api looks methods and accessors
   * up here.
   */
  static T *Unwrap(Napi::Value value) {
    bool tagged = false;
    if (value.IsObject())
      napi_check_object_type_tag(value.Env(), value, &T::kTag, &tagged);
    if (!tagged) {
      ThrowTypeError(value.Env(), std::string("expected a ") + T::kName);
      return nullptr;
    }
    return Napi::ObjectWrap<T>::Unwrap(value.As<Napi::Object>());
  }

protected:
  explicit Handle(const Napi::CallbackInfo &info) : Napi::ObjectWrap<T>(info) {
    AddonData *data = info.Env().template GetInstanceData<AddonData>();
    State *given = static_cast<State *>(std::exchange(data->pending, nullptr));
    if (given == nullptr) {
      ThrowTypeError(info.Env(), std::string(T::kName) + " cannot be constructed");
      return;
    }
    // A worker that is being terminated cannot wrap: what is not wrapped is never finalized, so the
    // state stays with Create(), which frees it.
    if (this->IsEmpty())
      return;
    state_ = std::move(*given);
    napi_type_tag_object(info.Env(), info.This(), &T::kTag);
  }

  State state_;
};

/** Registers class T with its methods; called once an environment. */
template <class T>
void Register(Napi::Env env, std::initializer_list<Napi::ClassPropertyDescriptor<T>> members) {
  Napi::Function constructor = T::DefineClass(env, T::kName, members);
  env.GetInstanceData<AddonData>()->constructors[T::kClass] = Napi::Persistent(constructor);
}

/** A read-only own property. */
inline void SetConstant(Napi::Object object, const char *name, const Napi::Value &value) {
  object.DefineProperty(Napi::PropertyDescriptor::Value(name, value, napi_enumerable));
}

#endif
