# SPDX-License-Identifier: MIT
# cmake -DOUTPUT=x.c -DROOT=lua -DSOURCES=a.lua,b.lua -P embed.cmake
# Writes the table of struct embedded_chunk (state.h): the library's Lua files as C arrays, so that
# the program needs no file beside itself. "sombra/kv/range.lua" becomes the module "sombra.kv.range".
string(REPLACE "," ";" sources "${SOURCES}")
set(arrays "")
set(rows "")
set(count 0)
foreach(source IN LISTS sources)
  file(RELATIVE_PATH name "${ROOT}" "${source}")
  string(REGEX REPLACE "\\.lua$" "" module "${name}")
  string(REPLACE "/" "." module "${module}")
  file(READ "${source}" hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" bytes "${bytes}")
  string(APPEND arrays "static const unsigned char text_${count}[] = {\n${bytes}0 };\n")
  string(APPEND rows "    { \"${module}\", \"@${name}\", text_${count}, sizeof text_${count} - 1 },\n")
  math(EXPR count "${count} + 1")
endforeach()
file(WRITE "${OUTPUT}" "/* SPDX-License-Identifier: MIT */
/* Made by embed.cmake. */
#include \"state.h\"

${arrays}
const struct embedded_chunk embedded_chunks[] = {
${rows}    { NULL, NULL, NULL, 0 },
};
const size_t embedded_chunk_count = ${count};
")
