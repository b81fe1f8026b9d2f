/* What cppcheck has to know of the libraries' macros; it does not read their headers. */
#define json_array_foreach(array, i, value) \
    for ((i) = 0; ((value) = json_array_get(array, i)) != NULL; (i)++)
#define json_object_foreach(object, key, value) \
    for ((key) = ""; ((value) = json_object_get(object, key)) != NULL;)
#define BRAKEWIRE_VERSION "0" /* from the build */
