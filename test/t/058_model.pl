# Random orchestrations against a model: each program is a random tree of calls, tasks, timers, events, children, handlers,
# retries and continue_as_new, an interpreter in Perl says what it must return or fail with, and the engine must come to the
# same while instances are suspended and resumed and workers killed.  DURABLE_MODEL sets how many, DURABLE_SEED the seed.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use DurableTest;

my $programs = $ENV{DURABLE_MODEL} // 300;
my $seed = $ENV{DURABLE_SEED} // int(rand(1_000_000));
my $modulus = 1_000_003;
my $json = JSON::PP->new->canonical->allow_nonref;

srand($seed);
diag("seed $seed, $programs programs");

my $node = durable_node('model', conf => "durable.max_activity_deliveries = 1000\ndurable.max_workers = 4");
$node->safe_psql('postgres', q[
CREATE TABLE effects (instance_id text, task_id int, attempt int, PRIMARY KEY (instance_id, task_id, attempt));
CREATE FUNCTION model_add(x bigint, k int) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO effects VALUES (durable.instance_id(), durable.task_id(), durable.attempt());
	RETURN (x + k) % 1000003;
END $$;
-- in SQL, which the planner may inline, and slow enough to be queued
CREATE FUNCTION model_double(x bigint) RETURNS bigint LANGUAGE sql AS 'SELECT (x * 2) % 1000003';
CREATE FUNCTION model_slow(x bigint, seconds float8) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(seconds); RETURN x; END $$;
CREATE FUNCTION model_fail(code text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'as told' USING ERRCODE = code; END $$;
CREATE FUNCTION model_flaky(failures int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO effects VALUES (durable.instance_id(), durable.task_id(), durable.attempt());
	IF durable.attempt() <= failures THEN
		RAISE 'not yet' USING ERRCODE = 'MFLKY';
	END IF;
	RETURN durable.attempt();
END $$;
CREATE FUNCTION model_code(code text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT sum(ascii(c)) FROM regexp_split_to_table(code, '') c $$;
CREATE FUNCTION model_retry(n int) RETURNS durable.retry_policy LANGUAGE sql IMMUTABLE AS $$ SELECT durable.retry_policy(n, '1 ms') $$;

-- What can be awaited.
CREATE FUNCTION model_schedule(node jsonb) RETURNS durable.task LANGUAGE plpgsql AS $$
BEGIN
	RETURN CASE node->>'op'
		WHEN 'add' THEN durable.schedule_activity('model_add', jsonb_build_array(node->'x', node->'k'))
		WHEN 'slow' THEN durable.schedule_activity('model_slow', jsonb_build_array(node->'x', node->'seconds'))
		WHEN 'fail' THEN durable.schedule_activity('model_fail', node->'code')
		WHEN 'flaky' THEN durable.schedule_activity('model_flaky', node->'failures', model_retry((node->>'attempts')::int))
		WHEN 'sql' THEN durable.schedule_activity('model_double', node->'x')
		WHEN 'sub' THEN durable.schedule_sub_orchestrator('model_run', node->'program')
		WHEN 'none' THEN durable.schedule_sub_orchestrator('model_none')
		WHEN 'timer' THEN durable.create_timer((node->>'for')::interval)
		WHEN 'event' THEN durable.subscribe_event(node->>'name')
	END;
END $$;
CREATE FUNCTION model_tasks(nodes jsonb) RETURNS durable.task[] LANGUAGE plpgsql AS $$
DECLARE
	tasks durable.task[] := '{}';
	node jsonb;
BEGIN
	FOR node IN SELECT value FROM jsonb_array_elements(nodes) LOOP
		tasks := array_append(tasks, model_schedule(node));
	END LOOP;
	RETURN tasks;
END $$;
CREATE FUNCTION model_eval(node jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	total bigint := 0;
	child jsonb;
	tasks durable.task[];
	task durable.task;
BEGIN
	CASE node->>'op'
	WHEN 'const' THEN RETURN node->'v';
	WHEN 'seq' THEN
		FOR child IN SELECT value FROM jsonb_array_elements(node->'of') LOOP
			total := (total * 31 + model_eval(child)) % 1000003;
		END LOOP;
		RETURN total;
	WHEN 'call' THEN RETURN durable.call_activity('model_add', jsonb_build_array(model_eval(node->'of'), node->'k'));
	WHEN 'run_sql' THEN RETURN durable.call_sql('SELECT ($1::bigint + $2::int) % 1000003 AS v', jsonb_build_array(model_eval(node->'of'), node->'k')) #>> '{rows,0,v}';
	WHEN 'fail' THEN PERFORM durable.call_activity('model_fail', node->'code'); RETURN NULL;
	WHEN 'raise' THEN RAISE 'by the orchestrator' USING ERRCODE = node->>'code';
	WHEN 'flaky' THEN RETURN durable.call_activity('model_flaky', node->'failures', model_retry((node->>'attempts')::int));
	WHEN 'sub' THEN
		RETURN durable.call_sub_orchestrator(node->>'function', node->'program', retry => CASE WHEN node ? 'attempts' THEN model_retry((node->>'attempts')::int) END);
	WHEN 'detach' THEN PERFORM durable.start_sub_orchestrator('model_run', node->'program', instance_id => node->>'id'); RETURN 1;
	WHEN 'timer' THEN PERFORM durable.sleep((node->>'for')::interval); RETURN 0;
	WHEN 'event' THEN RETURN durable.wait_for_external_event(node->>'name');
	WHEN 'self' THEN
		PERFORM durable.send_event(durable.instance_id(), node->>'name', node->'v');
		RETURN durable.wait_for_external_event(upper(node->>'name'), '1 hour');
	WHEN 'default' THEN RETURN durable.wait_for_external_event('never', '2 ms', node->'v');
	WHEN 'timeout' THEN RETURN durable.wait_for_external_event('never', '2 ms');
	WHEN 'too_slow' THEN RETURN durable.call_activity('model_slow', '[1, 60]', timeout => '20 ms');
	WHEN 'try' THEN
		BEGIN
			RETURN model_eval(node->'of');
		EXCEPTION WHEN OTHERS THEN
			RETURN (model_eval(node->'handler') + model_code(SQLSTATE)) % 1000003;
		END;
	WHEN 'all' THEN
		tasks := model_tasks(node->'of');
		IF node ? 'twice' THEN
			tasks := tasks || tasks[1];
		END IF;
		FOREACH child IN ARRAY durable.when_all(tasks) LOOP
			total := (total * 31 + coalesce((child #>> '{}')::bigint, 0)) % 1000003;
		END LOOP;
		RETURN total;
	WHEN 'any' THEN
		tasks := model_tasks(node->'of');
		task := durable.when_any(VARIADIC tasks);
		RETURN (durable.await(task)::bigint * 31 + array_position(tasks, task)) % 1000003;
	WHEN 'each' THEN
		tasks := model_tasks(node->'of');
		WHILE cardinality(tasks) > 0 LOOP
			task := durable.when_any(VARIADIC tasks);
			total := (total + coalesce((durable.await(task) #>> '{}')::bigint, 0)) % 1000003;
			tasks := array_remove(tasks, task);
		END LOOP;
		RETURN total;
	WHEN 'cancel' THEN
		task := model_schedule(node->'what');
		total := model_eval(node->'of');
		PERFORM durable.cancel_task(task);
		RETURN total;
	WHEN 'facts' THEN
		PERFORM durable.set_custom_status(node->'v'), durable.log('debug', 'model');
		RETURN (durable.new_guid() <> durable.new_guid() AND durable.now() <= clock_timestamp() AND durable.instance_id() IS NOT NULL)::int;
	END CASE;
END $$;
CREATE FUNCTION model_run(op text, "of" jsonb, "times" int DEFAULT 0, total bigint DEFAULT 0) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	total := (total * 31 + model_eval("of")) % 1000003;
	IF "times" > 0 THEN
		PERFORM durable.continue_as_new(jsonb_build_object('op', op, 'of', "of", 'times', "times" - 1, 'total', total));
	END IF;
	RETURN total;
END $$;
CREATE FUNCTION model_sql(program jsonb) RETURNS bigint LANGUAGE sql AS $$ SELECT model_run('run', program->'of', 0, 0) $$;
]);

#
# The generator.  Times are such that what must not come first does not.
#
my $unique = 0;
my %events;		# name => value, of the program at hand; raised when it is started
my %detached;	# id => program

sub pick
{
	return $_[ rand @_ ];
}

sub integer
{
	return int(rand(1000));
}

# A program for model_run.  What has a name of its own must not run twice.
sub program
{
	my ($depth, $once) = @_;
	my $times = rand() < 0.15 ? 1 + int(rand(3)) : 0;

	return { op => 'run', of => tree($depth, $once && !$times), $times ? (times => $times) : () };
}

sub task
{
	my ($depth, $once) = @_;
	my @kinds = (qw(add add slow flaky sql timer), ('fail') x (rand() < 0.2), ('none') x (rand() < 0.1), ('sub') x ($depth > 0), ('event') x $once);

	return leaf(pick(@kinds), $depth, $once);
}

# A node without inner ones that are run in place; also what a task can be.
sub leaf
{
	my ($kind, $depth, $once) = @_;

	return { op => 'add', x => integer(), k => integer() } if $kind eq 'add';
	return { op => 'slow', x => integer(), seconds => pick(0.001, 0.01, 0.03) } if $kind eq 'slow';
	return { op => 'sql', x => integer() } if $kind eq 'sql';
	return { op => $kind, code => 'M' . pick('AAAA', 'BBBB', 'CCCC', '0001') } if $kind eq 'fail' || $kind eq 'raise';
	return { op => 'none' } if $kind eq 'none';
	return { op => 'flaky', failures => int(rand(4)), attempts => 1 + int(rand(4)) } if $kind eq 'flaky';
	return { op => 'timer', for => pick('0', '1 ms', '5 ms', '30 ms') } if $kind eq 'timer';
	return { op => 'sub', program => program($depth - 1, 0) } if $kind eq 'sub';
	return { op => 'self', name => 'Self-' . ++$unique, v => integer() } if $kind eq 'self';
	if ($kind eq 'event')
	{
		my $name = 'event-' . ++$unique;

		$events{$name} = integer();
		return { op => 'event', name => $name };
	}
	return { op => $kind, v => integer() };
}

sub tree
{
	my ($depth, $once) = @_;
	my $kind = pick(qw(seq seq seq seq call call run_sql try try try all all each any cancel sub
		flaky timer default facts timeout fail raise const self), $once ? qw(event event detach) : (), rand() < 0.05 ? 'too_slow' : ());

	return leaf($kind, $depth, $once) if $kind =~ /^(flaky|timer|default|facts|timeout|fail|raise|const|event|self|too_slow)$/;
	return leaf(pick(qw(const facts timer self default)), $depth, $once) if $depth <= 0;
	return { op => 'seq', of => [ map { tree($depth - 1, $once) } 1 .. 1 + rand 4 ] } if $kind eq 'seq';
	return { op => $kind, of => tree($depth - 1, $once), k => integer() } if $kind eq 'call' || $kind eq 'run_sql';
	if ($kind eq 'cancel')
	{
		my $what = pick({ op => 'timer', for => '1 hour' }, { op => 'event', name => 'never' }, leaf('slow'), leaf('fail'),
			{ op => 'flaky', failures => 2, attempts => 3 }, { op => 'sub', program => { op => 'run', of => leaf('timer') } });

		return { op => 'cancel', what => $what, of => tree($depth - 1, $once) };
	}
	return { op => 'try', of => tree($depth - 1, $once), handler => tree($depth - 1, $once) } if $kind eq 'try';
	return { op => $kind, of => [ map { task($depth - 1, $once) } 1 .. 1 + rand(rand() < 0.1 ? 40 : 5) ],
		$kind eq 'all' && rand() < 0.2 ? (twice => 1) : () } if $kind eq 'all' || $kind eq 'each';
	if ($kind eq 'any')
	{
		# one ends, the others do not
		my @tasks = map { { op => 'timer', for => '1 hour' } } 1 .. rand 3;
		splice @tasks, rand(@tasks + 1), 0, leaf(pick(qw(add slow sql)), 0, 0);
		return { op => 'any', of => \@tasks };
	}
	if ($kind eq 'sub')
	{
		# neither a retried child nor one in SQL runs what must run once, or continues as new
		my $sql = rand() < 0.2;
		my @attempts = rand() < 0.2 ? (attempts => 1 + int(rand(3))) : ();
		my $program = $sql ? { op => 'run', of => tree($depth - 1, 0) } : program($depth - 1, 0);

		return { op => 'sub', function => $sql ? 'model_sql' : 'model_run', program => $program, @attempts };
	}
	if ($kind eq 'detach')
	{
		my $id = 'detached-' . ++$unique;
		return { op => 'detach', id => $id, program => program($depth - 1, 0) };
	}
	die $kind;
}

#
# The model: a value, or an exception that is a SQLSTATE.
#
sub fold
{
	my $total = 0;

	$total = ($total * 31 + $_) % $modulus for @_;
	return $total;
}

sub run
{
	my ($program) = @_;
	my $total = 0;

	$total = ($total * 31 + value($program->{of})) % $modulus for 0 .. $program->{times} // 0;
	return $total;
}

# The value of a node whose failure is thrown later, or its code in a reference.
sub outcome
{
	my ($node) = @_;
	my $value = eval { value($node) };

	return defined $value ? $value : ref $@ ? $@ : die $@;
}

sub value
{
	my ($n) = @_;
	my $op = $n->{op};

	return $n->{v} if $op =~ /^(const|self|default)$/;
	return fold(map { value($_) } @{ $n->{of} }) if $op eq 'seq';
	return (value($n->{of}) + $n->{k}) % $modulus if $op eq 'call' || $op eq 'run_sql';
	return ($n->{x} + $n->{k}) % $modulus if $op eq 'add';
	return $n->{x} if $op eq 'slow';
	return 2 * $n->{x} if $op eq 'sql';
	die \$n->{code} if $op eq 'fail' || $op eq 'raise';
	die \'42883' if $op eq 'none';
	return $n->{failures} < $n->{attempts} ? $n->{failures} + 1 : die \'MFLKY' if $op eq 'flaky';
	return 0 if $op eq 'timer';
	return 1 if $op eq 'facts';
	return $events{ $n->{name} } if $op eq 'event';
	die \'OD006' if $op eq 'timeout' || $op eq 'too_slow';
	return run($n->{program}) if $op eq 'sub';
	return value($n->{of}) if $op eq 'cancel';
	if ($op eq 'detach')
	{
		$detached{ $n->{id} } = $n->{program};
		return 1;
	}
	if ($op eq 'try')
	{
		my $value = outcome($n->{of});

		return $value unless ref $value;
		my $sum = 0;
		$sum += ord for split //, $$value;
		return (value($n->{handler}) + $sum) % $modulus;
	}
	if ($op eq 'all' || $op eq 'each')
	{
		my @outcomes = map { outcome($_) } @{ $n->{of} };
		my ($failure) = grep { ref } @outcomes;
		my $sum = 0;

		die $failure if $failure;
		return fold(@outcomes, $n->{twice} ? $outcomes[0] : ()) if $op eq 'all';
		$sum += $_ for @outcomes;
		return $sum % $modulus;
	}
	if ($op eq 'any')
	{
		for my $i (0 .. $#{ $n->{of} })
		{
			return (value($n->{of}[$i]) * 31 + $i + 1) % $modulus if $n->{of}[$i]{op} ne 'timer';
		}
	}
	die "model: $op";
}

# In 'each' it is the first failure in time that is thrown: programs where that is not clear are made anew.
sub is_clear
{
	my ($n) = @_;

	if (ref $n eq 'HASH' && ($n->{op} // '') eq 'each')
	{
		my %codes = map { ref $_ ? ($$_ => 1) : () } map { outcome($_) } @{ $n->{of} };
		return 0 if keys %codes > 1;
	}
	my @inner = ref $n eq 'HASH' ? values %$n : ref $n eq 'ARRAY' ? @$n : ();
	is_clear($_) || return 0 for @inner;
	return 1;
}

# What a program's instance comes to, as the query below shows it.
sub expected
{
	my ($program) = @_;
	my $outcome = eval { run($program) };

	return defined $outcome ? "Completed $outcome" : ref $@ ? "Failed ${$@}" : die $@;
}

sub quote
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	return "'$text'";
}

#
# Generate, start, disturb.
#
my (%expected, %program, %count);
my $script = '';
for my $i (1 .. $programs)
{
	my $program;

	do
	{
		%events = ();
		$program = program(2 + int(rand(4)), 1);
	} until is_clear($program);
	$program{"m$i"} = $program;
	$expected{"m$i"} = expected($program);
	$script .= "BEGIN;\nSELECT durable.start_new('model_run', " . quote($json->encode($program)) . ", 'm$i');\n";
	$script .= "SELECT durable.raise_event('m$i', '$_', '$events{$_}');\n" for sort keys %events;
	$script .= "COMMIT;\n";
	$count{$_}++ for $json->encode($program) =~ /"op":"(\w+)"/g;
}
while (my ($id) = sort keys %detached)
{
	my $program = delete $detached{$id};

	$program{$id} = $program;
	%events = ();
	$expected{$id} = expected($program);
}
diag(join ', ', map { "$_ $count{$_}" } sort keys %count);

sub query
{
	my ($sql) = @_;

	IPC::Run::run([ 'psql', '-XAtq', '-c', $sql, $node->connstr('postgres') ], '<', \undef, '>', \my $out, '2>', \my $err) or return;
	chomp $out;
	return $out;
}

# half before, half while workers end; a kill -9 takes the server down and up again
my @parts = split /(?<=COMMIT;\n)/, $script;
my $half = int(@parts / 2);
$node->safe_psql('postgres', join '', @parts[ 0 .. $half ]);
my $disturbances = 0;
for my $i (1 .. 12)
{
	my $victim = query(q[SELECT pid FROM pg_stat_activity WHERE backend_type = 'durable worker' ORDER BY random() LIMIT 1]);

	if ($i % 6 == 0)
	{
		$disturbances++ if $victim && kill 'KILL', $victim;
		for (1 .. 1000) { last if defined query('SELECT 1'); usleep(50_000) }
	}
	else
	{
		$disturbances++ if defined query('SELECT pg_terminate_backend(' . ($victim || 0) . ')');
		query(q[SELECT durable.suspend(instance_id) FROM durable.instances WHERE instance_id LIKE 'm%' AND runtime_status IN ('Pending', 'Running') ORDER BY random() LIMIT 5]);
	}
	$node->safe_psql('postgres', join '', @parts[ $half + 1 .. $#parts ]) if $i == 6;
	usleep(rand(150_000));
	query(q[SELECT durable.resume(instance_id) FROM durable.instances WHERE runtime_status = 'Suspended']);
}
diag("$disturbances disturbances");
poll_until($node, q[SELECT count(durable.resume(instance_id)) = 0 FROM durable.instances WHERE runtime_status = 'Suspended'], 'all are resumed');

# Children may outlive a parent that has failed; what was detached is a child too.
my $all = $node->poll_query_until('postgres', q[SELECT count(*) = 0 FROM durable.instances WHERE runtime_status IN ('Pending', 'Running', 'Suspended')]);
ok($all, 'all end') or diag($node->safe_psql('postgres', q[SELECT i.instance_id, i.runtime_status, (SELECT string_agg(e, E'\n') FROM durable.explain(i.instance_id) e)
	FROM durable.instances i WHERE i.runtime_status IN ('Pending', 'Running', 'Suspended') LIMIT 3]));
my %got = map { split /\|/, $_, 2 } split /\n/, $node->safe_psql('postgres', q[
	SELECT instance_id, runtime_status || ' ' || CASE runtime_status WHEN 'Failed' THEN failure->>'sqlstate' ELSE output #>> '{}' END FROM durable.instances]);
my @wrong = grep { ($got{$_} // 'is not there') ne $expected{$_} } sort keys %expected;
is(scalar(@wrong), 0, scalar(keys %expected) . ' come to what the model says');
for my $id (@wrong[ 0 .. ($#wrong < 4 ? $#wrong : 4) ])
{
	diag("$id: expected $expected{$id}, got " . ($got{$id} // 'nothing') . "\n" . $json->encode($program{$id}));
	diag($node->safe_psql('postgres', "SELECT failure FROM durable.instances WHERE instance_id = '$id'"));
}
my %kinds = map { s/ .*//r => 1 } values %expected;
is(join(' ', sort keys %kinds), 'Completed Failed', 'some complete, some fail') if $programs >= 50;
is($node->safe_psql('postgres', q[
	SELECT instance_id FROM durable.history GROUP BY instance_id HAVING count(*) <> max(sequence_number) OR count(DISTINCT sequence_number) <> count(*) LIMIT 5]), '', 'histories have no gaps');
is($node->safe_psql('postgres', q[
	SELECT s FROM durable.instances i, durable.get_status(i.instance_id) s WHERE s IS DISTINCT FROM durable.wait_for_completion(i.instance_id, '0 s') LIMIT 5]), '', 'two ways to a status agree');
is($node->safe_psql('postgres', 'SELECT * FROM durable_internal.violations LIMIT 5'), '', 'no invariant is broken');
unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|terminated by signal 1?[1-8]\b|XX000/, 'no process has crashed by itself');

$node->stop;
done_testing();
