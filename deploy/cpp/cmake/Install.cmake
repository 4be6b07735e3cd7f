# `find_package(temport)`: the library, its headers and the runner.
include(CMakePackageConfigHelpers)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/temport)
install(TARGETS temport EXPORT temportTargets)
install(TARGETS temport-run)
install(DIRECTORY include/temport DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT temportTargets NAMESPACE temport:: DESTINATION ${config_dir})
configure_package_config_file(cmake/temportConfig.cmake.in temportConfig.cmake INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(temportConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/temportConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/temportConfigVersion.cmake
  DESTINATION ${config_dir})
