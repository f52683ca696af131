// The ApiError that an action ends in.
#pragma once

#include <catch2/catch.hpp>

#include "api/http/message.hpp"

namespace nacelle::test {

template <class Action>
http::ApiError failure_of(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return http::to_api_error(error);
  }
  return {0, "no failure", "", ""};
}

}  // namespace nacelle::test
