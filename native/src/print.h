// Owns what libbpf prints: nothing reaches stderr; a caller may collect it on its own thread.
// Must not know JavaScript.

#ifndef WEFT_NATIVE_PRINT_H
#define WEFT_NATIVE_PRINT_H

#include <string>

/** While it lives, keeps what libbpf warns about on this thread. Nests no deeper than one. */
class PrintCapture {
public:
  PrintCapture();
  ~PrintCapture();
  PrintCapture(const PrintCapture &) = delete;
  PrintCapture &operator=(const PrintCapture &) = delete;

  /** One message of libbpf, verifier logs taken apart. */
  void Add(std::string message);

  /** Warnings joined to one line, "; " between them. */
  const std::string &warnings() const { return warnings_; }
  /** The verifier's whole log of the program that failed; empty when none did. */
  const std::string &verifier_log() const { return verifier_log_; }
  /** The program whose log it is. */
  const std::string &program() const { return program_; }

private:
  std::string warnings_;
  std::string verifier_log_;
  std::string program_;
};

/** What the verifier objected to: the last line of its log that says something. */
std::string VerifierSummary(const std::string &log);

/** Takes over libbpf's printing for the whole process; any number of calls, from any thread. */
void InstallPrintCapture();

#endif
