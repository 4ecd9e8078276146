# SPDX-License-Identifier: Apache-2.0
# Compiler flags of everything of ours, as one interface target.
option(CORNSTARCH_WERROR "warnings are errors" OFF)
set(CORNSTARCH_SANITIZE "" CACHE STRING "comma list for -fsanitize=")

set(CMAKE_C_FLAGS_DEBUG "-O1 -g")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g -DNDEBUG")

add_library(cornstarch_flags INTERFACE)
target_compile_features(cornstarch_flags INTERFACE c_std_17)
# -std=c17 hides POSIX without _GNU_SOURCE; contraction would make the same
# sum differ between compilers and files.
target_compile_definitions(cornstarch_flags INTERFACE _GNU_SOURCE)
target_compile_options(cornstarch_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes
  -Wmissing-prototypes -Wvla -Wundef -Wwrite-strings -Wcast-qual
  -Wnull-dereference -fno-common -ffp-contract=off)
# Tables name what they have; the rest of a row is zero on purpose (clang).
target_compile_options(cornstarch_flags INTERFACE
  -Wno-missing-field-initializers)
if(CORNSTARCH_WERROR)
  target_compile_options(cornstarch_flags INTERFACE -Werror)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo" OR CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(cornstarch_flags INTERFACE -fstack-protector-strong)
  target_compile_definitions(cornstarch_flags INTERFACE _FORTIFY_SOURCE=2)
endif()
if(CORNSTARCH_SANITIZE)
  target_compile_options(cornstarch_flags INTERFACE
    -fsanitize=${CORNSTARCH_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(cornstarch_flags INTERFACE -fsanitize=${CORNSTARCH_SANITIZE})
endif()
