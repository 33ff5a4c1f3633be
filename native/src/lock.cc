// Owns DirectoryLock: a directory that one process at a time may hold. Must not know what it stands
// for.

#include "lock.h"

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include "arguments.h"

namespace {

/** Who holds a flock on the file, from /proc/locks; 0 when it does not say (another pid namespace).
 */
int FindHolder(const struct stat &file) {
  FILE *locks = fopen("/proc/locks", "re");
  if (locks == nullptr)
    return 0;
  int holder = 0;
  char line[256];
  while (holder == 0 && fgets(line, sizeof(line), locks) != nullptr) {
    // "1: FLOCK  ADVISORY  WRITE 123 00:1d:4567 0 EOF"; a waiter's line has "->" after the number.
    int pid = 0;
    unsigned major_number = 0, minor_number = 0;
    uint64_t inode = 0;
    if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%" SCNu64, &pid, &major_number, &minor_number,
               &inode) == 4 &&
        major_number == major(file.st_dev) && minor_number == minor(file.st_dev) &&
        inode == file.st_ino)
      holder = pid;
  }
  fclose(locks);
  return holder;
}

/** Whether `path` still names the opened directory; one that was removed meanwhile locks nothing.
 */
bool IsStillThere(const std::string &path, const struct stat &opened) {
  struct stat now;
  return stat(path.c_str(), &now) == 0 && now.st_dev == opened.st_dev &&
         now.st_ino == opened.st_ino;
}

} // namespace

void DirectoryLock::Define(Napi::Env env) {
  Register<DirectoryLock>(env, {InstanceMethod<&DirectoryLock::Close>("close")});
}

Napi::Value DirectoryLock::Take(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  std::optional<std::string> path = ReadText(info[0], "path");
  if (!path)
    return Napi::Value();
  std::string what = "lock directory " + *path;
  Fd fd(open(path->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat opened;
  if (!fd.valid() || fstat(fd.get(), &opened) != 0)
    return ThrowBpfError(env, errno, what);
  Napi::Object attempt = Napi::Object::New(env);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK)
      return ThrowBpfError(env, errno, what);
    int holder = FindHolder(opened);
    attempt.Set("holder",
                holder > 0 ? Napi::Value(Napi::Number::New(env, holder)) : env.Undefined());
    return attempt;
  }
  if (!IsStillThere(*path, opened))
    return ThrowBpfError(env, ESTALE, what);
  Napi::Value lock = Create(env, DirectoryLockState{std::move(fd)});
  if (lock.IsEmpty())
    return lock;
  // Held until closed or the process ends, whoever still knows of it.
  Unwrap(lock)->Ref();
  attempt.Set("lock", lock);
  return attempt;
}

DirectoryLock::DirectoryLock(const Napi::CallbackInfo &info) : Handle(info) {}

Napi::Value DirectoryLock::Close(const Napi::CallbackInfo &info) {
  if (state_.fd.valid()) {
    state_.fd.Close();
    Unref();
  }
  return info.Env().Undefined();
}
