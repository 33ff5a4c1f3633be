// Owns sockets that are bound in another network namespace. Must not know what is spoken there.

#ifndef WEFT_NATIVE_NETNS_SOCKETS_H
#define WEFT_NATIVE_NETNS_SOCKETS_H

#include <napi.h>

/** openNetnsSockets(netnsPath, address, port): a promise of descriptors. */
Napi::Value OpenNetnsSockets(const Napi::CallbackInfo &info);

#endif
