// Owns finding a hook, what hangs there and attaching a program to it: cgroup, network namespace,
// interface, tracepoint, iterator. Must not know what the program does there.

#ifndef WEFT_NATIVE_ATTACH_H
#define WEFT_NATIVE_ATTACH_H

#include <napi.h>

/** linkCgroup(program, cgroupPath, attachType) */
Napi::Value LinkCgroup(const Napi::CallbackInfo &info);

/** cgroupPrograms(cgroupPath, attachType) */
Napi::Value CgroupPrograms(const Napi::CallbackInfo &info);

/** linkNetns(program, netnsPath, attachType) */
Napi::Value LinkNetns(const Napi::CallbackInfo &info);

/** linkXdp(program, interfaceName, { netnsPath, mode }) */
Napi::Value LinkXdp(const Napi::CallbackInfo &info);

/** linkTcx(program, interfaceName, { netnsPath }) */
Napi::Value LinkTcx(const Napi::CallbackInfo &info);

/** linkTracepoint(program) */
Napi::Value LinkTracepoint(const Napi::CallbackInfo &info);

/** linkIterator(program) */
Napi::Value LinkIterator(const Napi::CallbackInfo &info);

#endif
