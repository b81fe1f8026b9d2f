# The Lua scripts of a folder become C: scripts.h and scripts.c in the build folder.
#
# A script's text is its own first line (#!lua flags=...), then common.lua, then the rest of it; or
# with common.lua in place of its line "--@common", where the frequent case is decided before that.
# Run as `cmake -P`, with FOLDER and OUTPUT, this file makes scripts.c; included, it gives
# bw_embed_scripts().

function(bw_embed_scripts target folder)
  file(GLOB scripts CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.lua)
  if(NOT scripts)
    return()
  endif()
  set(out ${CMAKE_BINARY_DIR}/scripts)
  file(CONFIGURE OUTPUT ${out}/scripts.h @ONLY CONTENT
"/* Generated from @folder@. */
#ifndef SCRIPTS_H
#define SCRIPTS_H

#include <stddef.h>

struct script_text {
    const char *name; /* the file's, without .lua */
    const char *text; /* NUL-terminated */
    size_t len;
};

extern const struct script_text script_texts[];
extern const size_t script_text_count;

#endif
")
  add_custom_command(OUTPUT ${out}/scripts.c
    COMMAND ${CMAKE_COMMAND} -DFOLDER=${CMAKE_SOURCE_DIR}/${folder} -DOUTPUT=${out}/scripts.c
            -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${scripts} ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
    COMMENT "Embedding ${folder}" VERBATIM)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL INTERFACE_LIBRARY)
    return()
  endif()
  target_sources(${target} PRIVATE ${out}/scripts.c)
  target_include_directories(${target} PUBLIC ${out})
endfunction()

if(NOT CMAKE_SCRIPT_MODE_FILE OR NOT DEFINED OUTPUT)
  return()
endif()

# Bytes as "23 21 ": hex is the one form in which CMake leaves every character alone.
function(read_bytes path result)
  file(READ ${path} hex HEX)
  string(REGEX REPLACE "(..)" "\\1 " hex "${hex}")
  set(${result} "${hex}" PARENT_SCOPE)
endfunction()

set(common "")
if(EXISTS ${FOLDER}/common.lua)
  read_bytes(${FOLDER}/common.lua common)
endif()
file(GLOB scripts ${FOLDER}/*.lua)
list(FILTER scripts EXCLUDE REGEX "/common\\.lua$")
set(bodies "")
set(table "")
foreach(script IN LISTS scripts)
  get_filename_component(name ${script} NAME_WE)
  read_bytes(${script} body)
  if(NOT body MATCHES "^23 21 ") # "#!"
    message(FATAL_ERROR "${script}: the first line must be #!lua flags=...")
  endif()
  string(FIND "${body}" "0a 2d 2d 40 63 6f 6d 6d 6f 6e 0a " newline) # --@common
  if(newline EQUAL -1)
    string(FIND "${body}" "0a " newline)
  endif()
  math(EXPR rest "${newline} + 3")
  string(SUBSTRING "${body}" 0 ${rest} shebang)
  string(SUBSTRING "${body}" ${rest} -1 body)
  set(all "${shebang}${common}${body}00 ")
  # Comments and indentation would lie in the memory of every daemon and of Redis, once a script.
  string(REGEX REPLACE "0a ((20 |0a )+)" "0a " all "${all}")
  string(REGEX REPLACE "0a 2d 2d (([1-9a-f].|0[^a]) )*" "" all "${all}")
  string(REGEX REPLACE "(..) " "'\\\\x\\1'," all "${all}")
  string(REGEX REPLACE "(('....',)('....',)('....',)('....',)('....',)('....',)('....',)('....',))"
         "\\1\n    " all "${all}")
  string(APPEND bodies "static const char text_of_${name}[] = {\n    ${all}};\n\n")
  string(APPEND table "    {\"${name}\", text_of_${name}, sizeof text_of_${name} - 1},\n")
endforeach()
file(WRITE ${OUTPUT} "/* Generated from the Lua scripts. */
#include \"scripts.h\"

${bodies}const struct script_text script_texts[] = {
${table}};
const size_t script_text_count = sizeof script_texts / sizeof script_texts[0];
")
