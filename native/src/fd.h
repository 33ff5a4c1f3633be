// Owns a file descriptor that closes itself. Must not know what is behind it.

#ifndef WEFT_NATIVE_FD_H
#define WEFT_NATIVE_FD_H

#include <fcntl.h>
#include <unistd.h>
#include <utility>

/** A file descriptor, or none (-1). Moves, never copies; closes when it goes. */
class Fd {
public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd &&other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd &operator=(Fd &&other) noexcept {
    if (this != &other) {
      Close();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  Fd(const Fd &) = delete;
  Fd &operator=(const Fd &) = delete;
  ~Fd() { Close(); }

  /** A second descriptor of the same thing, closed on exec; none with errno set when that fails. */
  static Fd Duplicate(int fd) { return Fd(fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

  /** The descriptor, which is the caller's from now on. */
  int Release() { return std::exchange(fd_, -1); }

  /** Idempotent. */
  void Close() {
    if (fd_ >= 0)
      close(std::exchange(fd_, -1));
  }

private:
  int fd_ = -1;
};

#endif
