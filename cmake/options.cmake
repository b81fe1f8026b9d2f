# bw_options: how every file of ours is compiled. dep_* are not held to it.
add_library(bw_options INTERFACE)
target_include_directories(bw_options INTERFACE ${CMAKE_SOURCE_DIR}/lib ${CMAKE_SOURCE_DIR}/include)
target_compile_definitions(bw_options INTERFACE _GNU_SOURCE
                           BRAKEWIRE_VERSION="${PROJECT_VERSION}")
target_compile_options(bw_options INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
    -Werror
    # Two builds of one commit are the same bytes, wherever they were made.
    -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=
    -ffile-prefix-map=${CMAKE_BINARY_DIR}/=)

if(CMAKE_C_COMPILER_ID STREQUAL GNU)
  # What these find hangs on the optimiser, so each version finds something else: say it only.
  target_compile_options(bw_options INTERFACE
      -Wno-error=format-overflow -Wno-error=format-truncation)
endif()

include(CheckPIESupported)
check_pie_supported(LANGUAGES C)
target_link_options(bw_options INTERFACE -Wl,-z,relro,-z,now -Wl,--as-needed)
# What nobody calls is not carried around by every sidecar.
target_compile_options(bw_options INTERFACE -ffunction-sections -fdata-sections)
target_link_options(bw_options INTERFACE -Wl,--gc-sections)

if(BRAKEWIRE_SANITIZE OR BRAKEWIRE_FUZZ)
  target_compile_options(bw_options INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all
                         -fno-omit-frame-pointer)
  target_link_options(bw_options INTERFACE -fsanitize=address,undefined)
else()
  target_compile_options(bw_options INTERFACE -fstack-protector-strong)
  if(NOT CMAKE_BUILD_TYPE STREQUAL Debug)
    target_compile_options(bw_options INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  endif()
endif()
if(BRAKEWIRE_FUZZ)
  target_compile_options(bw_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
