// A model in a folder of the OCI image layout (oci-layout, index.json, blobs/), as oras, skopeo and model registries
// write it.
#pragma once

#include <filesystem>

namespace nacelle::hub {

bool is_oci_layout(const std::filesystem::path& folder);

// The path of the model in it, for ModelFiles::open: the layers' files under their titles, as links in `cache`. Throws
// Error(kNotFound) where no layer is a model, kCorrupt for a layout that contradicts itself or a blob of another size.
std::filesystem::path open_oci_layout(const std::filesystem::path& folder, const std::filesystem::path& cache);

}  // namespace nacelle::hub
