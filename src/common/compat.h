/*
 * compat.h
 *	  The differences between PostgreSQL 15 and 19.
 */
#ifndef DURABLE_COMPAT_H
#define DURABLE_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "catalog/pg_database.h"
#include "executor/executor.h"
#include "nodes/tidbitmap.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

#if PG_VERSION_NUM < 150000
#error "durable needs PostgreSQL 15 or later"
#endif

/* 16: varlena macros have a file of their own */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 16: one object_aclcheck for all kinds of objects */
#if PG_VERSION_NUM >= 160000
#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#define compat_proc_aclcheck(oid, role, mode) \
	object_aclcheck(ProcedureRelationId, (oid), (role), (mode))
#define compat_database_aclcheck(oid, role, mode) \
	object_aclcheck(DatabaseRelationId, (oid), (role), (mode))
#define compat_database_ownercheck(oid, role) \
	object_ownercheck(DatabaseRelationId, (oid), (role))
#define compat_extension_ownercheck(oid, role) \
	object_ownercheck(ExtensionRelationId, (oid), (role))
#else
#define compat_proc_aclcheck(oid, role, mode) \
	pg_proc_aclcheck((oid), (role), (mode))
#define compat_database_aclcheck(oid, role, mode) \
	pg_database_aclcheck((oid), (role), (mode))
#define compat_database_ownercheck(oid, role) \
	pg_database_ownercheck((oid), (role))
#define compat_extension_ownercheck(oid, role) \
	pg_extension_ownercheck((oid), (role))
#endif

/* a database whose DROP was interrupted: some minor versions lack the name */
#ifndef DATCONNLIMIT_INVALID_DB
#define DATCONNLIMIT_INVALID_DB (-2)
#endif

/* 16: an update tells which indexes need entries; 19: the answer is one of several flags */
#if PG_VERSION_NUM >= 160000
#define CompatUpdateIndexes TU_UpdateIndexes
#define compat_update_none(u) ((u) == TU_None)
#define compat_update_all(u) ((u) == TU_All)
#else
#define CompatUpdateIndexes bool
#define compat_update_none(u) (!(u))
#define compat_update_all(u) (u)
#endif
#if PG_VERSION_NUM >= 190000
#define compat_insert_index_tuples(rri, slot, estate, is_update, which) \
	ExecInsertIndexTuples((rri), (estate), \
						  !(is_update) ? 0 : (which) == TU_Summarizing ? EIIT_IS_UPDATE | EIIT_ONLY_SUMMARIZING : EIIT_IS_UPDATE, \
						  (slot), NIL, NULL)
#elif PG_VERSION_NUM >= 160000
#define compat_insert_index_tuples(rri, slot, estate, is_update, which) \
	ExecInsertIndexTuples((rri), (slot), (estate), (is_update), false, NULL, NIL, \
						  (is_update) && (which) == TU_Summarizing)
#else
#define compat_insert_index_tuples(rri, slot, estate, is_update, which) \
	ExecInsertIndexTuples((rri), (slot), (estate), (is_update), false, NULL, NIL)
#endif

/* 18: an index scan has instrumentation; 19: its caller may give hints */
#if PG_VERSION_NUM >= 190000
#define compat_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), NULL, (nkeys), 0, SO_NONE)
#elif PG_VERSION_NUM >= 180000
#define compat_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), NULL, (nkeys), 0)
#else
#define compat_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), (nkeys), 0)
#endif

/* 19: a fetch by index takes flags */
#if PG_VERSION_NUM >= 190000
#define compat_index_fetch_begin(heap) table_index_fetch_begin((heap), 0)
#else
#define compat_index_fetch_begin(heap) table_index_fetch_begin(heap)
#endif

/* 19: a hash table in shared memory always has its full size, as those of the extension always had */
#if PG_VERSION_NUM >= 190000
#define compat_shmem_init_hash(name, size, ctl, flags) \
	ShmemInitHash((name), (size), (ctl), (flags))
#else
#define compat_shmem_init_hash(name, size, ctl, flags) \
	ShmemInitHash((name), (size), (size), (ctl), (flags))
#endif

/* 19: a row type that is built column by column must be finalized */
#if PG_VERSION_NUM >= 190000
#define compat_tuple_desc_finish(desc) TupleDescFinalize(desc)
#else
#define compat_tuple_desc_finish(desc) ((void) (desc))
#endif

/*
 * 17: transaction_timeout ends the session.  A transaction of the engine
 * contains the calls of many functions, each with timeouts of its own, so the
 * timeout that a role or the configuration sets does not apply to it.
 */
#if PG_VERSION_NUM >= 170000
#define compat_no_transaction_timeout() \
	SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE)
#else
#define compat_no_transaction_timeout() ((void) 0)
#endif

/* 17: a process is identified by its proc number */
#if PG_VERSION_NUM >= 170000
#define CompatMyProcNumber MyProcNumber
#else
#define CompatMyProcNumber (MyProc->pgprocno)
#endif

/* 17: a virtual transaction id is one field */
#if PG_VERSION_NUM >= 170000
#define compat_lxid() (MyProc->vxid.lxid)
#else
#define compat_lxid() (MyProc->lxid)
#endif

/* 17: one variable holds the kind of the process */
#if PG_VERSION_NUM >= 170000
#define compat_is_background_worker() AmBackgroundWorkerProcess()
#else
#define compat_is_background_worker() IsBackgroundWorker
#endif

/* 16: one look-up function for all settings */
static inline GucSource
compat_setting_source(const char *name)
{
#if PG_VERSION_NUM >= 160000
	return find_option(name, false, false, ERROR)->source;
#else
	struct config_generic **settings = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++)
		if (strcmp(settings[i]->name, name) == 0)
			return settings[i]->source;
	elog(ERROR, "there is no setting \"%s\"", name);
#endif
}

#endif
