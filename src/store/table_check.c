/*
 * table_check.c
 *	  The check that the engine's tables are as the extension made them.
 *
 * The engine knows columns by number and indexes by name, and writes rows
 * without firing triggers or rules.  So each of its tables must be an ordinary
 * table of the heap access method with exactly these columns and indexes.  It
 * must have no trigger and no rule, since the engine's writes would skip them:
 * a tool that copies changes by triggers, such as pg_repack, would lose rows.
 * A table that is published needs a replica identity.
 *
 * Whoever opens a table checks it, under a lock that keeps ALTER TABLE and
 * CREATE TRIGGER out until the transaction ends.  A table that fits is checked
 * again only after the relation cache reports a change of the table or of its
 * indexes.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_publication.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "common/log_text.h"
#include "store/inbox_rows.h"
#include "store/instance_rows.h"
#include "store/table_check.h"

#define OWNER_HINT "Make that role a superuser again, or give the extension to one with REASSIGN OWNED."
#define SHAPE_HINT \
	"If the package or the extension was updated, run ALTER EXTENSION durable UPDATE and restart the server; otherwise undo what has changed the table. durable then goes on by itself."
#define TRIGGER_HINT \
	"Have the trigger dropped or disabled: a tool that follows changes by triggers, such as pg_repack, cannot work on this table. durable then goes on by itself."

#define INDEX_COLUMNS	5		/* columns of an index, at most */
#define TABLE_INDEXES	5		/* indexes of a table, at most */

/* stands for durable_internal.owner, whose OID differs between databases */
#define OWNER_TYPE		InvalidOid

typedef struct ColumnShape
{
	const char *name;
	Oid			type;
} ColumnShape;

typedef struct IndexShape
{
	const char *name;			/* NULL: end of the list */
	Oid			method;
	bool		unique;
	AttrNumber	columns[INDEX_COLUMNS]; /* ends with -1 */
} IndexShape;

typedef struct TableShape
{
	const char *name;
	int			ncolumns;
	const ColumnShape *columns;
	IndexShape	indexes[TABLE_INDEXES];
} TableShape;

/* what is wrong with a table */
typedef struct Misfit
{
	char	   *detail;			/* NULL: nothing */
	const char *hint;
} Misfit;

static const ColumnShape instances_columns[] = {
	{"key", INT8OID}, {"instance_id", TEXTOID}, {"execution_id", UUIDOID}, {"state", CHAROID},
	{"owner", OWNER_TYPE}, {"name", TEXTOID}, {"function", TEXTOID}, {"version", TEXTOID},
	{"search_path", TEXTOID}, {"tags", JSONBOID}, {"created_time", TIMESTAMPTZOID},
	{"last_updated_time", TIMESTAMPTZOID}, {"completed_time", TIMESTAMPTZOID},
	{"scheduled_start_time", TIMESTAMPTZOID}, {"started_time", TIMESTAMPTZOID},
	{"parent_key", INT8OID}, {"parent_task", INT4OID}, {"first_seq", INT4OID}, {"last_seq", INT4OID},
	{"turn_seq", INT4OID}, {"first_task", INT4OID}, {"awaiting", INT4OID}, {"deliveries", INT4OID},
	{"custom_status", JSONBOID}
};

static const ColumnShape history_columns[] = {
	{"key", INT8OID}, {"seq", INT4OID}, {"event", INT2OID}, {"event_time", TIMESTAMPTZOID},
	{"task_id", INT4OID}, {"attempt", INT4OID}, {"name", TEXTOID}, {"input", JSONBOID}, {"result", JSONBOID}
};

static const ColumnShape messages_columns[] = {
	{"key", INT8OID}, {"id", INT8OID}, {"kind", INT2OID}, {"time", TIMESTAMPTZOID},
	{"task_id", INT4OID}, {"attempt", INT4OID}, {"name", TEXTOID}, {"payload", JSONBOID}
};

static const ColumnShape tasks_columns[] = {
	{"key", INT8OID}, {"task_id", INT4OID}, {"seq", INT4OID}, {"attempt", INT4OID}, {"deliveries", INT4OID},
	{"rewinds", INT4OID}
};

static const ColumnShape timers_columns[] = {
	{"key", INT8OID}, {"task_id", INT4OID}, {"fire_at", TIMESTAMPTZOID}
};

static const TableShape shapes[TABLES] = {
	[TABLE_INSTANCES] = {
		"instances", lengthof(instances_columns), instances_columns, {
			{"instances_pkey", BTREE_AM_OID, true, {1, -1}},
			{"instances_instance_id", BTREE_AM_OID, true, {2, -1}},
			{"instances_listing", BTREE_AM_OID, false, {4, 5, 6, 11, 2}},
			{"instances_created", BRIN_AM_OID, false, {11, -1}},
			{"instances_parent", BTREE_AM_OID, false, {16, -1}}
		}
	},
	[TABLE_HISTORY] = {
		"history", lengthof(history_columns), history_columns, {{"history_pkey", BTREE_AM_OID, true, {1, 2, -1}}}
	},
	[TABLE_MESSAGES] = {
		"messages", lengthof(messages_columns), messages_columns, {{"messages_pkey", BTREE_AM_OID, true, {1, 2, -1}}}
	},
	[TABLE_TASKS] = {
		"tasks", lengthof(tasks_columns), tasks_columns, {{"tasks_pkey", BTREE_AM_OID, true, {1, 2, -1}}}
	},
	[TABLE_TIMERS] = {
		"timers", lengthof(timers_columns), timers_columns, {
			{"timers_pkey", BTREE_AM_OID, true, {1, 2, -1}},
			{"timers_fire_at", BTREE_AM_OID, false, {3, 1, -1}}
		}
	}
};

/* a table that was found to fit */
typedef struct Known
{
	Oid			relid;			/* InvalidOid: nothing */
	Oid			indexes[TABLE_INDEXES];
	bool		writable;		/* nothing keeps the engine from writing, either */
} Known;

static Known known[TABLES];

const char *
table_name(TableId id)
{
	return shapes[id].name;
}

/* Relation cache callback: one relation, or all, may have changed. */
static void
forget_fit(Datum arg, Oid relid)
{
	for (int i = 0; i < TABLES; i++)
	{
		bool		touched = relid == InvalidOid || known[i].relid == relid;

		for (int j = 0; j < TABLE_INDEXES; j++)
			touched |= known[i].indexes[j] == relid;
		if (touched)
			known[i].relid = InvalidOid;
	}
}

/* Syscache callback: a role has changed, perhaps an owner. */
static void
forget_all(Datum arg, int cacheid, uint32 hashvalue)
{
	memset(known, 0, sizeof(known));
}

/* What is wrong with the kind of a relation; NULL: nothing. */
static char *
kind_misfit(Relation rel)
{
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		return pstrdup("It is a partitioned table.");
	if (rel->rd_rel->relkind != RELKIND_RELATION)
		return pstrdup("It is no ordinary table.");
	if (rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		return psprintf("Its access method is \"%s\", not heap.", get_am_name(rel->rd_rel->relam));
	return NULL;
}

/* The type that a column must have. */
static Oid
shape_column_type(Relation rel, const ColumnShape *column)
{
	if (column->type != OWNER_TYPE)
		return column->type;
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("owner"),
						   ObjectIdGetDatum(RelationGetNamespace(rel)));
}

/* What is wrong with the columns.  A further column that was added and dropped does no harm. */
static char *
columns_misfit(Relation rel, const TableShape *shape)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < Max(shape->ncolumns, desc->natts); i++)
	{
		Form_pg_attribute column = i < desc->natts ? TupleDescAttr(desc, i) : NULL;
		bool		there = column != NULL && !column->attisdropped;

		if (i >= shape->ncolumns)
		{
			if (there)
				return psprintf("Column %d, \"%s\", is not one that durable knows.", i + 1, NameStr(column->attname));
		}
		else if (!there)
			return psprintf("Column %d, \"%s\", is missing.", i + 1, shape->columns[i].name);
		else if (strcmp(NameStr(column->attname), shape->columns[i].name) != 0)
			return psprintf("Column %d is called \"%s\", not \"%s\".", i + 1, NameStr(column->attname), shape->columns[i].name);
		else if (column->atttypid != shape_column_type(rel, &shape->columns[i]))
			return psprintf("Column \"%s\" is of type %s, not %s.", shape->columns[i].name,
							format_type_be(column->atttypid), format_type_be(shape_column_type(rel, &shape->columns[i])));
	}
	return NULL;
}

/* Whether an index has the columns that it must have. */
static bool
index_has_columns(Form_pg_index index, const IndexShape *shape)
{
	int			i;

	for (i = 0; i < INDEX_COLUMNS && shape->columns[i] != -1; i++)
		if (i >= index->indnkeyatts || index->indkey.values[i] != shape->columns[i])
			return false;
	return index->indnkeyatts == i;
}

/*
 * What is wrong with an index of a table; *relid becomes the index.  The lock
 * of the table protects the index.
 */
static char *
index_misfit(Relation rel, const IndexShape *shape, Oid *relid)
{
	Relation	index = NULL;
	char	   *detail = NULL;

	*relid = get_relname_relid(shape->name, RelationGetNamespace(rel));
	if (OidIsValid(*relid))
		index = RelationIdGetRelation(*relid);
	if (index == NULL)
		return psprintf("Its index \"%s\" is missing.", shape->name);
	if (index->rd_index == NULL || index->rd_index->indrelid != RelationGetRelid(rel))
		detail = psprintf("Index \"%s\" is another table's.", shape->name);
	else if (!index->rd_index->indisvalid || !index->rd_index->indisready)
		detail = psprintf("Its index \"%s\" is not valid.", shape->name);
	else if (index->rd_rel->relam != shape->method || index->rd_index->indisunique != shape->unique ||
			 !index_has_columns(index->rd_index, shape))
		detail = psprintf("Its index \"%s\" is not the one that the extension has made.", shape->name);
	RelationClose(index);
	return detail;
}

/* A trigger that the engine's writes would have to fire. */
static char *
trigger_misfit(Relation rel)
{
	const TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (trigger->tgenabled == TRIGGER_DISABLED || trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA ||
			!(trigger->tgtype & (TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE)))
			continue;
		if (trigger->tgisinternal && OidIsValid(trigger->tgconstraint))
			return psprintf("Constraint \"%s\" has triggers on it, which durable does not fire.",
							get_constraint_name(trigger->tgconstraint));
		return psprintf("It has trigger \"%s\", which durable does not fire.", trigger->tgname);
	}
	return NULL;
}

/* Why a publication cannot send updates and deletions. */
static char *
publication_misfit(Relation rel)
{
	PublicationDesc publication;

	if (!XLogLogicalInfoActive())
		return NULL;
	RelationBuildPublicationDesc(rel, &publication);
	if (!publication.pubactions.pubupdate && !publication.pubactions.pubdelete)
		return NULL;
	if (rel->rd_rel->relreplident != REPLICA_IDENTITY_FULL && !OidIsValid(RelationGetReplicaIndex(rel)))
		return pstrdup("It is published and has no replica identity.");
	if (!publication.rf_valid_for_update || !publication.rf_valid_for_delete ||
		!publication.cols_valid_for_update || !publication.cols_valid_for_delete)
		return pstrdup("A publication of it has a row filter or a list of columns that its replica identity does not cover.");
	return NULL;
}

/*
 * The owner of a table can add expression indexes, constraints and support
 * functions of indexes.  They run with the rights of the role that writes a
 * row, and the scheduler, which is a superuser, writes rows.
 */
static char *
owner_misfit(Relation rel)
{
	if (superuser_arg(rel->rd_rel->relowner))
		return NULL;
	return psprintf("Its owner, role \"%s\", is not a superuser.", GetUserNameFromId(rel->rd_rel->relowner, true));
}

/* What is wrong with the shape of a table; indexes gets the OIDs of its indexes. */
static Misfit
shape_misfit(Relation rel, const TableShape *shape, Oid *indexes)
{
	Misfit		misfit = {.detail = owner_misfit(rel), .hint = OWNER_HINT};

	if (misfit.detail != NULL)
		return misfit;
	misfit.hint = SHAPE_HINT;
	misfit.detail = kind_misfit(rel);
	if (misfit.detail == NULL)
		misfit.detail = columns_misfit(rel, shape);
	for (int i = 0; misfit.detail == NULL && i < TABLE_INDEXES && shape->indexes[i].name != NULL; i++)
		misfit.detail = index_misfit(rel, &shape->indexes[i], &indexes[i]);
	return misfit;
}

/* What keeps the engine from writing to a table of the right shape. */
static Misfit
write_misfit(Relation rel)
{
	Misfit		misfit = {.detail = trigger_misfit(rel), .hint = TRIGGER_HINT};

	if (misfit.detail == NULL && rel->rd_rules != NULL && rel->rd_rules->numLocks > 0)
	{
		misfit.detail = pstrdup("It has a rule, which durable does not apply.");
		misfit.hint = "Drop the rule; durable then goes on by itself.";
	}
	if (misfit.detail == NULL)
	{
		misfit.detail = publication_misfit(rel);
		misfit.hint = "Give the table back its primary key as its replica identity, and publish it whole.";
	}
	return misfit;
}

/* Report what is wrong, unless the level is 0. */
static void
report(int level, TableId id, const Misfit *misfit)
{
	if (level == 0)
		return;
	ereport(level,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("durable cannot work in database %s: table \"%s.%s\" is not as it should be",
					log_database(MyDatabaseId), DURABLE_INTERNAL_SCHEMA, shapes[id].name),
			 errdetail_internal("%s", misfit->detail),
			 errhint("%s", misfit->hint)));
}

/* Check an open table.  If it changes while the catalogs are read, it is checked again the next time. */
static bool
check_table(Relation rel, TableId id, bool write, int level)
{
	static bool registered = false;
	Oid			indexes[TABLE_INDEXES] = {InvalidOid};
	Misfit		misfit;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget_fit, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, forget_all, (Datum) 0);
	}
	registered = true;
	memset(&known[id], 0, sizeof(Known));
	known[id].relid = RelationGetRelid(rel);
	misfit = shape_misfit(rel, &shapes[id], indexes);
	if (misfit.detail == NULL && write)
		misfit = write_misfit(rel);
	if (misfit.detail != NULL)
	{
		known[id].relid = InvalidOid;
		report(level, id, &misfit);
		return false;
	}
	memcpy(known[id].indexes, indexes, sizeof(indexes));
	known[id].writable = write;
	return true;
}

/* Whether an open table fits for reading and writing. */
bool
table_fits(Relation rel, TableId id, int level)
{
	return (known[id].relid == RelationGetRelid(rel) && known[id].writable) || check_table(rel, id, true, level);
}

/* Whether an open table fits for reading. */
bool
table_readable(Relation rel, TableId id, int level)
{
	return known[id].relid == RelationGetRelid(rel) || check_table(rel, id, false, level);
}

/* Report that a table does not exist, or was just replaced. */
bool
table_missing(TableId id, int level)
{
	report(level, id, &(Misfit) {.detail = pstrdup("There is no such table, or it was created just now."), .hint = SHAPE_HINT});
	return false;
}

/* Whether the table of this name exists and fits. */
static bool
named_table_fits(TableId id, Oid namespace, int level)
{
	Relation	rel = NULL;
	Oid			relid = get_relname_relid(shapes[id].name, namespace);
	bool		fits;

	if (OidIsValid(relid))
		rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		return table_missing(id, level);
	fits = table_fits(rel, id, level);
	/* the lock is released, so that it blocks nobody */
	relation_close(rel, AccessShareLock);
	return fits;
}

/* Whether the extension's schema exists and all tables fit. */
bool
tables_fit(int level)
{
	Oid			namespace = get_namespace_oid(DURABLE_INTERNAL_SCHEMA, true);
	bool		fit = OidIsValid(namespace);

	for (int i = 0; i < TABLES && fit; i++)
		fit = named_table_fits(i, namespace, level);
	return fit;
}
