/* SPDX-License-Identifier: MIT */
#include "kv_contract.h"
#include "kv_check.h"

#include <stdlib.h>

static int fact_setup(void **state)
{
    struct kv_contract *contract = *state;
    contract->kv = NULL;
    sombra_err err = contract->driver->open(contract->driver->context, &contract->kv);
    if (err)
        print_error("open: %s: %s\n", sombra_err_name(err), sombra_err_message());
    return err ? -1 : 0;
}

/* A fact that failed may have left transactions open: then close says BUSY and the store leaks. */
static int fact_teardown(void **state)
{
    struct kv_contract *contract = *state;
    sombra_err err = contract->kv ? kv_close(contract->kv) : SOMBRA_OK;
    contract->kv = NULL;
    if (contract->driver->remove)
        contract->driver->remove(contract->driver->context);
    if (err)
        print_error("close: %s: %s\n", sombra_err_name(err), sombra_err_message());
    return err ? -1 : 0;
}

bool kv_contract_reopen(struct kv_contract *contract)
{
    if (!contract->driver->reopen)
        return false;
    expect_ok(kv_close(contract->kv));
    contract->kv = NULL;
    expect_ok(contract->driver->reopen(contract->driver->context, &contract->kv));
    return true;
}

static size_t facts_count(const struct kv_fact *facts)
{
    size_t count = 0;
    while (facts[count].name)
        count++;
    return count;
}

int kv_contract_run(const struct kv_driver *driver, uint64_t history_ops)
{
    const struct kv_fact *const lists[] = { kv_contract_points, kv_contract_cursors,
                                            kv_contract_words, kv_contract_txns,
                                            kv_contract_histories };
    size_t count = 0, filled = 0;
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        count += facts_count(lists[i]);
    struct CMUnitTest *tests = calloc(count, sizeof *tests);
    if (!tests)
        return 1;
    history_ops = history_ops * kv_test_number("SOMBRA_SHARE", 100) / 100;
    struct kv_contract contract = { .driver = driver, .history_ops = history_ops };
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        for (const struct kv_fact *fact = lists[i]; fact->name; fact++)
            tests[filled++] = (struct CMUnitTest){ .name = fact->name,
                                                   .test_func = fact->test,
                                                   .setup_func = fact_setup,
                                                   .teardown_func = fact_teardown,
                                                   .initial_state = &contract };
    int failed = _cmocka_run_group_tests(driver->name, tests, count, NULL, NULL);
    free(tests);
    return failed;
}
