// Owns reopening what was pinned in a bpffs. Must not know who pinned it.

#ifndef WEFT_NATIVE_PINNED_H
#define WEFT_NATIVE_PINNED_H

#include <napi.h>

/** openPinnedMap(path) */
Napi::Value OpenPinnedMap(const Napi::CallbackInfo &info);

/** openPinnedProgram(path) */
Napi::Value OpenPinnedProgram(const Napi::CallbackInfo &info);

/** openPinnedLink(path) */
Napi::Value OpenPinnedLink(const Napi::CallbackInfo &info);

#endif
