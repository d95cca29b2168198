# SPDX-License-Identifier: MIT
# What `cmake --install` puts where. Lua finds modules of a distribution's prefix in lib/<multiarch>/lua/5.4 and of
# /usr/local in lib/lua/5.4: GNUInstallDirs chooses between the two just so.
set(lua_module_dir ${CMAKE_INSTALL_LIBDIR}/lua/5.4)
set(lua_source_dir ${CMAKE_INSTALL_DATADIR}/lua/5.4)

install(TARGETS sombra_static sombra_shared)
install(DIRECTORY engine/include/sombra DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
# Relative to itself, so that `cmake --install --prefix` and staged installs need no edit.
file(RELATIVE_PATH prefix_from_pkgconfig /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
set(engine_packages libdeflate)
if(LZ4_FOUND)
  string(APPEND engine_packages " liblz4")
endif()
if(ZSTD_FOUND)
  string(APPEND engine_packages " libzstd")
endif()
configure_file(cmake/sombra.pc.in ${CMAKE_CURRENT_BINARY_DIR}/sombra.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/sombra.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(TARGET sombra_lua_shared)
  install(TARGETS sombra_lua_static sombra_lua_shared)
  install(DIRECTORY lua/embed/sombra DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
  configure_file(cmake/sombra-lua.pc.in ${CMAKE_CURRENT_BINARY_DIR}/sombra-lua.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/sombra-lua.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
if(TARGET sombra)
  install(TARGETS sombra RUNTIME)
endif()
if(TARGET sombra_module)
  install(TARGETS sombra_module LIBRARY DESTINATION ${lua_module_dir})
endif()
install(DIRECTORY lua/sombra DESTINATION ${lua_source_dir} FILES_MATCHING PATTERN "*.lua")
install(DIRECTORY lua/types/ DESTINATION ${CMAKE_INSTALL_DATADIR}/sombra/types FILES_MATCHING PATTERN "*.lua")
if(TARGET sombra_documents)
  install(FILES ${CMAKE_BINARY_DIR}/sombra.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${CMAKE_BINARY_DIR}/sombra.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
    RENAME sombra)
  install(FILES ${CMAKE_BINARY_DIR}/sombra.zsh DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions
    RENAME _sombra)
  install(FILES ${CMAKE_BINARY_DIR}/sombra.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()
