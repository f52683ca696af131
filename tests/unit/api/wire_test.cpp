#include "api/http/wire.hpp"

#include <catch2/catch.hpp>

#include "api/http/router.hpp"

using namespace nacelle::http;

TEST_CASE("targets become paths") {
  CHECK(decode_path("/v1/models") == "/v1/models");
  CHECK(decode_path("/v1/models/a%2Fb%20c?x=1") == "/v1/models/a/b c");
  CHECK(decode_path("http://host:1/v1?q#f") == "/v1");
  CHECK(decode_path("http://host") == "/");
  for (const char* bad : {"/%", "/%4", "/%zz", "/%00", "/%+1"}) CHECK_FALSE(decode_path(bad));
}

TEST_CASE("queries are taken apart and decoded") {
  using Query = std::vector<std::pair<std::string, std::string>>;
  CHECK(decode_query("/v1/models") == Query{});
  CHECK(decode_query("/a?") == Query{});
  CHECK(decode_query("/a?b=1&&c&d=x%26y+z%3D&b[]=2=3#e=4") ==
        Query{{"b", "1"}, {"c", ""}, {"d", "x&y z="}, {"b[]", "2=3"}});
  for (const char* bad : {"/?a=%", "/?%4=1", "/?a=%00"}) CHECK_FALSE(decode_query(bad));
}

TEST_CASE("request ids and trace parents that a client may give") {
  CHECK(is_request_id("req-1_a/b:c"));
  CHECK(is_request_id(std::string(128, 'x')));
  for (const std::string& bad : {std::string(), std::string(129, 'x'), std::string("a b"), std::string("a\nb")})
    CHECK_FALSE(is_request_id(bad));
  const std::string id = "4bf92f3577b34da6a3ce929d0e0e4736", good = "00-" + id + "-00f067aa0ba902b7-01";
  CHECK(trace_id(good) == id);
  CHECK(trace_id("01" + good.substr(2) + "-more") == id);
  for (const std::string& bad : {std::string(), good.substr(1), good + "-more", "ff" + good.substr(2),
                                 "00-" + std::string(32, '0') + good.substr(35),
                                 "00-4BF92f3577b34da6a3ce929d0e0e4736" + good.substr(35), "01" + good.substr(2) + "x"})
    CHECK(trace_id(bad).empty());
}

TEST_CASE("headers and chunks") {
  const std::string text =
      header_text({429, "abc", "text/plain", {{"Retry-After", "1"}}}, {Framing::kLength, false, "*"});
  CHECK(text.starts_with("HTTP/1.1 429 Too Many Requests\r\n"));
  for (const char* line :
       {"\r\nContent-Length: 3\r\n", "\r\nConnection: close\r\n", "\r\nRetry-After: 1\r\n",
        "\r\nContent-Type: text/plain\r\n", "\r\nAccess-Control-Allow-Origin: *\r\n", ", *\r\n", "\r\nDate: "}) {
    CHECK(text.find(line) != std::string::npos);
  }
  CHECK(text.ends_with("\r\n\r\n"));
  CHECK(header_text({}, {Framing::kChunked, true, ""}).find("Content-Length") == std::string::npos);
  std::string chunks = "before";
  add_chunk(chunks, "0123456789abcdef!");
  CHECK(chunks == "before11\r\n0123456789abcdef!\r\n");
}

TEST_CASE("routes are found by method and path") {
  const Router router({{"GET", "/a", {}}, {"POST", "/a", {}}, {"GET", "/a/{id}", {}}});
  CHECK(router.find("GET", "/a").route->method == "GET");
  CHECK(router.find("POST", "/a").route->method == "POST");
  CHECK(router.find("HEAD", "/a").route->method == "GET");
  CHECK(router.find("GET", "/a/x/y").parameter == "x/y");
  CHECK(router.find("DELETE", "/a").route == nullptr);
  CHECK(router.find("DELETE", "/a").allow == "GET, HEAD, POST, OPTIONS");
  CHECK(router.find("GET", "/a/").allow.empty());
  CHECK(router.find("GET", "/b").allow.empty());
}

TEST_CASE("a name in the middle of a pattern is one part of the path") {
  const Router router({{"GET", "/a/{id}/b/{item}", {}}, {"GET", "/a/{id}/b", {}}, {"GET", "/a/{id}", {}}});
  const auto found = [&](const char* path) {
    const Router::Match match = router.find("GET", path);
    return (match.route ? match.route->pattern : "") + " " + match.parameter + " " + match.second;
  };
  CHECK(found("/a/x/b") == "/a/{id}/b x ");
  CHECK(found("/a/x/b/y/z") == "/a/{id}/b/{item} x y/z");
  CHECK(found("/a/x/b/") == "/a/{id} x/b/ ");  // the last takes what is left
  CHECK(found("/a/x/y/b") == "/a/{id} x/y/b ");
  CHECK(found("/a//b") == "/a/{id} /b ");
}
