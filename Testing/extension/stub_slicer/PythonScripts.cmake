# Files are copied when the extension is built; what is installed is the whole folder they were copied to, as in CTK.
# Stricter than CTK: an unknown keyword ends the configuration.
macro(ctkMacroCompilePythonScript)
  cmake_parse_arguments(
    PY
    "NO_INSTALL_SUBDIR;GLOBAL_TARGET"
    "TARGET_NAME;SOURCE_DIR;DESTINATION_DIR;INSTALL_DIR"
    "SCRIPTS;RESOURCES"
    ${ARGN}
    )
  if(PY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "ctkMacroCompilePythonScript: unknown keywords ${PY_UNPARSED_ARGUMENTS}")
  endif()
  foreach(needed TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR)
    if(NOT DEFINED PY_${needed})
      message(FATAL_ERROR "ctkMacroCompilePythonScript: ${needed} is mandatory")
    endif()
  endforeach()
  if(NOT DEFINED PY_SOURCE_DIR)
    set(PY_SOURCE_DIR "${CMAKE_CURRENT_SOURCE_DIR}")
  endif()

  set(copies)
  foreach(file ${PY_SCRIPTS} ${PY_RESOURCES})
    if(NOT EXISTS "${PY_SOURCE_DIR}/${file}")
      message(FATAL_ERROR "ctkMacroCompilePythonScript: '${file}' does not exist")
    endif()
    add_custom_command(
      OUTPUT "${PY_DESTINATION_DIR}/${file}"
      COMMAND ${CMAKE_COMMAND} -E copy "${PY_SOURCE_DIR}/${file}" "${PY_DESTINATION_DIR}/${file}"
      DEPENDS "${PY_SOURCE_DIR}/${file}"
      )
    list(APPEND copies "${PY_DESTINATION_DIR}/${file}")
  endforeach()
  add_custom_target(Copy${PY_TARGET_NAME}PythonFiles ALL DEPENDS ${copies})

  if(PY_NO_INSTALL_SUBDIR)
    set(PY_DESTINATION_DIR "${PY_DESTINATION_DIR}/")
  endif()
  install(DIRECTORY "${PY_DESTINATION_DIR}" DESTINATION "${PY_INSTALL_DIR}" COMPONENT RuntimeLibraries)
endmacro()
