-- Client functions: finding instances.

CREATE FUNCTION durable.query_instances(
    runtime_status durable.runtime_status[] DEFAULT NULL,
    created_time_from timestamptz DEFAULT NULL,
    created_time_to timestamptz DEFAULT NULL,
    name text DEFAULT NULL,
    instance_id_prefix text DEFAULT NULL,
    tags jsonb DEFAULT NULL,
    parent_instance_id text DEFAULT NULL,
    instance_ids text[] DEFAULT NULL,
    show_input boolean DEFAULT true,
    page_size integer DEFAULT 100,
    continuation_token text DEFAULT NULL
) RETURNS SETOF durable.orchestration_status
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 100
AS 'MODULE_PATHNAME', 'durable_query_instances';
COMMENT ON FUNCTION durable.query_instances(durable.runtime_status[], timestamptz, timestamptz, text, text, jsonb, text, text[], boolean, integer, text) IS
'A page of the instances that you may see (owners, members of the owning role and pg_monitor do) and that pass every filter, in the order of created_time and instance_id; with instance_id_prefix in the order of instance_id, by bytes. NULL means any.
runtime_status: one of these; an empty array finds nothing. created_time_from, created_time_to: both inclusive. name: exactly as given to durable.start_new. instance_id_prefix: how the id begins; empty: any. tags: contained in the tags, as by @>. parent_instance_id: its sub-orchestrations. instance_ids: one of these. show_input: with inputs. page_size: 1 to 100000. continuation_token: of the last row of the page before; the other arguments should be the same, and a token of a page with instance_id_prefix is refused without one, and the other way round. In the last row it is NULL when there are no more instances, in all other rows always.
Instances that existed when the first page was read and that pass the filters until the last page come exactly once. One that is started meanwhile comes if its created_time is later than the pages read so far, which is not so when its transaction takes long to commit; with instance_id_prefix it comes if its id is after those of the pages read so far. One that is replaced gets a new created_time and may come again, but not with instance_id_prefix; what is purged or changes its status may be missing.
A page by status, time, name, ids, id prefix or parent is read from indexes; tags are compared row by row, in the order of creation, with what the other filters leave, until the page is full: tags that few instances have need another filter beside them, such as a range of time. With instance_id_prefix all other filters are compared row by row in the order of instance_id, and instances of other roles are passed over in the same way, about a second for a million. A page ends with the instance before the one with which the text of inputs, outputs, custom statuses, tags and failures would pass 16 MB (a quarter of durable.max_payload, if that is more), but has one at least. Reads with the snapshot of your statement, like any query.
Large inputs, outputs and custom statuses are in every row, up to durable.max_payload each: ask for small pages then.
Errors: 22023 for a bad token or page_size, a token of pages in the other order, and tags that are no object; 22004 if show_input or page_size is NULL or runtime_status contains NULL; OD009 in an orchestrator.';

CREATE TYPE durable.status_count AS (runtime_status durable.runtime_status, count bigint);
COMMENT ON TYPE durable.status_count IS
'How many instances have a status; what durable.count_instances returns.';

CREATE FUNCTION durable.count_instances(
    runtime_status durable.runtime_status[] DEFAULT NULL,
    created_time_from timestamptz DEFAULT NULL,
    created_time_to timestamptz DEFAULT NULL,
    name text DEFAULT NULL,
    instance_id_prefix text DEFAULT NULL,
    tags jsonb DEFAULT NULL,
    parent_instance_id text DEFAULT NULL,
    instance_ids text[] DEFAULT NULL
) RETURNS SETOF durable.status_count
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 6
AS 'MODULE_PATHNAME', 'durable_count_instances';
COMMENT ON FUNCTION durable.count_instances(durable.runtime_status[], timestamptz, timestamptz, text, text, jsonb, text, text[]) IS
'How many instances of each status you may see, by the filters of durable.query_instances; statuses without any are left out. Its time grows with the number counted, and by instance_id_prefix with the number of ids that have it, whoever owns them.
Errors: 22023 for tags that are no object; 22004 if runtime_status contains NULL; OD009 in an orchestrator.';
