/*
 * compat.h
 *	  All that differs between PostgreSQL 15 and 19.
 */
#ifndef DURABLE_COMPAT_H
#define DURABLE_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/guc.h"

#if PG_VERSION_NUM < 150000
#error "durable needs PostgreSQL 15 or later"
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

/* 16: an update tells which indexes need entries */
#if PG_VERSION_NUM >= 160000
#define CompatUpdateIndexes TU_UpdateIndexes
#define compat_update_none(u) ((u) == TU_None)
#define compat_insert_index_tuples(rri, slot, estate, is_update, which) \
	ExecInsertIndexTuples((rri), (slot), (estate), (is_update), false, NULL, NIL, \
						  (is_update) && (which) == TU_Summarizing)
#else
#define CompatUpdateIndexes bool
#define compat_update_none(u) (!(u))
#define compat_insert_index_tuples(rri, slot, estate, is_update, which) \
	ExecInsertIndexTuples((rri), (slot), (estate), (is_update), false, NULL, NIL)
#endif

/* 18: index scans carry instrumentation */
#if PG_VERSION_NUM >= 180000
#define compat_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), NULL, (nkeys), 0)
#else
#define compat_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan((heap), (index), (snapshot), (nkeys), 0)
#endif

/* 19: a row type that was made column by column is to be finished */
#if PG_VERSION_NUM >= 190000
#define compat_tuple_desc_finish(desc) TupleDescFinalize(desc)
#else
#define compat_tuple_desc_finish(desc) ((void) (desc))
#endif

/* 17: processes are known by their proc number */
#if PG_VERSION_NUM >= 170000
#define CompatMyProcNumber MyProcNumber
#else
#define CompatMyProcNumber (MyProc->pgprocno)
#endif

/* 17: what kind of process this is has one variable */
#if PG_VERSION_NUM >= 170000
#define compat_is_background_worker() AmBackgroundWorkerProcess()
#else
#define compat_is_background_worker() IsBackgroundWorker
#endif

#endif
