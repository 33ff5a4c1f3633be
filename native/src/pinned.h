// Owns reopening what is in the kernel already, by its pin or its id. Must not know who put it
// there.

#ifndef WEFT_NATIVE_PINNED_H
#define WEFT_NATIVE_PINNED_H

#include <napi.h>

/** openPinnedMap(path) */
Napi::Value OpenPinnedMap(const Napi::CallbackInfo &info);

/** openPinnedProgram(path) */
Napi::Value OpenPinnedProgram(const Napi::CallbackInfo &info);

/** openPinnedLink(path) */
Napi::Value OpenPinnedLink(const Napi::CallbackInfo &info);

/** openProgram(id) */
Napi::Value OpenProgram(const Napi::CallbackInfo &info);

#endif
