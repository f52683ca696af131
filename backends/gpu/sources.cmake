# The host side that every GPU plugin is made of; each adds its runtime and its table of kernels.
set(NACELLE_GPU_SOURCES)
foreach(name formats packing variants weights cache compiler compile_products compile_attention plan supports backend)
  list(APPEND NACELLE_GPU_SOURCES ${CMAKE_CURRENT_LIST_DIR}/host/${name}.cpp)
endforeach()
