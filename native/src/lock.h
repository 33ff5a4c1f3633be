// Owns DirectoryLock: a directory that one process at a time may hold. Must not know what it stands
// for.

#ifndef WEFT_NATIVE_LOCK_H
#define WEFT_NATIVE_LOCK_H

#include <napi.h>
#include "fd.h"
#include "handle.h"

struct DirectoryLockState {
  Fd fd;
};

class DirectoryLock : public Handle<DirectoryLock, DirectoryLockState> {
public:
  static constexpr HandleClass kClass = kDirectoryLock;
  static constexpr const char *kName = "DirectoryLock";
  static constexpr napi_type_tag kTag = {0x77656674f0a94d07, 0x5ad2c81e96b74377};

  static void Define(Napi::Env env);
  /** lockDirectory(path) */
  static Napi::Value Take(const Napi::CallbackInfo &info);

  explicit DirectoryLock(const Napi::CallbackInfo &info);

private:
  Napi::Value Close(const Napi::CallbackInfo &info);
};

#endif
