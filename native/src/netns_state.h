// Owns what can be read of a network namespace: interfaces, forwarding, sk_lookup programs.
// Must not know why somebody asks.

#ifndef WEFT_NATIVE_NETNS_STATE_H
#define WEFT_NATIVE_NETNS_STATE_H

#include <napi.h>

/** readNetns(netnsPath?): a promise of struct NetnsState of index.ts. */
Napi::Value ReadNetns(const Napi::CallbackInfo &info);

#endif
