-- Client functions: what an HTTP API answers.

CREATE FUNCTION durable.create_http_management_payload(instance_id text) RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_create_http_management_payload';
COMMENT ON FUNCTION durable.create_http_management_payload(text) IS
'The URLs at which the HTTP gateway manages an instance: {"id", "statusQueryGetUri", "sendEventPostUri", "terminatePostUri", "rewindPostUri", "purgeHistoryDeleteUri", "restartPostUri", "suspendPostUri", "resumePostUri"}. They begin with the setting durable.http_base_url and hold the id percent-encoded as UTF-8; clients put values for {eventName} and {text}. There is no key in them.
Errors: OD001 if there is no such instance or you may not see it; 22004 if instance_id is NULL; OD009 in an orchestrator.';

CREATE FUNCTION durable.create_check_status_response(instance_id text) RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_create_check_status_response';
COMMENT ON FUNCTION durable.create_check_status_response(text) IS
'What an HTTP API answers when it has started an instance: {"statusCode": 202, "headers": {"Content-Type", "Location", "Retry-After"}, "body": ...}, where body is durable.create_http_management_payload, Location its statusQueryGetUri and Retry-After 10 seconds.
Errors: those of durable.create_http_management_payload.';

CREATE FUNCTION durable.wait_for_completion_or_create_check_status_response(
    instance_id text,
    timeout interval DEFAULT '10 s',
    retry_interval interval DEFAULT '1 s'
) RETURNS jsonb
LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    status durable.orchestration_status;
    body jsonb;
BEGIN
    IF timeout IS NULL OR retry_interval IS NULL THEN
        RAISE EXCEPTION 'parameter "%" of durable.wait_for_completion_or_create_check_status_response must not be null',
            CASE WHEN timeout IS NULL THEN 'timeout' ELSE 'retry_interval' END
            USING ERRCODE = 'null_value_not_allowed';
    END IF;
    IF retry_interval < '0' THEN
        RAISE EXCEPTION 'retry_interval must not be negative' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF timeout <= retry_interval THEN
        RAISE EXCEPTION 'timeout must be longer than retry_interval' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    status := durable.wait_for_completion(instance_id, timeout);
    IF status.runtime_status IN ('Completed', 'Failed', 'Terminated') THEN
        body := coalesce(status.output, 'null');
        IF status.runtime_status <> 'Completed' THEN
            body := jsonb_build_object(
                'name', status.name,
                'instanceId', status.instance_id,
                'runtimeStatus', status.runtime_status,
                'input', status.input,
                'customStatus', status.custom_status,
                'output', status.output,
                'createdTime', to_char(status.created_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                'lastUpdatedTime', to_char(status.last_updated_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
        END IF;
        RETURN jsonb_build_object(
            'statusCode', 200,
            'headers', jsonb_build_object('Content-Type', 'application/json'),
            'body', body);
    END IF;
    RETURN jsonb_set(
        durable.create_check_status_response(instance_id),
        '{headers,Retry-After}',
        to_jsonb(ceil(extract(epoch FROM retry_interval))::bigint::text));
END
$$;
COMMENT ON FUNCTION durable.wait_for_completion_or_create_check_status_response(text, interval, interval) IS
'What an HTTP API answers to a request that may wait: the result of an instance that ends within timeout, else where to ask for it. {"statusCode", "headers", "body"}: 200 and as body the bare output of a completed instance, or of a failed or terminated one {"name", "instanceId", "runtimeStatus", "input", "customStatus", "output", "createdTime", "lastUpdatedTime"}; else 202 as durable.create_check_status_response returns it, with Retry-After: retry_interval, in whole seconds. Waits as durable.wait_for_completion does; nothing is polled.
Errors: those of durable.wait_for_completion and durable.create_check_status_response; 22023 unless timeout is longer than retry_interval and that is not negative; 22004 if an argument is NULL.';
