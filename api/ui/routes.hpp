// The web page: a chat on the inference listener, an operator's page on the management listener. Both are files inside
// the program that need nothing from elsewhere.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "api/http/router.hpp"

namespace nacelle::ui {

// Where a listener is; port 0: it is not there (yet).
struct Listener {
  std::atomic<std::uint16_t> port{0};
  std::atomic<bool> loopback{true};
};

struct Listeners {
  Listener inference, manage;
};

// "/" and "/ui/{file}". Open, as the files hold nothing secret: what they ask the server for is asked with a key. Each
// page links to the other listener's where its reader can get there: GET /ui/site.json has that port. `listeners` must
// outlive the server.
std::vector<http::Route> chat_routes(const Listeners& listeners);
std::vector<http::Route> operate_routes(const Listeners& listeners);

}  // namespace nacelle::ui
