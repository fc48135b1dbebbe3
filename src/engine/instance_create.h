/*
 * instance_create.h
 *	  Making instances, for clients and for sub-orchestrations.
 */
#ifndef DURABLE_INSTANCE_CREATE_H
#define DURABLE_INSTANCE_CREATE_H

#include "store/store.h"

typedef struct CreateRequest
{
	const char *instance_id;	/* NULL: one is made, and set here */
	const char *name;
	const char *function;		/* its signature */
	const char *version;		/* or NULL */
	const char *search_path;
	Jsonb	   *tags;			/* or NULL */
	Jsonb	   *input;			/* or NULL */
	Oid			owner;
	TimestampTz now;
	TimestampTz start_at;		/* 0 or not after now: at once */
	int64		parent_key;		/* 0: none */
	const char *parent_id;		/* or NULL */
	int			parent_task;	/* 0: nobody awaits the result */
	int			dedupe;			/* STATUS_BITs: keep an instance in one of these */
	bool		no_wait;		/* error 55P03 instead of waiting for another transaction */
	int64		key;			/* set on success */
} CreateRequest;

typedef enum CreateResult
{
	CREATE_DONE,
	CREATE_EXISTS,				/* an instance of that id and of the same owner is kept */
	CREATE_FOREIGN				/* the id is taken by an instance of another owner */
} CreateResult;

/*
 * Make an instance.  With an id of the caller's choice it waits for a
 * transaction that is making or removing one of the same id, unless no_wait is
 * set, and what the store has buffered is written.  A snapshot must be active.
 */
extern CreateResult instance_create(Store *store, CreateRequest *request);

/* error unless clients may choose this id */
extern void create_check_id(const char *instance_id);

/* the tags, NULL if there are none; error unless they are an object */
extern Jsonb *create_check_tags(Jsonb *tags);

/* a version-7 UUID: ids of one process ascend, those of several nearly so */
extern pg_uuid_t create_uuid(void);

#endif
