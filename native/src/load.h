// Owns loading a program given as instructions. Must not know what they do.

#ifndef WEFT_NATIVE_LOAD_H
#define WEFT_NATIVE_LOAD_H

#include <napi.h>

/** loadProgram({ type, attachType, name, instructions, maps }) */
Napi::Value LoadProgram(const Napi::CallbackInfo &info);

#endif
