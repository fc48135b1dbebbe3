# A failed child that is rewound by itself ends a second time: its parent, which has seen the first end, knows only that one,
# also where whoever takes the second in has not read its history.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use DurableTest;

# nothing stays in memory between two rounds
my $node = durable_node('second_end', conf => "durable.history_cache = 0\ndurable.max_workers = 12");

$node->safe_psql('postgres', q[
CREATE TABLE mended (yes boolean);
CREATE FUNCTION may_fail() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM mended) THEN
		RAISE 'broken';
	END IF;
END $$;
CREATE FUNCTION blocks() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); END $$;
CREATE FUNCTION child() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('may_fail'); RETURN 'mended'; END $$;
-- the child fails before or while it waits for the activities
CREATE FUNCTION parent(waits_first boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	child durable.task;
	tasks durable.task[];
BEGIN
	IF waits_first THEN
		child := durable.schedule_sub_orchestrator('child');
		tasks := child || ARRAY(SELECT durable.schedule_activity('blocks') FROM generate_series(1, 2));
		PERFORM durable.when_all(tasks);
		RETURN 'not reached';
	END IF;
	BEGIN
		RETURN durable.call_sub_orchestrator('child');
	EXCEPTION WHEN OTHERS THEN
		PERFORM durable.call_sql('SELECT 1');
		tasks := ARRAY(SELECT durable.schedule_activity('blocks') FROM generate_series(1, 2));
		PERFORM durable.when_all(tasks);
		RETURN 'failed, and handled';
	END;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLERRM;
END $$;
]);
my $client = $node->background_psql('postgres');
$client->query_safe('SELECT pg_advisory_lock(1)');
$node->safe_psql('postgres', q[SELECT durable.start_new('parent', to_jsonb(id = 'first'), id) FROM unnest('{first,then}'::text[]) id]);
poll_until($node, q[SELECT count(*) FILTER (WHERE event_type = 'SubOrchestrationInstanceFailed') = 2 AND count(*) FILTER (WHERE name = 'blocks') = 4
	FROM durable.history WHERE instance_id IN ('first', 'then')], 'the children have failed');
$node->safe_psql('postgres', q[
INSERT INTO mended VALUES (true);
SELECT durable.rewind(instance_id) FROM durable.instances WHERE name = 'child';
]);
poll_until($node, q[SELECT count(*) = 2 FROM durable.instances WHERE name = 'child' AND runtime_status = 'Completed'], 'they complete');
poll_until($node, q[SELECT NOT EXISTS (SELECT FROM durable_internal.messages)], 'the parents have been told');
$client->query_safe('SELECT pg_advisory_unlock(1)');
is($node->safe_psql('postgres', q[SELECT id, w.runtime_status, w.output #>> '{}' FROM unnest('{first,then}'::text[]) id, durable.wait_for_completion(id, '1 min') w ORDER BY id]),
	"first|Completed|broken\nthen|Completed|failed, and handled", 'the first end counts');
is($node->safe_psql('postgres', q[SELECT count(*) FROM durable.history WHERE event_type = 'SubOrchestrationInstanceCompleted']), 0, 'the history has only that one');
is($node->safe_psql('postgres', q[SELECT state FROM durable.tasks('then') WHERE kind = 'sub-orchestration']), 'failed', 'and so has durable.tasks');
is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations'), '', 'no invariant is broken');
$client->quit;
$node->stop;
done_testing();
