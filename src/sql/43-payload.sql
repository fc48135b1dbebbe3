-- Client functions: what an HTTP API answers.

CREATE FUNCTION durable.create_http_management_payload(instance_id text) RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_create_http_management_payload';
COMMENT ON FUNCTION durable.create_http_management_payload(text) IS
'Returns the URLs at which the HTTP gateway manages an instance: `{"id", "statusQueryGetUri", "sendEventPostUri", "terminatePostUri", "rewindPostUri", "purgeHistoryDeleteUri", "restartPostUri", "suspendPostUri", "resumePostUri"}`. The URLs begin with the setting durable.http_base_url and hold the id percent-encoded as UTF-8. Clients put values for {eventName} and {text}. There is no key in the URLs.
instance_id: which instance.
Errors:
OD001: there is no such instance, or you may not see the instance.
OD009: the caller is an orchestrator.
22004: instance_id is NULL.
Durable Functions: CreateHttpManagementPayload.';

CREATE FUNCTION durable.create_check_status_response(instance_id text) RETURNS jsonb
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'durable_create_check_status_response';
COMMENT ON FUNCTION durable.create_check_status_response(text) IS
'Returns what an HTTP API answers when it has started an instance: `{"statusCode": 202, "headers": {"Content-Type", "Location", "Retry-After"}, "body"}`. The body is that of durable.create_http_management_payload, Location is its statusQueryGetUri, and Retry-After is 10 seconds.
instance_id: which instance.
Errors:
OD001, OD009, 22004: as for durable.create_http_management_payload.
Durable Functions: CreateCheckStatusResponse.';

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
'Returns what an HTTP API answers to a request that may wait: the result of an instance that ends within the timeout, else where to ask for it. The answer is `{"statusCode", "headers", "body"}`.
The status code is 200 for an instance that ended in time. The body is the bare output of a completed instance. For a failed or terminated instance the body is `{"name", "instanceId", "runtimeStatus", "input", "customStatus", "output", "createdTime", "lastUpdatedTime"}`. Otherwise the answer is the 202 of durable.create_check_status_response.
instance_id: which instance.
timeout: how long to wait, as durable.wait_for_completion waits. Nothing is polled.
retry_interval: the header Retry-After of the 202, in whole seconds.
Errors:
22004: an argument is NULL.
22023: timeout is not longer than retry_interval, or retry_interval is negative.
OD001, OD009, 25006, 55000: as for durable.wait_for_completion.
Durable Functions: WaitForCompletionOrCreateCheckStatusResponseAsync.';
