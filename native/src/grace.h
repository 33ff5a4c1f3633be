// Owns waiting until no BPF program still uses what it had looked up before.
// Must not know what was looked up.

#ifndef WEFT_NATIVE_GRACE_H
#define WEFT_NATIVE_GRACE_H

#include <napi.h>

/** waitForReaders() */
Napi::Value WaitForReaders(const Napi::CallbackInfo &info);

#endif
