# The client library's tests, beside those that are found by their names.
target_link_libraries(test_client_library PRIVATE brakewire)

# The same stories under ThreadSanitizer, the library too.
if(NOT BRAKEWIRE_SANITIZE AND NOT BRAKEWIRE_FUZZ)
  bw_add_client(brakewire_tsan -fsanitize=thread)
  add_executable(test_client_library_tsan ${tests}/integration/test_client_library.c)
  target_compile_options(test_client_library_tsan PRIVATE -fsanitize=thread)
  target_link_options(test_client_library_tsan PRIVATE -fsanitize=thread)
  target_link_libraries(test_client_library_tsan PRIVATE bw_test_support brakewire_tsan)
  # Where addresses are spread more widely than this ThreadSanitizer knows, it does not even start.
  bw_register(integration/client_library_tsan integration 180
              sh -c "setarch -R true 2>/dev/null && exec setarch -R \"$0\" || exec \"$0\""
              $<TARGET_FILE:test_client_library_tsan>)
endif()
