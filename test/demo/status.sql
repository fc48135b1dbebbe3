\set ECHO queries
SELECT runtime_status, custom_status FROM durable.get_status(:'id');
