// A file's bytes as a part of the program: the assembler copies them into the read-only data, which takes no time
// however large the file is. NACELLE_EMBED_FILE(NAME, PATH) at file scope, outside every namespace, in one source file;
// NAME_begin and NAME_end then bound the bytes, and a zero byte follows them. PATH is a string literal; name the file
// in the source's OBJECT_DEPENDS. Other sources read the bytes after NACELLE_EMBEDDED_FILE(NAME).
#pragma once

#define NACELLE_EMBEDDED_FILE(name)                                       \
  extern "C" {                                                            \
  extern const char name##_begin[] __attribute__((visibility("hidden"))); \
  extern const char name##_end[] __attribute__((visibility("hidden")));   \
  }                                                                       \
  static_assert(true)

#define NACELLE_EMBED_FILE(name, path)                                                                       \
  asm(".section .rodata\n.balign 64\n.globl " #name "_begin, " #name "_end\n.hidden " #name "_begin, " #name \
      "_end\n" #name "_begin:\n.incbin \"" path "\"\n" #name "_end:\n.byte 0\n.text\n");                     \
  NACELLE_EMBEDDED_FILE(name)
