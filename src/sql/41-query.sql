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
'Returns a page of the instances that you may see and that pass every filter, as rows of durable.orchestration_status. The owner, members of the owning role and members of pg_monitor may see an instance. The order is that of created_time and instance_id; with instance_id_prefix the order is that of instance_id, by bytes. A filter that is NULL lets all pass.
runtime_status: one of these statuses. An empty array finds nothing.
created_time_from, created_time_to: both ends are inclusive.
name: exactly as given to durable.start_new.
instance_id_prefix: how the id begins. An empty text: any.
tags: an object that the tags contain, as @> compares.
parent_instance_id: sub-orchestrations of this instance.
instance_ids: one of these ids.
show_input: true: with inputs.
page_size: 1 to 100000 instances.
continuation_token: the token in the last row of the page before; NULL: the first page. Repeat the other arguments. In the last row of a page the column continuation_token is NULL when there are no more instances; in all other rows it is always NULL. A token of a page with instance_id_prefix needs a prefix, a token of another page must come without one.
Instances that exist when the first page is read, and that pass the filters until the last page, come exactly once. An instance that is started meanwhile comes if its created_time is later than the pages read so far; that is not so when its transaction takes long to commit. With instance_id_prefix such an instance comes if its id is after the pages read so far. An instance that is replaced gets a new created_time and may come again, but not with instance_id_prefix. An instance that is purged or changes its status may be missing.
Indexes serve pages by status, time, name, ids, id prefix and parent. Tags are compared row by row, in the order of creation, with what the other filters leave, until the page is full: give another filter, such as a range of time, beside tags that few instances have. With instance_id_prefix all other filters are compared row by row in the order of instance_id. Instances of other roles are passed over in the same way, a million in about a second.
A page ends early, with a token, before the text of its inputs, outputs, custom statuses, tags and failures passes 16 MB (a quarter of durable.max_payload, if that is more). A page has one instance at least. Large payloads are in every row: ask for small pages then. The function reads with the snapshot of your statement, like any query.
Errors:
OD009: the caller is an orchestrator.
22004: show_input or page_size is NULL, or runtime_status contains NULL.
22023: page_size or continuation_token is not valid, the token is of pages in the other order, or tags is no object.
Durable Functions: ListInstancesAsync, which has no filters by name, tags and parent.';

CREATE TYPE durable.status_count AS (runtime_status durable.runtime_status, count bigint);
COMMENT ON TYPE durable.status_count IS
'How many instances have a status; what durable.count_instances returns.';
COMMENT ON COLUMN durable.status_count.runtime_status IS 'The status.';
COMMENT ON COLUMN durable.status_count.count IS 'How many instances have the status.';

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
'Returns how many instances of each status you may see, as rows of durable.status_count. Statuses without instances are left out. The time grows with the number that is counted; with instance_id_prefix the time grows with the number of ids that have the prefix, whoever owns them.
runtime_status, created_time_from, created_time_to, name, instance_id_prefix, tags, parent_instance_id, instance_ids: filters, as for durable.query_instances.
Errors:
OD009: the caller is an orchestrator.
22004: runtime_status contains NULL.
22023: tags is no object.
Durable Functions has no such function.';
