# SPDX-License-Identifier: MIT
engine_test(lsm_cache_test lsm LABELS threads)
