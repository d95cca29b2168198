# SPDX-License-Identifier: MIT
engine_test(lsm_version_test lsm SOURCES lsm_fake_table.c LABELS threads)
engine_test(lsm_manifest_test lsm SOURCES lsm_manifest_fixture.c lsm_fake_table.c)
engine_test(lsm_files_test lsm SOURCES lsm_manifest_fixture.c lsm_fake_table.c)
