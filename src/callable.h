/*
 * callable.h
 *	  What a backend remembers of a function that it calls with a jsonb input.
 */
#ifndef DURABLE_CALLABLE_H
#define DURABLE_CALLABLE_H

#include "durable.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/execnodes.h"
#include "nodes/params.h"
#include "utils/plancache.h"

/* One input parameter: IN, INOUT or VARIADIC. */
typedef struct CallableParameter
{
	const char *name;			/* NULL: can only be bound by position */
	const char *key;			/* its name, or one made up, as the column of row */
	Oid			type;
	int16		typlen;
	bool		typbyval;
	bool		is_domain;
	bool		is_array;		/* these two see through domains */
	bool		is_composite;
	Expr	   *default_value;	/* NULL: none */
	TupleDesc	row;			/* one column: the parameter */
	Datum		base;			/* a row of that type, holding a null */
	FmgrInfo	populate;		/* jsonb_populate_record for that type */
} CallableParameter;

typedef struct CallableFunction
{
	Oid			oid;
	MemoryContext context;		/* holds all of this */
	bool		valid;			/* false: catalogs have changed since */
	Oid			role;			/* for whom, and in which transaction, it was made */
	LocalTransactionId transaction;
	bool		cached;			/* in the hash, else gone after this call */
	int			in_use;			/* calls under way */
	uint32		proc_hash;		/* syscache hash value of the pg_proc row */
	bool		user_types;		/* depends on types that users can alter */
	const char *title;			/* its signature, for messages */
	bool		is_sql;			/* LANGUAGE sql */
	bool		returns_set;
	Oid			result_type;
	bool		takes_whole_input;	/* the only parameter is json, jsonb */
	int			nparameters;
	CallableParameter *parameters;
	FuncExpr   *expression;		/* the call, of external parameters $1.. */
	ParamListInfo arguments;	/* those parameters' values now */
	ExprState  *state;			/* expression, ready to run; NULL: not yet */
	int			track_functions;	/* the setting, on which state depends */
	SPIPlanPtr	plan;			/* the query of a set-returning function */
	CachedExpression *simplified;	/* expression as the planner inlined it; NULL: not tried */
	MemoryContext simplified_context;	/* holds the state then, and the path */
	char	   *simplified_path;	/* search_path that it was done for */
	FmgrInfo	to_jsonb;
} CallableFunction;

/* its entry, current and not in use; errors out if it cannot be called at all */
extern CallableFunction *callable_get(Oid function);

/* forget what the planner made of the expression */
extern void callable_forget_simplified(CallableFunction *fn);
/* a parameter of a type, without a default; name: may be NULL */
extern void parameter_init(CallableParameter *parameter, int number, const char *name, Oid type);
/* convert a value; object: where it is a member under the parameter's key, or NULL */
extern Datum parameter_convert(CallableParameter *parameter, JsonbValue *value, Jsonb *object,
							   bool *is_null);
/* round the JSON numbers in a value that are for integers; false: there is nothing to round */
extern bool integers_round(Oid type, JsonbValue *value);
/* set up a function that asks for the type of its only or first argument */
extern void typed_function_init(FmgrInfo *flinfo, Oid function, Oid result_type,
								Oid argument_type);

#endif
