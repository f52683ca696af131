// What `nacelle` is to --isolate, without the rest of it.
#include "core/plugin_host/isolation/child.hpp"

int main() { return nacelle::isolation::serve_plugin(); }
