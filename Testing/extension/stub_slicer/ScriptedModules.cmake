# The keywords and checks are Slicer's: a misspelt keyword and a file that does not exist end the configuration.
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(SCRIPTED "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(SCRIPTED_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: unknown keywords ${SCRIPTED_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT DEFINED SCRIPTED_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: NAME is mandatory")
  endif()
  set(SCRIPTED_SUBDIR "")
  set(SCRIPTED_INSTALL NO_INSTALL_SUBDIR)
  if(SCRIPTED_WITH_SUBDIR)
    get_filename_component(SCRIPTED_SUBDIR "/${CMAKE_CURRENT_SOURCE_DIR}" NAME)
    set(SCRIPTED_SUBDIR "/${SCRIPTED_SUBDIR}")
    set(SCRIPTED_INSTALL "")
  endif()
  ctkMacroCompilePythonScript(
    TARGET_NAME ${SCRIPTED_NAME}
    SCRIPTS "${SCRIPTED_SCRIPTS}"
    RESOURCES "${SCRIPTED_RESOURCES}"
    DESTINATION_DIR "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}${SCRIPTED_SUBDIR}"
    INSTALL_DIR "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}"
    ${SCRIPTED_INSTALL}
    )
endmacro()

macro(slicer_add_python_unittest)
  cmake_parse_arguments(UNIT "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  if(UNIT_UNPARSED_ARGUMENTS OR NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${UNIT_SCRIPT}")
    message(FATAL_ERROR "slicer_add_python_unittest: no script '${UNIT_SCRIPT}', or unknown keywords")
  endif()
  get_filename_component(UNIT_NAME "${UNIT_SCRIPT}" NAME_WE)
  add_test(NAME "py_${UNIT_TESTNAME_PREFIX}${UNIT_NAME}" COMMAND ${CMAKE_COMMAND} -E true)
endmacro()
