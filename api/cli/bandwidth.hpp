// What this machine could do at best: the ceilings that `bench` sets its figures against.
#pragma once

#include "core/base/thread_team.hpp"

namespace nacelle::cli {

// GB/s (10^9) at which all threads of the team together read memory that no cache holds. Takes about a quarter of a
// second and 512 MiB.
double measure_read_gbps(ThreadTeam& team);

}  // namespace nacelle::cli
