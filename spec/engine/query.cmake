# SPDX-License-Identifier: MIT
engine_test(query_predicate_test query SOURCES graph_fixture.c graph_fixture_model.c kv_model.c value_fixture.c)
