// Owns BpfLink: a program attached to a hook. Must not know how the hook was found.

#ifndef WEFT_NATIVE_LINK_H
#define WEFT_NATIVE_LINK_H

#include <napi.h>
#include <string>
#include "fd.h"
#include "handle.h"

struct LinkState {
  Fd fd;
};

class Link : public Handle<Link, LinkState> {
public:
  static constexpr HandleClass kClass = kLink;
  static constexpr const char *kName = "BpfLink";
  static constexpr napi_type_tag kTag = {0x77656674f0a94d03, 0xa52f7e90c1384b33};

  static void Define(Napi::Env env);

  explicit Link(const Napi::CallbackInfo &info);

  /** The descriptor; -1 with BpfError EBADF pending when closed. */
  int RequireFd(Napi::Env env, const char *action) const;

private:
  Napi::Value Info(const Napi::CallbackInfo &info);
  Napi::Value Update(const Napi::CallbackInfo &info);
  Napi::Value Detach(const Napi::CallbackInfo &info);
  Napi::Value Pin(const Napi::CallbackInfo &info);
  Napi::Value Close(const Napi::CallbackInfo &info);
};

#endif
