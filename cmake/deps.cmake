# dep_*: the libraries, from the distribution. `./dev deps` installs them.
find_package(PkgConfig REQUIRED)

function(bw_pkg_dep name)
  string(TOUPPER ${name} prefix)
  pkg_check_modules(${prefix} REQUIRED IMPORTED_TARGET ${ARGN})
  add_library(dep_${name} INTERFACE)
  target_link_libraries(dep_${name} INTERFACE PkgConfig::${prefix})
endfunction()

bw_pkg_dep(uv libuv>=1.44)
bw_pkg_dep(mhd libmicrohttpd>=0.9.75)
bw_pkg_dep(jansson jansson>=2.14)
bw_pkg_dep(curl libcurl>=7.88)
bw_pkg_dep(openssl openssl>=3.0)

# msgpack-c by header and library: Debian 13's msgpack-c.pc names a folder that does not exist, and
# find_package(msgpack) may answer with the C++ package.
find_path(MSGPACK_INCLUDE_DIR msgpack.h REQUIRED)
find_library(MSGPACK_LIBRARY NAMES msgpack-c msgpackc REQUIRED)
add_library(dep_msgpack INTERFACE)
target_link_libraries(dep_msgpack INTERFACE ${MSGPACK_LIBRARY})
target_include_directories(dep_msgpack SYSTEM INTERFACE ${MSGPACK_INCLUDE_DIR})

# hiredis 1.2: the distribution's, or on Debian 12 (0.14, no RESP3) the sources that `./dev deps`
# put into .deps/.
set(HIREDIS_SOURCE_DIR ${CMAKE_SOURCE_DIR}/.deps/hiredis CACHE PATH "unpacked hiredis sources")
add_library(dep_hiredis INTERFACE)
pkg_check_modules(HIREDIS IMPORTED_TARGET hiredis_ssl>=1.1 hiredis>=1.1)
if(HIREDIS_FOUND)
  target_link_libraries(dep_hiredis INTERFACE PkgConfig::HIREDIS)
elseif(EXISTS ${HIREDIS_SOURCE_DIR}/hiredis.h)
  foreach(name alloc async hiredis net read sds sockcompat ssl)
    list(APPEND hiredis_sources ${HIREDIS_SOURCE_DIR}/${name}.c)
  endforeach()
  add_library(hiredis STATIC ${hiredis_sources})
  set_target_properties(hiredis PROPERTIES C_EXTENSIONS ON)
  target_include_directories(hiredis SYSTEM BEFORE PUBLIC ${HIREDIS_SOURCE_DIR}/..)
  target_compile_options(hiredis PRIVATE -w)
  target_link_libraries(hiredis PUBLIC dep_openssl)
  target_link_libraries(dep_hiredis INTERFACE hiredis)
else()
  message(FATAL_ERROR "hiredis 1.1 or newer is missing: run ./dev deps")
endif()
