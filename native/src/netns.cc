// Owns entering network namespaces: always on a thread that ends there, so that no thread of Node
// ever changes its own. Must not know JavaScript.

#include "netns.h"

#include <asm/socket.h>
#include <cerrno>
#include <pthread.h>
#include <sched.h>
#include <sys/socket.h>
#include "fd.h"

namespace {

struct Visit {
  int netns;
  const std::function<void()> *work;
  int error;
};

void *Enter(void *argument) {
  Visit *visit = static_cast<Visit *>(argument);
  if (setns(visit->netns, CLONE_NEWNET) != 0)
    visit->error = errno;
  else
    (*visit->work)();
  return nullptr;
}

} // namespace

int RunInNetns(const std::string &path, const std::function<void()> &work) {
  Fd netns(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns.valid())
    return errno;
  Visit visit{netns.get(), &work, 0};
  pthread_t thread;
  // pthreads and not std::thread, whose only way to say "no more threads" is an exception.
  int error = pthread_create(&thread, nullptr, Enter, &visit);
  if (error != 0)
    return error;
  pthread_join(thread, nullptr);
  return visit.error;
}

int ReadNetnsCookie(const std::string &path, uint64_t *cookie) {
  int error = 0;
  int entered = RunInNetns(path, [&] {
    Fd probe(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    socklen_t size = sizeof(*cookie);
    if (!probe.valid() || getsockopt(probe.get(), SOL_SOCKET, SO_NETNS_COOKIE, cookie, &size) != 0)
      error = errno;
  });
  return entered != 0 ? entered : error;
}
