# SPDX-License-Identifier: MIT
set(query_fixture graph_fixture.c graph_fixture_model.c kv_model.c value_fixture.c)
set(query_search_fixture query_search_fixture.c ${query_fixture})

set(query_steps_fixture query_fixture.c ${query_fixture})

engine_test(query_steps_test query SOURCES ${query_steps_fixture})
engine_test(query_kept_test query SOURCES ${query_steps_fixture})
engine_test(query_bounds_test query SOURCES ${query_steps_fixture})
engine_test(db_query_test db SOURCES value_fixture.c LABELS threads)
engine_test(query_plan_test db
  SOURCES query_fixture.c graph_fixture.c graph_fixture_btree.c value_fixture.c)
engine_test(query_random_test query SOURCES ${query_steps_fixture})
engine_test(query_predicate_test query SOURCES ${query_fixture})
engine_test(query_paths_test query SOURCES ${query_search_fixture})
engine_test(query_order_test query SOURCES ${query_search_fixture})
engine_test(query_subgraph_test query SOURCES ${query_search_fixture})

# Searches on the engines too, which read edges in ways of their own, and random traversals on the
# second.
if(TARGET engine_db)
  foreach(engine btree lsm)
    add_executable(${engine}_query_paths_test query_paths_test.c query_search_fixture.c graph_fixture.c
      ${graph_fixture_${engine}} value_fixture.c)
  endforeach()
  foreach(engine btree lsm)
    add_executable(${engine}_query_kept_plan_test query_kept_plan_test.c query_fixture.c
      graph_fixture.c ${graph_fixture_${engine}} value_fixture.c)
  endforeach()
  add_executable(btree_query_kept_test query_kept_test.c query_fixture.c graph_fixture.c
    ${graph_fixture_btree} value_fixture.c)
  add_executable(lsm_query_random_test query_random_test.c query_fixture.c graph_fixture.c ${graph_fixture_lsm} value_fixture.c)
  foreach(program btree_query_paths_test lsm_query_paths_test lsm_query_random_test
      btree_query_kept_plan_test lsm_query_kept_plan_test btree_query_kept_test)
    target_include_directories(${program} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
    target_link_libraries(${program} PRIVATE engine_db PkgConfig::CMOCKA)
    add_test(NAME ${program} COMMAND ${program} WORKING_DIRECTORY ${SOMBRA_TEST_FILES})
    set_tests_properties(${program} PROPERTIES TIMEOUT 300)
  endforeach()
endif()

# On the engine, since the data is large.
engine_test(query_reference_test db
  SOURCES query_search_fixture.c graph_fixture.c graph_fixture_btree.c value_fixture.c)
if(TARGET query_reference_test)
  target_compile_definitions(query_reference_test PRIVATE SOURCE_DIR="${CMAKE_SOURCE_DIR}")
endif()
