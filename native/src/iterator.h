// Owns reading what a BPF iterator prints, off the event loop. Must not know what it prints.

#ifndef WEFT_NATIVE_ITERATOR_H
#define WEFT_NATIVE_ITERATOR_H

#include <napi.h>

/** readIterator(link, netnsPath) */
Napi::Value ReadIterator(const Napi::CallbackInfo &info);

#endif
