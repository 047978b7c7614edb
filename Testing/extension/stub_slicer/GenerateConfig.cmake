# Slicer writes <Extension>Config.cmake for extensions that depend on this one; a test asks only that it was included.
file(WRITE "${CMAKE_BINARY_DIR}/${PROJECT_NAME}Config.cmake" "# for extensions that depend on this one\n")
