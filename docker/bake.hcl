# All images: docker buildx bake -f docker/bake.hcl [cpu|vulkan|cuda|rocm]
variable "REGISTRY" { default = "" }
variable "VERSION" { default = "0.1.0" }
variable "REVISION" { default = "unknown" }
# A day of snapshot.debian.org, for images that can be built again.
variable "SNAPSHOT" { default = "" }

group "default" { targets = ["image"] }

target "image" {
  name       = vendor
  matrix     = { vendor = ["cpu", "vulkan", "cuda", "rocm"] }
  context    = "."
  dockerfile = "docker/Dockerfile.${vendor}"
  args       = { VERSION = VERSION, REVISION = REVISION, SNAPSHOT = SNAPSHOT }
  tags       = ["${REGISTRY}nacelle:${vendor}", "${REGISTRY}nacelle:${vendor}-${VERSION}"]
  platforms  = vendor == "cpu" ? ["linux/amd64", "linux/arm64"] : ["linux/amd64"]
}
