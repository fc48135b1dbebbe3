\set instance order- :order
\set ECHO queries
SELECT runtime_status, output FROM durable.wait_for_completion(:'instance');
