// Owns the closing of sockets from outside (SOCK_DESTROY of sock_diag(7)), off the event loop.
// Must not know why a socket has to go.

#ifndef WEFT_NATIVE_SOCK_DIAG_H
#define WEFT_NATIVE_SOCK_DIAG_H

#include <napi.h>

/** destroySockets(requests, netnsPath?): a promise of one errno, or 0, for each request. */
Napi::Value DestroySockets(const Napi::CallbackInfo &info);

#endif
