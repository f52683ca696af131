# cmake -DNAME=... -DDIRECTORY=... -P embed.cmake: DIRECTORY/NAME.spv as an array of words in DIRECTORY/NAME.inc.
file(READ ${DIRECTORY}/${NAME}.spv bytes HEX)
string(REGEX REPLACE "(..)(..)(..)(..)" "0x\\4\\3\\2\\1," words "${bytes}")
string(REGEX REPLACE "((0x[0-9a-f]+,){12})" "\\1\n" words "${words}")
file(WRITE ${DIRECTORY}/${NAME}.inc "constexpr std::uint32_t kShader_${NAME}[] = {\n${words}};\n")
