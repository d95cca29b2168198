# SPDX-License-Identifier: MIT
engine_test(db_test db SOURCES kv_model.c)
engine_test(db_open_test db)
engine_test(db_index_test db)
engine_test(db_reuse_test db)
engine_test(db_metrics_test db)

# What holds for the graph on the model holds on the engine: the same programs on another store.
foreach(name graph_edge_test graph_bucket_test graph_random_test graph_index_test graph_rule_test
             graph_upsert_test graph_trigger_test)
  if(TARGET engine_db)
    add_executable(db_${name} ${name}.c graph_fixture.c graph_fixture_btree.c graph_index_fixture.c)
    target_include_directories(db_${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
    target_link_libraries(db_${name} PRIVATE engine_db PkgConfig::CMOCKA)
    add_test(NAME db_${name} COMMAND db_${name} WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
    set_tests_properties(db_${name} PROPERTIES TIMEOUT 300)
  endif()
endforeach()
