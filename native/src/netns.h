// Owns entering network namespaces: always on a thread that ends there, so that no thread of Node
// ever changes its own. Must not know JavaScript.

#ifndef WEFT_NATIVE_NETNS_H
#define WEFT_NATIVE_NETNS_H

#include <cstdint>
#include <functional>
#include <string>

/**
 * Runs `work` inside the network namespace behind `path` and waits for it. Returns 0 when it ran,
 * otherwise the errno of opening or entering the namespace.
 */
int RunInNetns(const std::string &path, const std::function<void()> &work);

/** SO_NETNS_COOKIE of the namespace behind `path` (Linux 5.14). Returns 0 or an errno. */
int ReadNetnsCookie(const std::string &path, uint64_t *cookie);

#endif
