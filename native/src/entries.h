// Owns moving many entries at once, with the kernel's batches or without. Must not know JavaScript.

#ifndef WEFT_NATIVE_ENTRIES_H
#define WEFT_NATIVE_ENTRIES_H

#include <cstddef>
#include <cstdint>
#include <linux/bpf.h>
#include <vector>

/** A map as the functions below see it; value_bytes counts all CPUs. */
struct MapShape {
  int fd;
  uint32_t type;
  size_t key_bytes;
  size_t value_bytes;
  uint32_t max_entries;
};

/** `done` entries went well; `error` is the errno of the one after them, or 0. */
struct BatchResult {
  uint32_t done;
  int error;
};

/** Bytes user space passes for one value: all possible CPUs, each rounded up to 8, if per CPU. */
size_t ValueBytes(const bpf_map_info &info);

/** CPUs that per-CPU values are laid out for; negative errno when sysfs does not say. */
int PossibleCpus();

/** Writes entries in order, up to the first failure. */
BatchResult UpdateEntries(const MapShape &map, const uint8_t *keys, const uint8_t *values,
                          uint32_t count, uint64_t flags);

/** Deletes in order, up to the first failure; an absent key is none. */
BatchResult DeleteEntries(const MapShape &map, const uint8_t *keys, uint32_t count);

/**
 * Appends every entry to `keys` and `values`, none twice; those added or deleted meanwhile may be
 * there or not. A trie that others change meanwhile may lack more: the kernel's walk from key to
 * key can step over a branch whose root is being replaced. Returns 0 or an errno: EAGAIN when the
 * map changed faster than it could be walked.
 */
int ReadEntries(const MapShape &map, std::vector<uint8_t> *keys, std::vector<uint8_t> *values);

#endif
