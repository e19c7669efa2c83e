# Files as C spans, so that a program needs nothing beside itself.
#
#   pag_embed(target folder header file…)   adds <name with '.' as '_'> as struct pag_span pag_asset_<name>
#
# Run as a script (cmake -DIN=… -DOUT=… -DNAME=… -DHEADER=… -P pag_embed.cmake) it writes one such file.

if(CMAKE_SCRIPT_MODE_FILE AND DEFINED IN)
  file(READ ${IN} hex HEX)
  string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  file(WRITE ${OUT} "/* Written by cmake/pag_embed.cmake. */\n#include \"${HEADER}\"\n\n"
       "static const uint8_t bytes[] = {\n${bytes}\n};\n"
       "const struct pag_span pag_asset_${NAME} = { bytes, sizeof bytes };\n")
  return()
endif()

function(pag_embed target folder header)
  foreach(file IN LISTS ARGN)
    string(MAKE_C_IDENTIFIER ${file} name)
    set(out ${CMAKE_BINARY_DIR}/embed/${name}.c)
    add_custom_command(
      OUTPUT ${out}
      COMMAND ${CMAKE_COMMAND} -DIN=${PROJECT_SOURCE_DIR}/${folder}/${file} -DOUT=${out} -DNAME=${name}
              -DHEADER=${header} -P ${PROJECT_SOURCE_DIR}/cmake/pag_embed.cmake
      DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/${file} ${PROJECT_SOURCE_DIR}/cmake/pag_embed.cmake
      VERBATIM)
    target_sources(${target} PRIVATE ${out})
  endforeach()
endfunction()
