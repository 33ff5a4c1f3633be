// Owns one message to a service manager. Must not know what it says.
#pragma once

#include <napi.h>

/** sendNotice(socket, text): one datagram to a UNIX socket, `@` for the abstract name space. */
Napi::Value SendNotice(const Napi::CallbackInfo &info);
