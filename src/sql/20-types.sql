-- Public types.

CREATE TYPE durable.runtime_status AS ENUM (
    'Pending', 'Running', 'Suspended', 'ContinuedAsNew', 'Completed', 'Failed', 'Terminated'
);
COMMENT ON TYPE durable.runtime_status IS
'Status of an instance. Pending: its orchestrator has not run yet, as it has just been started or has a start_at in the future; Running: it runs, or waits for an activity, a timer or an event; Suspended; Completed, Failed, Terminated: it has ended. ContinuedAsNew exists for compatibility with Durable Functions; an instance that continues as new is Running.';

CREATE TYPE durable.orchestration_status AS (
    instance_id text,
    name text,
    function text,
    version text,
    runtime_status durable.runtime_status,
    input jsonb,
    output jsonb,
    custom_status jsonb,
    created_time timestamptz,
    last_updated_time timestamptz,
    completed_time timestamptz,
    scheduled_start_time timestamptz,
    execution_id uuid,
    parent_instance_id text,
    tags jsonb,
    failure jsonb,
    owner regrole,
    history jsonb,
    continuation_token text
);
COMMENT ON TYPE durable.orchestration_status IS
'All that a client may know of an instance. name: as given to start_new; function: what it was resolved to, with schema and argument types. owner: NULL if the role does not exist here, see durable.instances. output: result of a completed instance, failure message of a failed one, reason of a terminated one. failure: of a failed instance, {"sqlstate", "message", "detail", "hint", "context", "activity", "task_id", "attempts", "instance_id", "sub_orchestration"}, without the keys that do not apply: activity, task_id and attempts are those of an activity that failed, instance_id is that of a sub-orchestration that failed, sub_orchestration the name of one that could not be started. history and continuation_token are filled in only by functions that say so.';

CREATE TYPE durable.retry_policy AS (
    max_attempts integer,
    first_interval interval,
    backoff_coefficient double precision,
    max_interval interval,
    retry_timeout interval,
    non_retryable text[]
);
COMMENT ON TYPE durable.retry_policy IS
'How often and when a failed activity or sub-orchestration is tried again; built by the function durable.retry_policy.';

CREATE FUNCTION durable.retry_policy(
    max_attempts integer DEFAULT 3,
    first_interval interval DEFAULT '1 s',
    backoff_coefficient double precision DEFAULT 1,
    max_interval interval DEFAULT NULL,
    retry_timeout interval DEFAULT NULL,
    non_retryable text[] DEFAULT '{}'
) RETURNS durable.retry_policy
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    problem text := CASE
        WHEN max_attempts IS NULL OR max_attempts < 1
            THEN 'max_attempts must be at least 1'
        WHEN first_interval IS NULL OR first_interval < '0'
            THEN 'first_interval must not be negative or null'
        WHEN backoff_coefficient IS NULL OR NOT backoff_coefficient BETWEEN 1 AND 1e6
            THEN 'backoff_coefficient must be between 1 and 1000000'
        WHEN max_interval <= '0'
            THEN 'max_interval must be positive'
        WHEN retry_timeout <= '0'
            THEN 'retry_timeout must be positive'
        WHEN EXISTS (SELECT FROM unnest(non_retryable) code WHERE (code ~ '^[0-9A-Z]{5}$') IS NOT TRUE)
            THEN 'non_retryable must hold SQLSTATEs of five digits or upper-case letters'
    END;
BEGIN
    IF problem IS NOT NULL THEN
        RAISE EXCEPTION 'invalid retry policy: %', problem USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN ROW(max_attempts, first_interval, backoff_coefficient, max_interval, retry_timeout,
               coalesce(non_retryable, '{}'));
END
$$;
COMMENT ON FUNCTION durable.retry_policy(integer, interval, double precision, interval, interval, text[]) IS
'A retry policy for call_activity and its kin. max_attempts: how often it is tried altogether, 1 or more; first_interval: pause before the second attempt; backoff_coefficient: by how much each pause is longer than the last, 1 to 1000000; max_interval: longest pause, NULL: no limit; retry_timeout: no further attempt once this time has passed since the first, NULL: no limit; non_retryable: SQLSTATEs that are final at once. Without a policy there is one attempt. A sub-orchestration is tried again when it has failed, but not when it cannot be started, as there is no such function or the id is in use; an activity also when there is no such function. Raises 22023 for a value out of range. The defaults of Durable Functions are the same but for max_attempts and first_interval, which it requires, and its handler function, for which non_retryable stands.';
