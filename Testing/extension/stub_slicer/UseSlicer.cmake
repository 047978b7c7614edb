# Like Slicer: install paths below the extension's name, licence and readme of Slicer unless the extension has its own.
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "${PROJECT_NAME}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
if(NOT DEFINED EXTENSION_LICENSE_FILE)
  set(EXTENSION_LICENSE_FILE "${CMAKE_CURRENT_LIST_DIR}/of-slicer.txt")
endif()
if(NOT DEFINED EXTENSION_README_FILE)
  set(EXTENSION_README_FILE "${CMAKE_CURRENT_LIST_DIR}/of-slicer.txt")
endif()
option(BUILD_TESTING "Register the modules' tests" ON)
enable_testing()

include("${CMAKE_CURRENT_LIST_DIR}/PythonScripts.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/ScriptedModules.cmake")
