// Owns moving many entries at once, with the kernel's batches or without. Must not know JavaScript.

#include "entries.h"

#include <algorithm>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <string>
#include <unordered_set>

namespace {

constexpr int kEnotsupp = 524; // ENOTSUPP of the kernel: the map's type has no batches

bool IsPerCpu(uint32_t type) {
  return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
         type == BPF_MAP_TYPE_LRU_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

/**
 * Types whose batched reading is exact under concurrent change: hashes go by bucket, arrays never
 * shrink. The generic batch of the others starts again when its last key is deleted.
 */
bool ReadsInBatches(uint32_t type) {
  return type == BPF_MAP_TYPE_HASH || type == BPF_MAP_TYPE_PERCPU_HASH ||
         type == BPF_MAP_TYPE_LRU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH ||
         type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

bool MeansNoBatch(int error) {
  return error == kEnotsupp || error == EOPNOTSUPP || error == EINVAL;
}

/** How far a batch came: the kernel leaves `count` as it was when it refuses before the first. */
uint32_t Progress(uint32_t asked, uint32_t count, int error) {
  return error != EFAULT && count < asked ? count : 0;
}

/** Reads in batches; ENOTSUPP and the like when the kernel has none for the type. */
int ReadBatches(const MapShape &map, std::vector<uint8_t> *keys, std::vector<uint8_t> *values) {
  // A hash's position is a bucket number of 4 bytes, an array's is a key.
  std::vector<uint8_t> position(std::max<size_t>(map.key_bytes, sizeof(uint32_t)));
  uint32_t room = std::clamp<uint32_t>(map.max_entries, 16, 4096);
  bool started = false;
  size_t total = 0;
  for (;;) {
    keys->resize((total + room) * map.key_bytes);
    values->resize((total + room) * map.value_bytes);
    uint32_t count = room;
    int result = bpf_map_lookup_batch(map.fd, started ? position.data() : nullptr, position.data(),
                                      keys->data() + total * map.key_bytes,
                                      values->data() + total * map.value_bytes, &count, nullptr);
    int error = result == 0 ? 0 : errno;
    if (error == ENOSPC && room < UINT32_MAX / 2) {
      // One bucket holds more than there was room for; the position has not moved.
      room *= 2;
      continue;
    }
    if (error == EINTR)
      continue;
    if (error == 0 || error == ENOENT)
      total += count;
    if (error != 0) {
      keys->resize(total * map.key_bytes);
      values->resize(total * map.value_bytes);
      return error == ENOENT ? 0 : error;
    }
    started = true;
  }
}

/** Reads key by key. A key deleted under our feet sends the kernel back to the first one. */
int ReadOneByOne(const MapShape &map, std::vector<uint8_t> *keys, std::vector<uint8_t> *values) {
  std::unordered_set<std::string> seen;
  std::string key(map.key_bytes, '\0');
  std::string next(map.key_bytes, '\0');
  std::vector<uint8_t> value(map.value_bytes);
  const void *from = nullptr;
  uint64_t steps = 64 + uint64_t{8} * map.max_entries;
  while (bpf_map_get_next_key(map.fd, from, next.data()) == 0) {
    if (steps-- == 0)
      return EAGAIN;
    key.swap(next);
    from = key.data();
    if (seen.count(key) != 0)
      continue;
    if (bpf_map_lookup_elem(map.fd, key.data(), value.data()) != 0) {
      if (errno == ENOENT)
        continue;
      return errno;
    }
    seen.insert(key);
    keys->insert(keys->end(), key.begin(), key.end());
    values->insert(values->end(), value.begin(), value.end());
  }
  return errno == ENOENT ? 0 : errno;
}

} // namespace

int PossibleCpus() {
  return libbpf_num_possible_cpus();
}

size_t ValueBytes(const bpf_map_info &info) {
  if (!IsPerCpu(info.type))
    return info.value_size;
  size_t rounded = (size_t{info.value_size} + 7) / 8 * 8;
  return rounded * static_cast<size_t>(std::max(PossibleCpus(), 1));
}

BatchResult UpdateEntries(const MapShape &map, const uint8_t *keys, const uint8_t *values,
                          uint32_t count, uint64_t flags) {
  uint32_t done = 0;
  // The kernel's batches know no BPF_NOEXIST and BPF_EXIST.
  if (flags == BPF_ANY && count > 0) {
    uint32_t written = count;
    if (bpf_map_update_batch(map.fd, keys, values, &written, nullptr) == 0)
      return {count, 0};
    int error = errno;
    done = Progress(count, written, error);
    if (done != 0 || !MeansNoBatch(error))
      return {done, error};
  }
  for (; done < count; done++) {
    if (bpf_map_update_elem(map.fd, keys + done * map.key_bytes, values + done * map.value_bytes,
                            flags) != 0)
      return {done, errno};
  }
  return {done, 0};
}

BatchResult DeleteEntries(const MapShape &map, const uint8_t *keys, uint32_t count) {
  uint32_t done = 0;
  bool batches = true;
  while (done < count) {
    if (batches) {
      uint32_t deleted = count - done;
      if (bpf_map_delete_batch(map.fd, keys + done * map.key_bytes, &deleted, nullptr) == 0)
        return {count, 0};
      int error = errno;
      uint32_t progress = Progress(count - done, deleted, error);
      done += progress;
      if (error == ENOENT) {
        done++;
        continue;
      }
      if (progress != 0 || !MeansNoBatch(error))
        return {done, error};
      batches = false;
    }
    if (bpf_map_delete_elem(map.fd, keys + done * map.key_bytes) != 0 && errno != ENOENT)
      return {done, errno};
    done++;
  }
  return {done, 0};
}

int ReadEntries(const MapShape &map, std::vector<uint8_t> *keys, std::vector<uint8_t> *values) {
  if (ReadsInBatches(map.type)) {
    int error = ReadBatches(map, keys, values);
    if (!MeansNoBatch(error))
      return error;
    keys->clear();
    values->clear();
  }
  return ReadOneByOne(map, keys, values);
}
