// Precompiled for every test program: Catch2's single header and the standard headers that tests use.
#pragma once
#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>
