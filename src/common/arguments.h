/*
 * arguments.h
 *	  Arguments of the SQL functions.
 */
#ifndef DURABLE_ARGUMENTS_H
#define DURABLE_ARGUMENTS_H

#include "common/model.h"

#include "fmgr.h"

/* error 22004 if the argument is null */
extern void require_argument(FunctionCallInfo fcinfo, int number, const char *parameter,
						   const char *function);
/* a text argument as a string, NULL for null */
extern char *text_argument(FunctionCallInfo fcinfo, int number);
/* a text argument as the name of an event; error 22023 if it cannot be one */
extern char *event_name_argument(FunctionCallInfo fcinfo, int number);
/* a jsonb argument, NULL for null */
extern Jsonb *jsonb_argument(FunctionCallInfo fcinfo, int number);

#endif
