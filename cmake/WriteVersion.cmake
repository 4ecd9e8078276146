# SPDX-License-Identifier: Apache-2.0
# Run at every build (cmake -P): writes OUT only when its text changes.
set(commit "unknown")
find_program(GIT git)
if(GIT AND EXISTS "${SOURCE_DIR}/.git")
  set(ENV{GIT_OPTIONAL_LOCKS} 0)
  execute_process(
    COMMAND ${GIT} -C "${SOURCE_DIR}" describe --always --dirty --abbrev=12 --exclude=*
    OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE result ERROR_QUIET)
  if(result EQUAL 0)
    set(commit "${described}")
  endif()
endif()
set(text "/* SPDX-License-Identifier: Apache-2.0 */
/* Written by the build. */
#ifndef CORNSTARCH_VERSION_H
#define CORNSTARCH_VERSION_H
#define CORNSTARCH_VERSION \"${VERSION}\"
#define CORNSTARCH_COMMIT  \"${commit}\"
#endif
")
set(old "")
if(EXISTS "${OUT}")
  file(READ "${OUT}" old)
endif()
if(NOT old STREQUAL text)
  file(WRITE "${OUT}" "${text}")
endif()
