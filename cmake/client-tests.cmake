# The client library's tests, beside those that are found by their names.
target_link_libraries(test_client_library PRIVATE brakewire)

# The same stories under ThreadSanitizer, the library too.
if(NOT BRAKEWIRE_SANITIZE AND NOT BRAKEWIRE_FUZZ)
  bw_add_client(brakewire_tsan -fsanitize=thread)
  add_executable(test_client_library_tsan ${tests}/integration/test_client_library.c)
  target_compile_options(test_client_library_tsan PRIVATE -fsanitize=thread)
  target_link_options(test_client_library_tsan PRIVATE -fsanitize=thread)
  target_link_libraries(test_client_library_tsan PRIVATE bw_test_support brakewire_tsan)
  bw_register(integration/client_library_tsan integration 180 test_client_library_tsan)
endif()
