// Owns what keeps signals away from a thread for the time of a call. Must not know the call.

#ifndef WEFT_NATIVE_SIGNALS_H
#define WEFT_NATIVE_SIGNALS_H

#include <csignal>
#include <initializer_list>

/**
 * While it lives, this thread takes no signal but those of its own faults; the process's go to its
 * other threads, this thread's own wait. The verifier gives up with EAGAIN as soon as one is
 * pending, libbpf tries five times only, and a profiler sends thousands a second.
 */
class SignalsHeld {
public:
  SignalsHeld() {
    sigset_t held;
    sigfillset(&held);
    for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS})
      sigdelset(&held, fault);
    pthread_sigmask(SIG_BLOCK, &held, &before_);
  }
  ~SignalsHeld() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsHeld(const SignalsHeld &) = delete;
  SignalsHeld &operator=(const SignalsHeld &) = delete;

private:
  sigset_t before_;
};

#endif
