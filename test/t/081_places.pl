# Places: how many run at once, and whose turn it is.  Roles with more work than there are places, roles and tenants whose
# activities take long, a server with too few processes: a hello of any role completes at once beside all of these.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'time';
use DurableTest;

# The long form of the scenes, for a machine that does nothing else.
my $long_form = $ENV{DURABLE_SCENES};
my $roles = $long_form ? 202 : 40;
my $node;
my $sleeping = q(FROM pg_stat_activity WHERE backend_type = 'durable worker' AND wait_event = 'PgSleep');

# Roles role_1, role_2 and so on, and what they call.
sub prepare
{
	my ($count) = @_;

	$node->safe_psql('postgres', q[
		CREATE TABLE effects (instance text, task int);
		CREATE TABLE at_once (kind text, count int);
		GRANT ALL ON effects, at_once TO PUBLIC;
		CREATE FUNCTION say(name text) RETURNS text LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO effects VALUES (durable.instance_id(), durable.task_id());
			RETURN 'Hello ' || name;
		END $$;
		CREATE FUNCTION hello() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN durable.call_activity('say', '"x"'); END $$;
		CREATE FUNCTION nap(seconds float) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(seconds); END $$;
		CREATE FUNCTION sleeper(seconds float) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM durable.call_activity('nap', to_jsonb(seconds)); END $$;
		-- never ends, and always has something to do
		CREATE FUNCTION flood(n int) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			FOR i IN 1 .. 100 LOOP
				PERFORM durable.call_activity('say', '"flood"');
			END LOOP;
			PERFORM durable.continue_as_new(to_jsonb(n + 1));
		END $$;
		-- how many calls of this kind run in this moment, each of which holds a lock of its own; waits before it takes the lock, and after
		CREATE FUNCTION counted(kind int, before float, after float) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM pg_sleep(before);
			PERFORM pg_advisory_xact_lock(kind, pg_backend_pid());
			INSERT INTO at_once SELECT kind, count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = kind;
			PERFORM pg_sleep(after);
		END $$;
		CREATE FUNCTION count_at_once(kind int, before float, after float) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			PERFORM durable.call_activity('counted', jsonb_build_array(kind, before, after));
		END $$;
	]);
	$node->safe_psql('postgres', qq[
		DO \$\$
		BEGIN
			FOR i IN 1 .. $count LOOP
				EXECUTE format('CREATE ROLE role_%s LOGIN', i);
				PERFORM durable.grant_usage(format('role_%s', i)::regrole);
			END LOOP;
		END \$\$]);
	return;
}

# Runs as a role.
sub as
{
	my ($role, $sql) = @_;

	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]);
}

# Runs for each role of a range, in one transaction.
sub as_each
{
	my ($first, $last, $sql) = @_;

	return $node->safe_psql('postgres', join("\n", 'BEGIN;', (map { "SET ROLE role_$_; $sql;" } $first .. $last), 'COMMIT'));
}

# How many seconds the engine takes for so many turns, whoever's; at most 20.
sub seconds_for_turns
{
	my ($turns) = @_;

	return $node->safe_psql('postgres', qq(
		CREATE OR REPLACE FUNCTION seconds_for_turns() RETURNS float LANGUAGE plpgsql AS \$\$
		DECLARE
			wanted bigint := (SELECT sum(turns) + $turns FROM durable.stats);
			begun timestamptz := clock_timestamp();
		BEGIN
			WHILE (SELECT sum(turns) < wanted FROM durable.stats) AND clock_timestamp() < begun + '20 s' LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
			RETURN extract(epoch FROM clock_timestamp() - begun);
		END \$\$;
		SELECT seconds_for_turns()));
}

my $live = q(SELECT count(*) FROM durable.instances WHERE completed_time IS NULL);

$node = durable_node('places', conf => "durable.poll_interval = 10min\ndurable.max_workers = 4\nmax_worker_processes = 40\nmax_connections = 60");
prepare($roles);
bystander($node, 'an idle server');

foreach my $workers (1, 2, 4)
{
	change_setting($node, 'durable.max_workers', $workers);
	my $dog = watchdog_start($node);

	# More roles with always something to do than there are places.  Each goes on, and the engine does about as much as for one.
	as_each(1, 1, q(SELECT count(durable.start_new('flood', '0')) FROM generate_series(1, 100)));
	poll_within($node, 10, q(SELECT turns > 1000 FROM durable.stats WHERE role = 'role_1'::regrole), "$workers places: a flood has come");
	my $one = seconds_for_turns(4000);
	my $floods = $workers + 1;
	as_each(2, $floods, q(SELECT count(durable.start_new('flood', '0')) FROM generate_series(1, 100)));
	bystander($node, "$workers places: hello beside $floods floods", role => 'role_9');
	my $all = seconds_for_turns(4000);
	cmp_ok($all, '<', 5 * $one + 1, sprintf('%d places: 4000 turns take %.1f s for one role, and %.1f s for %d', $workers, $one, $all, $floods));
	my $turns = $node->safe_psql('postgres', q(SELECT string_agg(format('(%s::oid, %s)', role::oid, turns), ', ') FROM durable.stats WHERE role::text ~ '^role_[1-5]$'));
	poll_within($node, 2 * seconds_bar($node), "SELECT count(*) FROM durable.stats s JOIN (VALUES $turns) t (role, turns) ON s.role = t.role AND s.turns > t.turns + 100",
		"$workers places: each flood goes on", $floods);
	end_scene($node);

	# Many roles with always a little to do: a process does not start for each turn.  One such role alone tells how fast that can be.
	as('role_1', q(SELECT durable.start_new('flood', '0')));
	poll_within($node, 10, q(SELECT count(*) > 0 FROM durable.instances WHERE name LIKE '%flood' AND runtime_status = 'Running'), "$workers places: one role has a little to do");
	$one = seconds_for_turns(500);
	as_each(2, 40, q(SELECT durable.start_new('flood', '0')));
	poll_within($node, 20, q(SELECT count(*) >= 3 FROM durable.instances WHERE name LIKE '%flood' AND runtime_status = 'Running'), "$workers places: roles take turns");
	$all = seconds_for_turns(500);
	cmp_ok($all, '<', 4 * $one + 1.5, sprintf('%d places: 500 turns take %.1f s for one role, and %.1f s for 40', $workers, $one, $all));
	end_scene($node);

	# Many roles with a little work.
	as_each(1, 40, q(SELECT count(durable.start_new('hello')) FROM generate_series(1, 20)));
	poll_within($node, 5 * seconds_bar($node), $live, "$workers places: 40 roles with 20 hello each", '0');

	# Roles with long activities, each more of them than there are places, beside each other.
	as_each(1, 3, "SELECT count(durable.start_new('sleeper', '600')) FROM generate_series(1, 4)");
	poll_within($node, 2 * seconds_bar($node), "SELECT count(*) $sleeping", "$workers places: all activities of three roles sleep", '12');
	bystander($node, "$workers places: a hello of role $_ beside its sleepers", role => "role_$_") foreach 1, 3;
	bystander($node, "$workers places: a hello of another role", role => 'role_9');
	is($node->safe_psql('postgres', "SELECT count(*) $sleeping"), '12', "$workers places: and all sleep on");
	end_scene($node);

	# More long activities than there are places of either kind.
	as('role_1', q(SELECT count(durable.start_new('sleeper', '600')) FROM generate_series(1, 60)));
	# a role has at most as many as are left to others
	poll_within($node, 2 * seconds_bar($node), "SELECT count(*) $sleeping", "$workers places: as many activities sleep as a role may have long places", '8');
	bystander($node, "$workers places: a hello of the role", role => 'role_1');
	bystander($node, "$workers places: a hello of another role", role => 'role_2');
	# A role that has no long place gets the next one that is free.
	as('role_2', q(SELECT durable.start_new('sleeper', '0.1', 'short ' || current_setting('durable.max_workers'))));
	$node->safe_psql('postgres', q(SELECT count(durable.terminate(instance_id, cancel_activities => true))
		FROM (SELECT DISTINCT instance_id FROM durable.activities WHERE owner = 'role_1'::regrole AND pid IS NOT NULL LIMIT 1) a));
	poll_within($node, seconds_bar($node), "SELECT runtime_status FROM durable.get_status('short $workers')", "$workers places: the next long place is for a role that has none", 'Completed');
	end_scene($node);
	watchdog_ok($dog, "$workers places: nothing waits for a place that is free");
}

# 300 quick calls of a function, and then long ones of it, by two tenants.
my $dog = watchdog_start($node);
as_each(1, 2, "SELECT count(durable.start_new('sleeper', '0')) FROM generate_series(1, 300)");
poll_within($node, 10, $live, 'quick calls of a function', '0');
as('role_1', q(SELECT count(durable.start_new('sleeper', '600')) FROM generate_series(1, 16)));
as('role_2', q(SELECT count(durable.start_new('sleeper', '600')) FROM generate_series(1, 3)));
bystander($node, 'hello when they begin to take long', role => 'role_3');
bystander($node, 'hello of a tenant whose calls take long', role => 'role_1');
poll_within($node, seconds_bar($node), "SELECT count(*) >= 10 $sleeping", 'long places are taken');
bystander($node, 'hello when all long places are taken', role => 'role_3');
end_scene($node);

# 60 calls that sleep for 0.2 s, in half of 16 long places.
my $begun = time();
as('role_1', q(SELECT count(durable.start_new('sleeper', '0.2', 'sleeper ' || i)) FROM generate_series(1, 60) i));
poll_within($node, 20, $live, '60 calls that sleep for 0.2 s', '0');
my $took = $node->safe_psql('postgres', q(SELECT extract(epoch FROM max(completed_time) - min(created_time)) FROM durable.instances WHERE instance_id ^@ 'sleeper '));
cmp_ok($took, '<', 1.5 * seconds_bar($node), '60 calls that sleep for 0.2 s take no longer than the long places of a role need');

# The settings are exact.
foreach my $places (2, 5)
{
	change_setting($node, 'durable.max_long_activities', $places);
	$node->safe_psql('postgres', 'TRUNCATE at_once');
	# what runs for so long before it is counted is in a long place
	as_each(1, 3, qq(SELECT count(durable.start_new('count_at_once', '[$places, 0.1, 0.1]')) FROM generate_series(1, 5)));
	bystander($node, "hello beside long activities in $places places");
	poll_within($node, 20, $live, 'long activities end', '0');
	is($node->safe_psql('postgres', 'SELECT max(count), count(*) FROM at_once'), "$places|15", "durable.max_long_activities = $places: so many at once, and no more");
}
change_setting($node, 'durable.max_long_activities', 16);
watchdog_ok($dog);
change_setting($node, 'durable.batch_time', '1s');
foreach my $workers (1, 2, 4)
{
	change_setting($node, 'durable.max_workers', $workers);
	# workers that are too many have left
	poll_within($node, 10, "SELECT count(*) <= $workers FROM durable.workers WHERE state <> 'idle'", 'a smaller setting holds');
	$node->safe_psql('postgres', 'TRUNCATE at_once');
	as_each(1, 4, qq(SELECT count(durable.start_new('count_at_once', '[${workers}00, 0, 0.003]')) FROM generate_series(1, 50)));
	poll_within($node, 20, $live, 'quick activities end', '0');
	is($node->safe_psql('postgres', 'SELECT max(count), count(*) FROM at_once'), "$workers|200", "durable.max_workers = $workers: so many at once, and no more");
}
change_setting($node, 'durable.batch_time', '20ms');

# Small roles beside two floods.
my $small = $long_form ? 56 : 38;
as_each(1, 2, q(SELECT count(durable.start_new('flood', '0')) FROM generate_series(1, 500)));
poll_within($node, 10, q(SELECT min(turns) > 100 FROM durable.stats WHERE role IN ('role_1'::regrole, 'role_2'::regrole)), 'two floods have come');
foreach my $round (1 .. $long_form ? 5 : 1)
{
	as_each(3, $small + 2, "SELECT count(durable.start_new('hello', instance_id => format('small %s %s %s', $round, current_user, i))) FROM generate_series(1, 5) i");
	poll_within($node, 30, "SELECT count(*) FROM durable.instances WHERE instance_id ^@ 'small $round' AND completed_time IS NULL", "$small small roles complete beside two floods", '0');
}
my $percentiles = q(SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY t), percentile_disc(0.99) WITHIN GROUP (ORDER BY t)
	FROM (SELECT extract(epoch FROM completed_time - created_time) FROM durable.instances WHERE instance_id ^@ 'small') s (t));
my ($median, $p99) = split /\|/, $node->safe_psql('postgres', $percentiles);
note(sprintf('%d small roles: median %.2f s, 99 %% within %.2f s', $small, $median, $p99));
cmp_ok($p99, '<', 2.5 * seconds_bar($node), 'small roles do not wait for long beside floods');
if ($long_form)
{
	as_each(3, 202, q(SELECT count(durable.start_new('hello', instance_id => format('many %s %s', current_user, i))) FROM generate_series(1, 5) i));
	poll_within($node, 60, q(SELECT count(*) FROM durable.instances WHERE instance_id ^@ 'many' AND completed_time IS NULL), '200 roles with 5 hello each', '0');
	($median, $p99) = split /\|/, $node->safe_psql('postgres', $percentiles =~ s/small/many/r);
	cmp_ok($p99, '<', 5, sprintf('200 roles with 5 hello each: median %.2f s, 99 %% within %.2f s', $median, $p99));
}
end_scene($node);
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT FROM effects WHERE instance NOT IN (SELECT instance_id FROM durable.instances WHERE name LIKE \'%flood\') GROUP BY instance, task HAVING count(*) > 1) e'), '0',
	'no activity has an effect twice');
is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations'), '', 'no violations');
$node->stop;

# A server that has a process for neither every place nor every role.
$node = durable_node('few_processes', conf => "durable.poll_interval = 10min\ndurable.max_workers = 4\nmax_worker_processes = 8");
prepare(6);
bystander($node, 'few processes: an idle server');
as_each(1, 3, "SELECT count(durable.start_new('sleeper', '600')) FROM generate_series(1, 8)");
poll_within($node, seconds_bar($node), "SELECT count(*) >= 3 $sleeping", 'few processes: activities sleep');
foreach my $role (1, 4, 5, 2, 6)
{
	bystander($node, "few processes: a hello of role $role", role => "role_$role");
}
bystander($node, 'few processes: a hello of the superuser');
end_scene($node);
as_each(1, 6, "SELECT count(durable.start_new('hello')) FROM generate_series(1, 20)");
poll_within($node, 4 * seconds_bar($node), $live, 'few processes: work of six roles', '0');
is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations'), '', 'no violations');
$node->stop;
done_testing();
