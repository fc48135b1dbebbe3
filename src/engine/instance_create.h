/*
 * instance_create.h
 *	  Making instances, for clients and for sub-orchestrations.
 */
#ifndef DURABLE_INSTANCE_CREATE_H
#define DURABLE_INSTANCE_CREATE_H

#include "store/store.h"

typedef struct CreateRequest
{
	const char *instance_id;	/* NULL: generated, and set here */
	const char *name;
	const char *function;		/* its signature */
	const char *version;		/* or NULL */
	const char *search_path;
	Jsonb	   *tags;			/* or NULL */
	Jsonb	   *input;			/* or NULL */
	Oid			owner;
	TimestampTz now;
	TimestampTz start_at;		/* 0, or not after now: starts at once */
	int64		parent_key;		/* 0: none */
	const char *parent_id;		/* or NULL */
	int			parent_task;	/* number of the parent's task that gets the result; 0: none */
	int			dedupe;			/* STATUS_BITs in which an instance that has the id is kept; in others it is replaced */
	bool		no_wait;		/* error 55P03 instead of waiting for another transaction */
	int64		key;			/* set on success */
} CreateRequest;

typedef enum CreateResult
{
	CREATE_DONE,
	CREATE_EXISTS,				/* an instance of the same owner has the id and is kept */
	CREATE_FOREIGN				/* an instance of another owner has the id */
} CreateResult;

/*
 * Make an instance.  The caller has an active snapshot.  With an id that the
 * caller chose, this writes what the store has buffered, and waits for a
 * transaction that makes or deletes an instance of the same id, unless no_wait is
 * set or an activity runs.
 */
extern CreateResult instance_create(Store *store, CreateRequest *request);

/* error unless a user may choose this id */
extern void create_check_id(const char *instance_id);

/* the tags, NULL if there are none; error unless they are an object */
extern Jsonb *create_check_tags(Jsonb *tags);

/* a version-7 UUID: those of one process ascend, those of several processes nearly so */
extern pg_uuid_t create_uuid(void);

#endif
