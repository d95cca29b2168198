# SPDX-License-Identifier: MIT
engine_test(lsm_policy_test lsm)
