// Owns which CPUs this process's threads may run on. Must not know why they leave some alone.

#ifndef WEFT_NATIVE_CPUS_H
#define WEFT_NATIVE_CPUS_H

#include <napi.h>

/** usableCpus() */
Napi::Value UsableCpus(const Napi::CallbackInfo &info);

/** useCpus(cpus) */
Napi::Value UseCpus(const Napi::CallbackInfo &info);

#endif
