/*
 * function_cache.h
 *	  What a process remembers of a function that it calls with a jsonb input.
 */
#ifndef DURABLE_FUNCTION_CACHE_H
#define DURABLE_FUNCTION_CACHE_H

#include "common/model.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/execnodes.h"
#include "nodes/params.h"
#include "utils/plancache.h"

/* an input parameter: IN, INOUT or VARIADIC */
typedef struct CallableParameter
{
	const char *name;			/* NULL: can only be bound by position */
	const char *key;			/* the name, or a generated one: the column of row */
	Oid			type;
	int16		typlen;
	bool		typbyval;
	bool		is_domain;
	bool		is_array;		/* the type below domains is an array */
	bool		is_composite;	/* the type below domains is a row type */
	Expr	   *default_value;	/* NULL: none */
	TupleDesc	row;			/* a row type with one column: the parameter */
	Datum		base;			/* a row of that type, with a null */
	FmgrInfo	populate;		/* jsonb_populate_record for that type */
} CallableParameter;

typedef struct CallableFunction
{
	Oid			oid;
	MemoryContext context;		/* owns this struct and what it points to */
	bool		valid;			/* false: catalogs have changed since it was built */
	Oid			role;			/* that the entry is for */
	LocalTransactionId transaction; /* likewise */
	bool		cached;			/* false: it is freed after the call */
	int			in_use;			/* calls that have begun and not ended */
	uint32		proc_hash;		/* syscache hash value of the pg_proc row */
	bool		user_types;		/* depends on types that users can alter */
	const char *title;			/* its signature, for messages */
	bool		is_sql;			/* LANGUAGE sql */
	bool		returns_set;
	Oid			result_type;
	bool		takes_whole_input;	/* the only parameter is of type json or jsonb */
	int			nparameters;
	CallableParameter *parameters;
	FuncExpr   *expression;		/* the call with the external parameters $1, $2, ... */
	ParamListInfo arguments;	/* the values of these parameters in this call */
	ExprState  *state;			/* the expression, ready to run; NULL: not made yet */
	int			track_functions;	/* the setting for which state was made */
	SPIPlanPtr	plan;			/* the query of a set-returning function */
	CachedExpression *simplified;	/* the expression as the planner inlined it; NULL: not tried */
	MemoryContext simplified_context;	/* owns the state of the inlined expression, and simplified_path */
	char	   *simplified_path;	/* search_path for which it was inlined */
	FmgrInfo	to_jsonb;
} CallableFunction;

/* the entry of a function, valid and not in use; an error if function_call cannot call this kind of function */
extern CallableFunction *callable_get(Oid function);
/* forget what the planner made of the expression */
extern void callable_forget_simplified(CallableFunction *fn);
/* fill in a parameter of a type, without a default; name may be NULL */
extern void parameter_init(CallableParameter *parameter, int number, const char *name, Oid type);
/* set up a call of a function that asks for the type of its first argument */
extern void typed_function_init(FmgrInfo *flinfo, Oid function, Oid result_type,
								Oid argument_type);

#endif
