# One role floods the engine in every way there is: many instances that never end, wide fan-outs, activities that take long.
# Another role's instances still start at once and end in time; and the flood goes on.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';
use DurableTest;

my $node = durable_node('fair', conf => 'durable.max_workers = 4');
$node->safe_psql(
	'postgres', q(
	CREATE ROLE flood LOGIN;
	CREATE ROLE guest LOGIN;
	SELECT durable.grant_usage('flood'), durable.grant_usage('guest');
	CREATE FUNCTION step(n int) RETURNS int LANGUAGE sql AS 'SELECT n + 1';
	CREATE FUNCTION nap() RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(600)';
	CREATE FUNCTION hello() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		RETURN durable.call_activity('step', durable.call_activity('step', durable.call_activity('step', '0')));
	END
	$$;
	CREATE FUNCTION chain(n int) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 100 LOOP
			n := durable.call_activity('step', to_jsonb(n));
		END LOOP;
		RETURN durable.continue_as_new(to_jsonb(n));
	END
	$$;
	CREATE FUNCTION eternal(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.continue_as_new(to_jsonb(n + 1)); RETURN n; END $$;
	-- with a timeout they go through the queue
	CREATE FUNCTION fan(n int, timeout interval DEFAULT NULL) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM durable.when_all(VARIADIC ARRAY(
			SELECT durable.schedule_activity('step', to_jsonb(i), timeout => timeout) FROM generate_series(1, n) i));
		RETURN durable.continue_as_new(jsonb_build_array(n, timeout));
	END
	$$;
	CREATE FUNCTION long() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('nap'); END $$;
	));

# How long 20 of the guest's instances take, one after the other, each waited for; seconds, sorted.
sub guest
{
	my @times;

	foreach my $i (1 .. 20)
	{
		my $start = time();
		my $output = $node->safe_psql('postgres',
			q(SELECT durable.start_new('hello') AS id \gset
			  SELECT output FROM durable.wait_for_completion(:'id', '2 min')), extra_params => [ '-U', 'guest' ]);
		push @times, time() - $start;
		is($output, '3', 'an instance of the guest ends') if $output ne '3';
	}
	return sort { $a <=> $b } @times;
}

my @idle = guest();
note(sprintf('idle: median %.0f ms, longest %.0f ms, with the start of psql', 1000 * $idle[10], 1000 * $idle[-1]));

my %floods = (
	'instances without end' => q(SELECT durable.start_new('chain', '0') FROM generate_series(1, 300)),
	'endless loops' => q(SELECT durable.start_new('eternal', '0') FROM generate_series(1, 300)),
	'fan-outs' => q(SELECT durable.start_new('fan', '[2000, "1 hour"]') FROM generate_series(1, 60)),
	'fan-outs that go through no queue' => q(SELECT durable.start_new('fan', '[100]') FROM generate_series(1, 300)),
	'long activities' => q(SELECT durable.start_new('long') FROM generate_series(1, 20)));
foreach my $flood (sort keys %floods)
{
	$node->safe_psql('postgres', "SELECT count(*) FROM ($floods{$flood}) f", extra_params => [ '-U', 'flood' ]);
	poll_until($node, q(SELECT count(*) >= 2 FROM durable.workers WHERE role = 'flood'::regrole AND state = 'busy'),
		"$flood: the flood has come");
	my @times = guest();
	cmp_ok($times[-1], '<', 10 * $PostgreSQL::Test::Utils::timeout_default / 180, "$flood: no instance of the guest waits for long");
	note(sprintf('%s: median %.0f ms, longest %.0f ms', $flood, 1000 * $times[10], 1000 * $times[-1]));
	# the guest's worker goes idle, and the flood goes on
	my $turns = $node->safe_psql('postgres', q(SELECT turns + activities FROM durable.stats WHERE role = 'flood'::regrole));
	poll_until($node, "SELECT turns + activities > $turns FROM durable.stats WHERE role = 'flood'::regrole", "$flood: the flood goes on")
	  unless $flood eq 'long activities';
	# some end by themselves meanwhile
	$node->safe_psql('postgres', q(
		DO $$
		DECLARE
			id text;
		BEGIN
			FOR id IN SELECT instance_id FROM durable.instances WHERE owner = 'flood'::regrole AND completed_time IS NULL LOOP
				BEGIN
					PERFORM durable.terminate(id, cancel_activities => true);
				EXCEPTION WHEN SQLSTATE 'OD002' THEN NULL;
				END;
			END LOOP;
		END $$));
	poll_until($node, q(SELECT count(*) = 0 FROM durable.instances WHERE completed_time IS NULL), "$flood: it can be stopped");
}
is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations'), '', 'no violations');
$node->stop;
done_testing();
