# SPDX-License-Identifier: MIT
engine_test(page_leaf_test btree SOURCES page_fixture.c)
engine_test(page_branch_test btree SOURCES page_fixture.c)
engine_test(page_validate_test btree SOURCES page_fixture.c)
