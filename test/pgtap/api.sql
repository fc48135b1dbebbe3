-- Names, parameters and results of the public functions, which clients call by name.
BEGIN;
SET LOCAL search_path = pg_catalog, public;

CREATE TEMP TABLE api (name text, arguments text, result text);
INSERT INTO api VALUES
    ('start_new', 'name text, input jsonb, instance_id text, start_at timestamp with time zone, version text, tags jsonb, '
                  'dedupe_statuses durable.runtime_status[], on_duplicate text', 'text'),
    ('get_status', 'instance_id text, show_history boolean, show_history_output boolean, show_input boolean',
                   'durable.orchestration_status'),
    ('wait_for_completion', 'instance_id text, timeout interval', 'durable.orchestration_status'),
    ('raise_event', 'instance_id text, event_name text, event_data jsonb', 'void'),
    ('terminate', 'instance_id text, reason text, recursive boolean, cancel_activities boolean', 'void'),
    ('call_activity', 'name text, input jsonb, retry durable.retry_policy, timeout interval', 'jsonb'),
    ('wait_for_external_event', 'name text, timeout interval, default_value jsonb', 'jsonb'),
    ('instance_id', '', 'text'),
    ('is_replaying', '', 'boolean'),
    ('now', '', 'timestamp with time zone');

SELECT plan(count(*)::int) FROM api;

-- Where the arguments differ, the ones there are are shown.
SELECT is((SELECT string_agg(pg_get_function_identity_arguments(p.oid) || ' -> ' || pg_get_function_result(p.oid), E'\n')
             FROM pg_proc p WHERE p.pronamespace = 'durable'::regnamespace AND p.proname = a.name),
          a.arguments || ' -> ' || a.result, a.name)
  FROM api a;

SELECT * FROM finish();
ROLLBACK;
