// Owns MapSocket: a socket pair whose far end is in a socket map, so that what is sent goes to the
// program that hangs on it. Must not know what is sent.

#ifndef WEFT_NATIVE_MAP_SOCKET_H
#define WEFT_NATIVE_MAP_SOCKET_H

#include <napi.h>
#include "fd.h"
#include "handle.h"

struct MapSocketState {
  Fd near;
  /** In the map as long as it is open. */
  Fd far;
};

class MapSocket : public Handle<MapSocket, MapSocketState> {
public:
  static constexpr HandleClass kClass = kMapSocket;
  static constexpr const char *kName = "MapSocket";
  static constexpr napi_type_tag kTag = {0x77656674f0a94d08, 0x1c64be90a5f72d83};

  static void Define(Napi::Env env);
  /** openMapSocket(map, key) */
  static Napi::Value Open(const Napi::CallbackInfo &info);

  explicit MapSocket(const Napi::CallbackInfo &info);

private:
  Napi::Value Send(const Napi::CallbackInfo &info);
  Napi::Value Close(const Napi::CallbackInfo &info);
};

/** attachToMap(program, map, attachType) */
Napi::Value AttachToMap(const Napi::CallbackInfo &info);

#endif
