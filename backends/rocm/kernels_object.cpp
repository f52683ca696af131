// The code object that hipcc made, as data of this library.
__asm__(
    ".pushsection .rodata\n"
    ".balign 4096\n"
    ".globl nacelle_rocm_kernels\n"
    ".hidden nacelle_rocm_kernels\n"
    "nacelle_rocm_kernels:\n"
    ".incbin \"" NACELLE_ROCM_KERNELS
    "\"\n"
    ".popsection\n");
