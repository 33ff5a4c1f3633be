// Owns BpfProgram: a loaded program. Must not know which hook it is for.

#ifndef WEFT_NATIVE_PROGRAM_H
#define WEFT_NATIVE_PROGRAM_H

#include <napi.h>
#include <string>
#include "fd.h"
#include "handle.h"

struct ProgramState {
  Fd fd;
  std::string name;
};

class Program : public Handle<Program, ProgramState> {
public:
  static constexpr HandleClass kClass = kProgram;
  static constexpr const char *kName = "BpfProgram";
  static constexpr napi_type_tag kTag = {0x77656674f0a94d02, 0x8c40d1f3b7a24e22};

  static void Define(Napi::Env env);
  /** A handle of the program behind `fd`, which `what` names in errors. */
  static Napi::Value Open(Napi::Env env, Fd fd, const std::string &what);

  explicit Program(const Napi::CallbackInfo &info);

  /** The descriptor; -1 with BpfError EBADF pending when closed. */
  int RequireFd(Napi::Env env, const char *action) const;
  /** "program 'NAME'" */
  std::string Describe() const;

private:
  Napi::Value Info(const Napi::CallbackInfo &info);
  Napi::Value Pin(const Napi::CallbackInfo &info);
  Napi::Value TestRun(const Napi::CallbackInfo &info);
  Napi::Value Close(const Napi::CallbackInfo &info);
};

#endif
