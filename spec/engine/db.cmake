# SPDX-License-Identifier: MIT
engine_test(db_test db SOURCES kv_model.c)
engine_test(db_open_test db)
engine_test(db_engine_test db)
engine_test(db_fork_test db SOURCES kv_check.c)
engine_test(db_index_test db)
engine_test(db_reuse_test db)
engine_test(db_metrics_test db)
engine_test(db_kept_threads_test db LABELS threads)

# What holds for the graph on the model holds on the engines: the same programs on other stores.
set(graph_fixture_btree graph_fixture_btree.c)
set(graph_fixture_lsm graph_fixture_lsm.c lsm_store.c kv_check.c)
foreach(name graph_edge_test graph_bucket_test graph_random_test graph_index_test graph_rule_test
             graph_upsert_test graph_trigger_test graph_mend_test graph_kept_test graph_found_test
             graph_ends_test)
  foreach(engine btree lsm)
    if(TARGET engine_db)
      set(program ${engine}_${name})
      add_executable(${program} ${name}.c graph_fixture.c ${graph_fixture_${engine}} graph_index_fixture.c
        graph_readers.c)
      target_include_directories(${program} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
      target_link_libraries(${program} PRIVATE engine_db PkgConfig::CMOCKA)
      add_test(NAME ${program} COMMAND ${program} WORKING_DIRECTORY ${SOMBRA_TEST_FILES})
      set_tests_properties(${program} PROPERTIES TIMEOUT 300)
    endif()
  endforeach()
endforeach()
