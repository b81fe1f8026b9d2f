# libbrakewire, the client library: shared and static, with nothing to be seen but bw_*.
#
# It is compiled from clients/c and the few files of lib that it needs, once more and hidden. The
# static library is one object whose hidden names were made local, so that a program may have a
# buf_add() or a log_line() of its own.
set(BRAKEWIRE_SOVERSION 0) # goes up with every change that breaks programs linked before

file(GLOB client_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/clients/c/*.c)
set(client_of_lib base/buf base/mem base/str core/id base/rng wire/baggage io/curl_loop io/sse_reader)
list(TRANSFORM client_of_lib PREPEND ${CMAKE_SOURCE_DIR}/lib/)
list(TRANSFORM client_of_lib APPEND .c)
set(client_deps dep_uv dep_curl dep_jansson)
find_package(Threads REQUIRED)

# flags: a list of options more; for the same library under a sanitizer
function(bw_add_client name)
  add_library(${name}_objects OBJECT ${client_sources} ${client_of_lib})
  target_link_libraries(${name}_objects PRIVATE bw_options ${client_deps})
  target_include_directories(${name}_objects PRIVATE ${CMAKE_SOURCE_DIR}/clients/c)
  target_compile_options(${name}_objects PRIVATE -fvisibility=hidden ${ARGN})
  add_library(${name} SHARED $<TARGET_OBJECTS:${name}_objects>)
  target_link_libraries(${name} PRIVATE bw_options ${client_deps} Threads::Threads)
  target_include_directories(${name} INTERFACE ${CMAKE_SOURCE_DIR}/include)
  target_link_options(${name} PRIVATE ${ARGN})
endfunction()

bw_add_client(brakewire)
set_target_properties(brakewire PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${BRAKEWIRE_SOVERSION})
if(NOT BRAKEWIRE_SANITIZE AND NOT BRAKEWIRE_FUZZ) # a sanitizer's names are the program's
  target_link_options(brakewire PRIVATE -Wl,-z,defs)
endif()

set(client_object ${CMAKE_BINARY_DIR}/brakewire.o)
add_custom_command(
  OUTPUT ${client_object}
  COMMAND ${CMAKE_C_COMPILER} -r -nostdlib -o ${client_object}.all $<TARGET_OBJECTS:brakewire_objects>
  COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${client_object}.all ${client_object}
  DEPENDS brakewire_objects $<TARGET_OBJECTS:brakewire_objects>
  COMMAND_EXPAND_LISTS VERBATIM)
add_library(brakewire_static STATIC ${client_object})
set_source_files_properties(${client_object} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
set_target_properties(brakewire_static PROPERTIES OUTPUT_NAME brakewire LINKER_LANGUAGE C)

install(TARGETS brakewire brakewire_static LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/brakewire DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

# Where the prefix is, seen from the file itself: what is unpacked or moved stays true.
file(RELATIVE_PATH client_prefix_from_pc ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" client_prefix_from_pc "${client_prefix_from_pc}")
configure_file(clients/c/brakewire.pc.in brakewire.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/brakewire.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

include(CMakePackageConfigHelpers)
set(client_package ${CMAKE_INSTALL_LIBDIR}/cmake/brakewire)
configure_package_config_file(clients/c/brakewireConfig.cmake.in brakewireConfig.cmake
                              INSTALL_DESTINATION ${client_package}
                              PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file(brakewireConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/brakewireConfig.cmake ${CMAKE_BINARY_DIR}/brakewireConfigVersion.cmake
        DESTINATION ${client_package})
