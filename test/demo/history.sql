-- What happened to an instance, in milliseconds since its first event.
SELECT 'History of ' || instance_id || ': ' || lower(runtime_status::text) || ' '
       || round(1000 * extract(epoch FROM completed_time - created_time), 1) || ' ms after it was started' AS title
  FROM durable.get_status(:'id') \gset
\echo :title
SELECT sequence_number AS "#",
       round(1000 * extract(epoch FROM event_time - min(event_time) OVER ()), 1) AS ms,
       event_type,
       task_id AS task,
       name,
       CASE event_type WHEN 'TimerCreated' THEN to_jsonb(to_char((input #>> '{}')::timestamptz, 'Mon DD HH24:MI:SS'))
                       ELSE input END AS input,
       coalesce(result, failure->'message') AS "result or failure"
  FROM durable.history
 WHERE instance_id = :'id'
 ORDER BY sequence_number;
