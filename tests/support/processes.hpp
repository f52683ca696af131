// Runs the same work in several processes at once: for files that more than one server may write.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <initializer_list>
#include <vector>

namespace nacelle::test {

// work(letter) in a process of its own for each letter; 0 is success. Catch's macros do not work in there.
template <class Work>
void run_in_processes(std::initializer_list<char> letters, const Work& work) {
  std::vector<pid_t> children;
  for (const char letter : letters) {
    const pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      int failed = 2;
      try {
        failed = work(letter);
      } catch (...) {
      }
      _exit(failed);
    }
    children.push_back(pid);
  }
  for (const pid_t pid : children) {
    int status = -1;
    REQUIRE(waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
  }
}

}  // namespace nacelle::test
