# Tests, fuzz targets and benchmarks: each file is a program, found by its name.
set(tests ${CMAKE_SOURCE_DIR}/tests)
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka>=1.1.5)

# What a test may know of the tree it runs in. Not BRAKEWIRE_*: those are options of the daemons.
set(test_environment
    BW_BIN=${CMAKE_BINARY_DIR}/bin
    BW_SOURCE=${CMAKE_SOURCE_DIR}
    BW_BUILD=${CMAKE_BINARY_DIR}
    ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=1:detect_stack_use_after_return=1
    UBSAN_OPTIONS=print_stacktrace=1)

file(GLOB support_sources CONFIGURE_DEPENDS ${tests}/support/*.c)
if(support_sources)
  add_library(bw_test_support STATIC ${support_sources})
  set(kind PUBLIC)
else()
  add_library(bw_test_support INTERFACE)
  set(kind INTERFACE)
endif()
target_include_directories(bw_test_support ${kind} ${tests})
target_compile_definitions(bw_test_support ${kind} BRAKEWIRE_BIN="${CMAKE_BINARY_DIR}/bin"
                           BRAKEWIRE_SOURCE="${CMAKE_SOURCE_DIR}")
target_link_libraries(bw_test_support ${kind} bw_agentd bw_broker bw_brakectl PkgConfig::CMOCKA)

# What runs under the sanitizers too, and so is all that their build folder needs.
add_custom_target(watched)

function(bw_register name label timeout)
  add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT ${timeout}
                       SKIP_RETURN_CODE 77 ENVIRONMENT "${test_environment}")
endfunction()

function(bw_add_tests label timeout)
  file(GLOB sources CONFIGURE_DEPENDS ${tests}/${label}/test_*.c)
  foreach(source IN LISTS sources)
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE bw_test_support)
    bw_register(${label}/${name} ${label} ${timeout} ${name})
    if(label STREQUAL unit)
      add_dependencies(watched ${name})
    endif()
  endforeach()
endfunction()

# The daemons as their next version might be: message version 2, with a field more. The one file that
# writes and reads versions stands before the library's.
foreach(folder agentd broker)
  add_executable(brakewire-${folder}-next ${CMAKE_SOURCE_DIR}/${folder}/main.c
                 ${CMAKE_SOURCE_DIR}/lib/wire/message.c)
  target_compile_definitions(brakewire-${folder}-next PRIVATE BRAKEWIRE_MESSAGE_VERSION=2)
  target_link_libraries(brakewire-${folder}-next PRIVATE bw_${folder})
endforeach()

bw_add_tests(unit 60)
bw_add_tests(integration 180)
include(cmake/client-tests.cmake)
# The same stories on a cluster: what a daemon promises does not depend on where Redis keeps it.
foreach(name test_agentd test_agentd_refusals test_agentd_trouble test_brokerd test_orders)
  bw_register(integration/${name}_on_a_cluster integration 180 ${name})
  set_tests_properties(integration/${name}_on_a_cluster PROPERTIES
                       ENVIRONMENT "${test_environment};BW_AS_CLUSTER=1")
endforeach()
file(GLOB scripts CONFIGURE_DEPENDS ${tests}/integration/*.sh)
foreach(script IN LISTS scripts)
  get_filename_component(name ${script} NAME_WE)
  bw_register(integration/${name} integration 180 ${script})
endforeach()

# Real clients, servers and SDKs in other languages, pinned and installed by `./dev deps`. Each file is
# one test: interop/js/NAME and interop/python/NAME.
set(interop ${CMAKE_SOURCE_DIR}/.deps/interop)
set(interop_environment "${test_environment}" "PYTHONDONTWRITEBYTECODE=1"
    "PYTHONPATH=${CMAKE_SOURCE_DIR}/clients/python/src:${tests}/interop/python"
    "BW_NODE=${interop}/python/bin/node" "BW_PYTHON=${interop}/python/bin/python"
    "DO_NOT_TRACK=1" "LANGSMITH_TRACING=false" "NODE_NO_WARNINGS=1")

function(bw_add_interop language pattern)
  file(GLOB sources CONFIGURE_DEPENDS ${tests}/interop/${language}/${pattern})
  foreach(source IN LISTS sources)
    get_filename_component(name ${source} NAME_WE)
    bw_register(interop/${language}/${name} interop 300 ${ARGN} ${source})
    set_tests_properties(interop/${language}/${name} PROPERTIES ENVIRONMENT "${interop_environment}")
  endforeach()
endfunction()

bw_add_interop(js test_*.mjs ${interop}/python/bin/node --test --test-reporter=spec)
bw_add_interop(python test_*.py ${interop}/python/bin/python -m pytest -q -p no:cacheprovider)

# One program: stories, schedules that once failed, random ones.
file(GLOB sim_sources CONFIGURE_DEPENDS ${tests}/sim/*.c)
if(EXISTS ${tests}/sim/main.c)
  add_executable(sim ${sim_sources})
  target_link_libraries(sim PRIVATE bw_test_support)
  target_compile_definitions(sim PRIVATE SIM_REGRESSIONS="${tests}/sim/regressions.txt")
  add_dependencies(watched sim)
  set(BRAKEWIRE_SIM_SEEDS 300 CACHE STRING "random histories that ctest runs")
  bw_register(sim/random sim 300 sim --seeds ${BRAKEWIRE_SIM_SEEDS})
endif()

# Without libFuzzer a target replays its corpus: each file that once mattered, on every test run.
# `bw_of_<target>`: the folder of a program whose decoder it is.
add_custom_target(fuzz_targets)
set(bw_of_conf bw_agentd)
set(bw_of_agentd_http bw_agentd)
set(bw_of_broker_http bw_broker)
set(bw_of_a2a bw_broker)
file(GLOB fuzz_sources CONFIGURE_DEPENDS ${tests}/fuzz/fuzz_*.c)
foreach(source IN LISTS fuzz_sources)
  get_filename_component(name ${source} NAME_WE)
  string(REPLACE fuzz_ "" subject ${name})
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE ${bw_of_${subject}} ${all_of_lib})
  target_include_directories(${name} PRIVATE ${tests})
  if(subject MATCHES "http")
    target_sources(${name} PRIVATE ${tests}/fuzz/peer.c)
  endif()
  if(subject MATCHES "^(agent|cancels)$")
    target_sources(${name} PRIVATE ${tests}/fuzz/hostile.c)
  endif()
  add_dependencies(fuzz_targets ${name})
  if(BRAKEWIRE_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE ${tests}/fuzz/replay.c)
    bw_register(fuzz/${subject} fuzz 60 ${name} ${tests}/fuzz/corpus/${subject})
  endif()
endforeach()

add_dependencies(watched fuzz_targets)

# A hostile crowd against the daemons; minutes, so not a part of every test run.
add_executable(flood ${tests}/faults/flood.c ${tests}/faults/flooder.c)
target_link_libraries(flood PRIVATE bw_test_support)

file(GLOB bench_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/bench_*.c)
if(bench_sources)
  file(GLOB bench_helpers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/*.c)
  list(REMOVE_ITEM bench_helpers ${bench_sources})
  add_library(bw_bench STATIC ${bench_helpers})
  target_include_directories(bw_bench PUBLIC ${CMAKE_SOURCE_DIR}/bench)
  target_link_libraries(bw_bench PUBLIC bw_agentd m)
endif()
foreach(source IN LISTS bench_sources)
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE bw_bench)
endforeach()
target_link_libraries(bench_client PRIVATE brakewire)

file(GLOB lint_scripts CONFIGURE_DEPENDS ${tests}/lint/*.sh)
foreach(script IN LISTS lint_scripts)
  get_filename_component(name ${script} NAME_WE)
  bw_register(lint/${name} lint 900 ${script}) # tidy in a new tree, on a machine with other work
  if(name MATCHES "^(tidy|cppcheck)$")
    set_tests_properties(lint/${name} PROPERTIES PROCESSORS 2) # they use two themselves
  endif()
endforeach()

# The protocol in Promela: every history of a small tree, and each rule left out once.
bw_register(model/promela model 1800 ${CMAKE_SOURCE_DIR}/docs/model/check.sh)

# In a new tree ctest knows of no run before: the longest go first, or one of them is alone at the end.
# Seconds, about, on a busy machine of two cores.
set(long_tests model/promela 1000 interop/js/test_agents_story 160 interop/js/test_client_types 88
    interop/python/test_client_types 80 interop/js/test_client_langgraph_server 59
    integration/test_scripts_random 52 interop/js/test_client_a2a 48 interop/js/test_stop_a2a 47
    integration/test_redis_sentinel 47 interop/js/test_client_readme 35
    interop/js/test_langgraph_routes 33 interop/js/test_otel_three_hops 32
    integration/test_agentd_trouble_on_a_cluster 32 integration/test_langgraph 30
    integration/client_install 30 interop/python/test_client_langgraph_server 28
    integration/test_redis_cluster 27 integration/test_redis_tls 27 interop/js/test_client_trouble 27
    interop/python/test_a2a_routes 27 integration/test_orders_on_a_cluster 25 sim/random 21)
while(long_tests)
  list(POP_FRONT long_tests name seconds)
  if(TEST ${name})
    set_tests_properties(${name} PROPERTIES COST ${seconds})
  endif()
endwhile()
