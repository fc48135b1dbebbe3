-- Public types.

CREATE TYPE durable.runtime_status AS ENUM (
    'Pending', 'Running', 'Suspended', 'ContinuedAsNew', 'Completed', 'Failed', 'Terminated'
);
COMMENT ON TYPE durable.runtime_status IS
'The status of an instance.
Pending: the orchestrator has not run yet, as the instance has just been started, or start_at is in the future.
Running: the orchestrator runs, or waits for an activity, a timer, an event or another instance.
Suspended: durable.suspend has stopped the instance.
Completed, Failed, Terminated: the instance has ended.
ContinuedAsNew: never shown; it exists for compatibility with Durable Functions. An instance that continues as new is Running.';

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
'All that a client may know of an instance; what durable.get_status, durable.wait_for_completion and durable.query_instances return. The view durable.instances has the same columns up to owner.';
COMMENT ON COLUMN durable.orchestration_status.instance_id IS 'The id of the instance.';
COMMENT ON COLUMN durable.orchestration_status.name IS 'The orchestrator, as given to durable.start_new.';
COMMENT ON COLUMN durable.orchestration_status.function IS
'The function that the name was resolved to, with schema and argument types.';
COMMENT ON COLUMN durable.orchestration_status.version IS
'The version given to durable.start_new or durable.continue_as_new. NULL: none.';
COMMENT ON COLUMN durable.orchestration_status.runtime_status IS 'The status.';
COMMENT ON COLUMN durable.orchestration_status.input IS 'The input of the current execution.';
COMMENT ON COLUMN durable.orchestration_status.output IS
'Of a completed instance its result, of a failed one the message of the failure, of a terminated one the reason. NULL while the instance is live.';
COMMENT ON COLUMN durable.orchestration_status.custom_status IS 'What durable.set_custom_status has set.';
COMMENT ON COLUMN durable.orchestration_status.created_time IS 'When the instance was started.';
COMMENT ON COLUMN durable.orchestration_status.last_updated_time IS 'When the engine last changed the instance.';
COMMENT ON COLUMN durable.orchestration_status.completed_time IS 'When the instance ended. NULL: it is live.';
COMMENT ON COLUMN durable.orchestration_status.scheduled_start_time IS 'The start_at of durable.start_new. NULL: none.';
COMMENT ON COLUMN durable.orchestration_status.execution_id IS
'The id of the current execution. durable.continue_as_new changes the id.';
COMMENT ON COLUMN durable.orchestration_status.parent_instance_id IS
'The instance that started this one as a sub-orchestration. NULL: none.';
COMMENT ON COLUMN durable.orchestration_status.tags IS 'The tags, a JSON object. Empty: none.';
COMMENT ON COLUMN durable.orchestration_status.failure IS
'Of a failed instance an object with sqlstate, message, and as far as they apply detail, hint and context; activity, task_id and attempts of an activity that failed; instance_id of a sub-orchestration that failed; sub_orchestration, the name of a sub-orchestration that could not be started. NULL for other instances.';
COMMENT ON COLUMN durable.orchestration_status.owner IS
'The role that owns the instance. NULL if the role does not exist here, see the view durable.instances.';
COMMENT ON COLUMN durable.orchestration_status.history IS
'The history, an array of objects, where durable.get_status is asked for it. Otherwise NULL.';
COMMENT ON COLUMN durable.orchestration_status.continuation_token IS
'The token of the next page, in the last row of a page of durable.query_instances. Otherwise NULL.';

CREATE TYPE durable.retry_policy AS (
    max_attempts integer,
    first_interval interval,
    backoff_coefficient double precision,
    max_interval interval,
    retry_timeout interval,
    non_retryable text[]
);
COMMENT ON TYPE durable.retry_policy IS
'How often and when a failed activity or sub-orchestration is tried again. Build it with the function durable.retry_policy, which checks the values and has the defaults.';
COMMENT ON COLUMN durable.retry_policy.max_attempts IS 'How often it is tried altogether, 1 or more. NULL: once.';
COMMENT ON COLUMN durable.retry_policy.first_interval IS 'The pause before the second attempt.';
COMMENT ON COLUMN durable.retry_policy.backoff_coefficient IS
'The factor by which each pause is longer than the last, 1 to 1000000. NULL: 1.';
COMMENT ON COLUMN durable.retry_policy.max_interval IS 'The longest pause. NULL: no limit.';
COMMENT ON COLUMN durable.retry_policy.retry_timeout IS
'No further attempt begins when this time has passed since the first attempt. NULL: no limit.';
COMMENT ON COLUMN durable.retry_policy.non_retryable IS 'SQLSTATEs that are final at once.';

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
'Returns a retry policy for activities, SQL statements and sub-orchestrations. Without a policy there is one attempt. An activity is tried again after any failure, also when there is no such function. A sub-orchestration is tried again when it has failed, but not when it cannot be started.
max_attempts: how often it is tried altogether, 1 or more.
first_interval: the pause before the second attempt, 0 or more.
backoff_coefficient: the factor by which each pause is longer than the last, 1 to 1000000.
max_interval: the longest pause, more than 0. NULL: no limit.
retry_timeout: no further attempt begins when this time has passed since the first attempt, more than 0. NULL: no limit.
non_retryable: SQLSTATEs that are final at once. NULL is an empty array.
Errors:
22023: a value is out of range.
Durable Functions: RetryPolicy, which requires max_attempts and first_interval. Its handler function decides what non_retryable decides here. The other defaults are the same.';
