/*
 * integer_lists.h
 *	  JSON numbers with decimal places for parameters of integer types.
 */
#ifndef DURABLE_INTEGER_LISTS_H
#define DURABLE_INTEGER_LISTS_H

#include "common/model.h"

/* round the numbers in a value where its type has integers; false: the value was not changed */
extern bool integers_round(Oid type, JsonbValue *value);

#endif
