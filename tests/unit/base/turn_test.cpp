#include "core/base/turn.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <thread>

using nacelle::Turn;

TEST_CASE("what is put off runs when the thread's outermost turn ends, in order; at once without one") {
  std::string done;
  const auto add = [&](char c) { Turn::at_end([&done, c] { done += c; }); };
  add('a');
  CHECK(done == "a");
  {
    const Turn outer;
    add('b');
    {
      const Turn inner;
      add('c');
    }
    std::thread([&] { add('d'); }).join();  // another thread has no turn of this one's
    CHECK(done == "ad");
  }
  CHECK(done == "adbc");
}
