# Runs the workloads named (all, if none is) in the cluster that test/bench/run has started: see README.md.
use strict;
use warnings;
use IO::Handle;
use JSON::PP;
use List::Util qw(max min sum0);
use POSIX qw(strftime);
use Time::HiRes qw(sleep time);

$| = 1;
my $tmp = "$ENV{DURABLE_TMP}/tmp";
my $runs = size('RUNS', 3);
my $cores = grep { /^processor\s*:/ } read_lines('/proc/cpuinfo');
my $database;
my $postmaster;
my @metrics;
my %failures;
my %peers;
my %series;    # for plots: name => [[x, y], ...]

# A size that an environment variable BENCH_... may change; all of them go into the results.
my %sizes;
sub size
{
	my ($name, $default) = @_;
	my $value = $ENV{"BENCH_$name"} // $default;
	die "BENCH_$name must be a positive number\n" unless $value =~ /^[1-9]\d*$/;
	return $sizes{$name} = $value + 0;
}

sub read_lines
{
	my ($file) = @_;
	open my $handle, '<', $file or return;
	return <$handle>;
}

sub write_file
{
	my ($file, $content) = @_;
	open my $handle, '>', $file or die "$file: $!";
	print $handle $content;
	close $handle or die "$file: $!";
	return $file;
}

sub output_of
{
	open my $pipe, '-|', @_ or die "$_[0]: $!";
	my $output = do { local $/; <$pipe> } // '';
	# Of pgbench's report only the first error.
	close $pipe or die $output =~ /^(.*error.*(\nDETAIL.*)?)/m ? "$1\n" : "failed: @_\n";
	chomp $output;
	return $output;
}

sub sql
{
	my ($statement, $where) = @_;
	return output_of('psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $where // $database, '-c', $statement);
}

# Statements in sessions of their own at the same time.
sub together
{
	my @pids;
	for my $statement (@_)
	{
		my $pid = fork // die "cannot fork: $!\n";
		push @pids, $pid;
		exec 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $database, '-c', $statement if $pid == 0;
	}
	for my $pid (@pids)
	{
		waitpid $pid, 0;
		die "a session has failed\n" if $?;
	}
}

# The engine runs in the workload's database only, or nowhere: an idle one elsewhere would hold worker slots.
sub engine_in
{
	my ($where) = @_;
	sql("ALTER SYSTEM SET durable.databases = '$where'", 'postgres');
	sql('SELECT pg_reload_conf()', 'postgres');
}

sub setup
{
	my ($name, $engine) = @_;
	engine_in('nowhere');
	if ($database)
	{
		# The engine needs a moment to leave it; autovacuum, which may be there for long, goes when it is dropped.
		my $deadline = time + 10;
		until (sql("SELECT count(*) FROM pg_stat_activity WHERE datname = '$database' AND backend_type LIKE 'durable %'", 'postgres') == 0)
		{
			die "the engine has not left database $database\n" if time > $deadline;
			sleep 0.05;
		}
		sql("DROP DATABASE $database WITH (FORCE)", 'postgres');
	}
	$database = "bench_$name";
	sql("CREATE DATABASE $database TEMPLATE template0", 'postgres');
	output_of('psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $database, '-f', 'test/bench/setup.sql');
	return if $engine eq 'no engine';
	engine_in($database);
	sql("CALL batch('hello_sequence', 500)");
	my $output = sql('SELECT DISTINCT output FROM durable.instances');
	die "hello_sequence returned $output\n" if $output ne '["Hello Tokyo!", "Hello Seattle!", "Hello London!"]';
}

# After a run: an engine that fails fast is not fast.
sub all_completed
{
	my $others = sql(q(SELECT count(*) FROM durable_internal.instances WHERE state <> 'C'));
	die "$others instances have not completed\n" if $others;
}

# pgbench([[script, weight]...], option...): transactions per second, and of each script the latencies in ms, sorted.
sub pgbench
{
	my ($scripts, @options) = @_;
	my @files;
	for my $i (0 .. $#$scripts)
	{
		write_file("$tmp/script$i.sql", $scripts->[$i][0]);
		push @files, '-f', "$tmp/script$i.sql\@$scripts->[$i][1]";
	}
	unlink glob "$tmp/log.*";
	my $output = output_of('sh', '-c', 'exec "$@" 2>&1', 'sh', 'pgbench', '-n', '-M', 'prepared', '-l',
		"--log-prefix=$tmp/log", @options, @files, $database);
	die $output if $output =~ /abort|error/i or $output !~ /^tps = ([\d.]+) \(without/m;
	my $tps = $1;
	my @latencies = map { [] } @$scripts;
	for my $line (map { read_lines($_) } glob "$tmp/log.*")
	{
		my @fields = split ' ', $line;
		push @{$latencies[$fields[3]]}, $fields[2] / 1000;
	}
	return $tps, map { [sort { $a <=> $b } @$_] } @latencies;
}

sub percentile
{
	my ($share, $sorted) = @_;
	return $sorted->[min($#$sorted, int($share * @$sorted))];
}

# Percentiles of all runs together, as many as the number of values bears.
sub distribution
{
	my @sorted = sort { $a <=> $b } map { @$_ } @_;
	return [map { [$_, percentile($_ / 100, \@sorted)] } grep { @sorted * (1 - $_ / 100) >= 2 } 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 93, 95, 97, 98, 99, 99.5, 99.7, 99.9];
}

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return @sorted % 2 ? $sorted[$#sorted / 2] : ($sorted[@sorted / 2 - 1] + $sorted[@sorted / 2]) / 2;
}

sub checkpoint
{
	sql('CHECKPOINT');
}

# A script that starts an instance, lets that commit and waits for its end.
sub start_and_wait
{
	my ($arguments) = @_;
	return "SELECT durable.start_new($arguments) AS id \\gset\n" . "SELECT durable.wait_for_completion(:id, '10 min');\n";
}

# report(workload, what, unit, values of the runs, target): the target is "at least n" or "at most n", or there is none.
sub report
{
	my ($id, $what, $unit, $values, $target) = @_;
	my $median = median(@$values);
	my $met;
	if (defined $target)
	{
		my ($direction, $limit) = $target =~ /^at (least|most) ([\d.]+)$/ or die;
		$met = $direction eq 'least' ? $median >= $limit : $median <= $limit;
	}
	push @metrics,
		{
		id => $id, what => $what, unit => $unit, median => $median, runs => [map { $_ + 0 } @$values], target => $target,
		met => defined $target ? ($met ? JSON::PP::true : JSON::PP::false) : undef
		};
	printf "%-15s %-43s %11s %-14s %-15s %-7s %s\n", $id, $what, number($median), $unit, $target // '',
		defined $target ? ($met ? 'met' : 'not met') : '', join ' - ', number(min(@$values)), number(max(@$values));
	return $median;
}

sub number
{
	my ($n) = @_;
	my $digits = abs($n) >= 100 || $n == int($n) ? 0 : abs($n) >= 10 ? 1 : 2;
	my $text = sprintf "%.${digits}f", $n;
	1 while $text =~ s/^(-?\d+)(\d{3})/$1,$2/;
	return $text;
}

# What fails does not keep the rest from running; it is in the table, in the results and in the exit status.
sub failure
{
	my ($what, $why) = @_;
	print "$what failed: $why";
	$failures{$what} = $why;
}

# CPU seconds of all server processes so far, those that have ended too; or of the engine's that run now.
sub cpu_seconds
{
	my ($durable_only) = @_;
	$postmaster //= (read_lines(sql('SHOW data_directory', 'postgres') . '/postmaster.pid'))[0] + 0;
	my $ticks = 0;
	for my $file (glob '/proc/[0-9]*/stat')
	{
		my ($line) = read_lines($file) or next;
		my ($pid, $rest) = $line =~ /^(\d+) \(.*\) (.*)/ or next;
		my @fields = split ' ', $rest;
		next unless $pid == $postmaster or $fields[1] == $postmaster;
		next if $durable_only and join('', read_lines("/proc/$pid/cmdline")) !~ /durable (launcher|scheduler|worker)/;
		$ticks += $fields[11] + $fields[12];
		# those that have ended
		$ticks += $fields[13] + $fields[14] if $pid == $postmaster;
	}
	return $ticks / POSIX::sysconf(&POSIX::_SC_CLK_TCK);
}

# Each activity of hello_sequence writes a row, those of hello_steps write nothing; each of both is committed.
sub hello
{
	my $n = size('HELLO', 10000);
	setup('hello', 'engine');
	for (['hello_sequence', ', a write each step'], ['hello_steps', ', a commit each step'])
	{
		my ($orchestrator, $how) = @$_;
		my (@one, @eight);
		sql("CALL batch('$orchestrator', 500)");
		for (1 .. $runs)
		{
			checkpoint();
			push @one, $n / sql("CALL batch('$orchestrator', $n)");
			checkpoint();
			my $begin = time;
			pgbench([["SELECT durable.start_new('$orchestrator');\n", 1]], '-c', 8, '-j', 2, '-t', int(($n + 7) / 8));
			sql('CALL drain()');
			push @eight, 8 * int(($n + 7) / 8) / (time - $begin);
			all_completed();
		}
		report('hello', "started in one statement$how", 'instances/s', \@one, 'at least 5000');
		report('hello', "started by 8 clients$how", 'instances/s', \@eight, 'at least 5000');
	}
}

# The same rows as hello leaves them, written without an engine: what is left to gain.
sub floor
{
	my $n = size('HELLO', 10000);
	setup('floor', 'engine');
	for (['hello_sequence', ', a write each step'], ['hello_steps', ', a commit each step'])
	{
		my ($orchestrator, $how) = @$_;
		my (@engine, @floor);
		sql("CALL batch('$orchestrator', 500)");
		for (1 .. $runs)
		{
			checkpoint();
			push @engine, $n / sql("CALL batch('$orchestrator', $n)");
			all_completed();
			push @floor, floor_rate($n);
		}
		report('floor', "the rows of hello by plain SQL$how", 'instances/s', \@floor);
		report('floor', "hello in the same database$how", 'instances/s', \@engine);
		report('floor', "share$how", '%', [map { 100 * $engine[$_] / $floor[$_] } 0 .. $#floor],
			$orchestrator eq 'hello_sequence' ? 'at least 33' : undef);
	}
}

# At what rate plain SQL writes the rows of the last instances, by one session or by one a core.
sub floor_rate
{
	my ($n) = @_;
	my $rows = sql("CALL floor_prepare($n)");
	# one event of each activity, or two of those that have been through the queue
	die "$rows events of $n instances\n" if $rows < 5 * $n or $rows > 8 * $n;
	my @rates;
	for my $sessions (1, $cores)
	{
		checkpoint();
		my $begin = time;
		together(map { "CALL floor_write($sessions, $_)" } 1 .. $sessions);
		push @rates, $n / (time - $begin);
		my $same = sql(q(SELECT (SELECT count(*) FROM floor_history) = (SELECT count(*) FROM source_history)
							AND (SELECT count(*) FROM floor_instances) = (SELECT count(*) FROM source_instances)
							AND (SELECT count(*) FROM floor_greetings) = 3 * (SELECT count(*) FROM source_instances WHERE name = 'hello_sequence')));
		die "the floor's rows are not those of the engine\n" if $same ne 't';
		sql('TRUNCATE floor_instances, floor_history, floor_greetings');
	}
	return max(@rates);
}

sub noop
{
	my $n = size('NOOP', 10000);
	my @rates;
	setup('noop', 'engine');
	for (1 .. $runs)
	{
		checkpoint();
		push @rates, $n / sql("CALL batch('noop', $n)");
		all_completed();
	}
	report('noop', 'started in one statement', 'instances/s', \@rates, 'at least 10000');
}

sub start
{
	my $seconds = size('START_SECONDS', 2);
	setup('start', 'no engine');
	for my $clients (1, 8, 32)
	{
		eval { start_by($clients, $seconds); 1 } or failure("start, $clients clients", $@);
	}
}

sub start_by
{
	my ($clients, $seconds) = @_;
	my @options = ('-c', $clients, '-j', min($clients, 2), '-T', $seconds);
	my (@plain, @start, @share);
	for (1 .. $runs)
	{
		checkpoint();
		my ($plain) = pgbench([["INSERT INTO plain (id) VALUES (gen_random_uuid()::text);\n", 1]], @options);
		checkpoint();
		my ($start) = pgbench([["SELECT durable.start_new('noop');\n", 1]], @options);
		push @plain, $plain;
		push @start, $start;
		push @share, 100 * $start / $plain;
	}
	report('start', "plain INSERT, $clients clients", 'rows/s', \@plain);
	report('start', "start_new, $clients clients", 'instances/s', \@start);
	report('start', "share of INSERT, $clients clients", '%', \@share, 'at least 50');
}

sub latency
{
	my $n = size('LATENCY', 1000);
	setup('latency', 'engine');
	for (['hello_sequence', ', a write each step'], ['hello_steps', ', a commit each step'])
	{
		my ($orchestrator, $how) = @$_;
		my (@p50, @p99, @all);
		sql("CALL batch('$orchestrator', 500)");
		for (1 .. $runs)
		{
			checkpoint();
			my ($tps, $latencies) = pgbench([[start_and_wait("'$orchestrator'"), 1]], '-c', 1, '-t', $n);
			push @p50, percentile(0.5, $latencies);
			push @p99, percentile(0.99, $latencies);
			push @all, $latencies;
			all_completed();
		}
		$series{"latency durable$how"} = distribution(@all);
		report('latency', "hello, 1 client, p50$how", 'ms', \@p50, 'at most 3');
		report('latency', "hello, 1 client, p99$how", 'ms', \@p99, 'at most 10');
	}
}

sub ping
{
	my $n = size('PING', 500);
	my (@p50, @p99);
	setup('ping', 'engine');
	for (1 .. $runs)
	{
		checkpoint();
		my $instance = sql(q(SELECT durable.start_new('pong')));
		sql("CALL ping('$instance', 20)");
		sql('TRUNCATE pings');
		sql("CALL ping('$instance', $n)");
		my @ms = sort { $a <=> $b } split /\n/, sql('SELECT ms FROM pings');
		push @p50, percentile(0.5, \@ms);
		push @p99, percentile(0.99, \@ms);
		sql("SELECT durable.terminate('$instance')");
	}
	report('ping', 'event to custom status, p50', 'ms', \@p50, 'at most 2');
	report('ping', 'event to custom status, p99', 'ms', \@p99);
}

sub fanout
{
	my $largest = size('FANOUT', 10000);
	setup('fanout', 'engine');
	for my $activity ('twice', 'step_twice')
	{
		my $how = $activity eq 'twice' ? ', a write each' : ', in PL/pgSQL';
		my (@with, @without, @empty);
		for my $n (grep { $_ <= $largest } 10, 100, 1000, 10000)
		{
			my (@rates, @costs);
			# instances without activities in between tell what one takes by itself
			my @scripts = map { [start_and_wait(qq('fan_out', '{"n": $_, "activity": "$activity"}')), 1] } $n, 0;
			for (1 .. $runs)
			{
				checkpoint();
				my ($tps, @latencies) = pgbench(\@scripts, '-c', 1, '-t', 2 * max(10, int($largest / $n)));
				my ($ms, $ms_empty) = map { percentile(0.5, $_) } @latencies;
				push @rates, 1000 * $n / $ms;
				push @costs, 1000 * ($ms - $ms_empty) / $n;
				push @empty, $ms_empty;
				all_completed();
			}
			my $rate = report('fanout', number($n) . " activities$how", 'activities/s', \@rates, $n == 1000 ? 'at least 10000' : undef);
			push @with, 1 / $rate;
			push @without, max(0.1, report('fanout', 'one of ' . number($n) . $how, 'us', \@costs));
			push @{$series{"fanout$how"}}, [$n, 1e6 / $rate];
		}
		my $rise = max(map { my $i = $_; map { $without[$i] / $without[$_] } 0 .. $i } 0 .. $#without);
		report('fanout', "an instance without activities$how", 'ms', \@empty);
		report('fanout', "worst growth from a smaller fan-out$how", 'times', [$rise], $activity eq 'twice' ? 'at most 2' : undef);
		report('fanout', "dearest to cheapest$how", 'times', [max(@without) / min(@without)]);
		report('fanout', "the same, the instance included$how", 'times', [max(@with) / min(@with)]);
	}
}

sub sequence
{
	my $largest = size('SEQUENCE', 10000);
	setup('sequence', 'engine');
	for my $activity ('twice', 'step_twice')
	{
		for my $n (grep { $_ <= $largest } 10, 100, 1000, 10000)
		{
			my @rates;
			my $how = $activity eq 'twice' ? ', a write each' : ', a commit each';
			# the longest takes half a minute
			for (1 .. ($n == 10000 ? 1 : $runs))
			{
				checkpoint();
				my ($tps, $latencies) = pgbench([[start_and_wait(qq('in_sequence', '{"n": $n, "activity": "$activity"}')), 1]],
					'-c', 1, '-t', max(1, min(20, 1000 / $n)));
				push @rates, 1000 * $n / percentile(0.5, $latencies);
				all_completed();
			}
			my $rate = report('sequence', number($n) . " activities$how", 'activities/s', \@rates, $n == 1000 ? 'at least 1000' : undef);
			push @{$series{"sequence$how"}}, [$n, 1e6 / $rate];
		}
	}
}

sub timers
{
	my $n = size('TIMERS', 100000);
	my $rate = size('TIMERS_RATE', 1500);
	my $idle = size('TIMERS_IDLE_SECONDS', 10);
	my $hellos = size('TIMERS_HELLO', 5000);
	setup('timers', 'engine');
	my @before = map { checkpoint(); $hellos / sql("CALL batch('hello_sequence', $hellos)") } 1 .. $runs;
	checkpoint();
	my $due = time + 15 + $n / 2000 + $idle;
	sql("SELECT count(durable.start_new('sleeper', to_jsonb(to_timestamp($due + i / $rate.0)), 'sleeper-' || i))
		   FROM generate_series(1, $n) i");
	until (sql('SELECT count(*) FROM durable_internal.timers') == $n)
	{
		die "the instances were not all asleep in time\n" if time > $due - $idle - 8;
		sleep 0.1;
	}
	my @while = map { checkpoint(); $hellos / sql("CALL batch('hello_sequence', $hellos)") } 1 .. $runs;
	sleep 1;
	my ($begin, $used, $own) = (time, cpu_seconds(), cpu_seconds(1));
	sleep max(0.5, min($idle, $due - 0.5 - $begin));
	my $seconds = time - $begin;
	my $cpu = 100 * (cpu_seconds() - $used) / $seconds;
	$own = 100 * (cpu_seconds(1) - $own) / $seconds;
	sleep max(0, $due + $n / $rate - time);
	sql('CALL drain()');
	my @late = map {
		sql("SELECT percentile_disc($_) WITHIN GROUP (ORDER BY extract(epoch FROM completed_time - (input #>> '{}')::timestamptz))
			   FROM durable.instances WHERE instance_id LIKE 'sleeper-%'")
	} 0.5, 0.99, 1;
	all_completed();
	my $asleep = number($n) . ' asleep';
	report('timers', "CPU of durable's processes, $asleep", '% of a core', [$own], 'at most 1');
	report('timers', "CPU of the server, $asleep", '% of a core', [$cpu]);
	report('timers', "median lateness, $rate/s due", 's', [$late[0]]);
	report('timers', "p99 lateness, $rate/s due", 's', [$late[1]], 'at most 1');
	report('timers', "largest lateness, $rate/s due", 's', [$late[2]]);
	report('timers', "hello, $asleep, to none", '%', [map { 100 * $while[$_] / $before[$_] } 0 .. $#before], 'at least 80');
}

# Hello beside instances that have ended long ago.
sub finished
{
	my $n = size('FINISHED', 1000000);
	my $hellos = size('HELLO', 10000);
	setup('finished', 'engine');
	my ($before, $cpu_before) = hello_and_cpu($hellos);
	sql("CALL finished($n)");
	sql('VACUUM ANALYZE durable_internal.instances, durable_internal.history');
	my ($after, $cpu_after) = hello_and_cpu($hellos);
	all_completed();
	my $what = number($n) . ' finished';
	report('finished', 'hello, few finished', 'instances/s', $before);
	report('finished', "hello, $what", 'instances/s', $after);
	report('finished', "$what to few", '%', [100 * median(@$after) / median(@$before)], 'at least 80');
	report('finished', "CPU of a hello, $what to few", 'times', [median(@$cpu_after) / median(@$cpu_before)]);
}

# Of each run the rate of hello and the CPU seconds of one.
sub hello_and_cpu
{
	my ($n) = @_;
	my (@rates, @cpu);
	for (1 .. $runs)
	{
		checkpoint();
		my $used = cpu_seconds();
		push @rates, $n / sql("CALL batch('hello_sequence', $n)");
		push @cpu, (cpu_seconds() - $used) / $n;
	}
	return \@rates, \@cpu;
}

# Hello at half the rate that the machine can do, without and with a transaction elsewhere that keeps vacuum from cleaning up.
sub xmin
{
	my $seconds = size('XMIN_SECONDS', 30);
	my $n = size('HELLO', 10000);
	setup('xmin', 'engine');
	my $begin = time;
	pgbench([["SELECT durable.start_new('hello_sequence');\n", 1]], '-c', 8, '-j', 2, '-t', int($n / 8));
	sql('CALL drain()');
	my $rate = int(0.5 * $n / (time - $begin));
	my %free = at_rate($rate, $seconds);
	sql('VACUUM');
	open(my $pipe, '|-', 'psql', '-Xqo', '/dev/null', '-d', $database) or die "psql: $!\n";
	$pipe->autoflush(1);
	print $pipe "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class;\n";
	sleep 0.1 until sql(q(SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND backend_xmin IS NOT NULL
							 AND datname = current_database()));
	my %held = eval { at_rate($rate, $seconds) };
	my $error = $@;
	my ($dead, $size) = split /\|/, sql(q(SELECT sum(pg_stat_get_dead_tuples(oid)), sum(pg_total_relation_size(oid))
		FROM pg_class WHERE relnamespace = 'durable_internal'::regnamespace AND relkind = 'r'));
	close $pipe;
	die $error if $error;
	all_completed();
	report('xmin', "hello at a given rate, $seconds s", 'instances/s', [$free{rate}]);
	report('xmin', 'the same while a snapshot is held', 'instances/s', [$held{rate}]);
	report('xmin', 'throughput, held to free', '%', [100 * $held{rate} / $free{rate}], 'at least 70');
	report('xmin', "p50, snapshot free", 'ms', [$free{p50}]);
	report('xmin', "p50, snapshot held", 'ms', [$held{p50}]);
	report('xmin', 'p50, held to free', 'times', [$held{p50} / $free{p50}], 'at most 1.3');
	report('xmin', "p99, snapshot free", 'ms', [$free{p99}]);
	report('xmin', "p99, snapshot held", 'ms', [$held{p99}]);
	report('xmin', 'dead rows at the end', 'rows', [$dead]);
	report('xmin', 'size of all tables at the end', 'MB', [$size / 1e6]);
}

# Starts hello so many times a second: how many a second ended, and in which time.
sub at_rate
{
	my ($rate, $seconds) = @_;
	checkpoint();
	my $last = sql('SELECT coalesce(max(key), 0) FROM durable_internal.instances');
	pgbench([["SELECT durable.start_new('hello_sequence');\n", 1]], '-c', 8, '-j', 2, '-T', $seconds, "--rate=$rate");
	sql('CALL drain()');
	my ($ended, $p50, $p99) = split /\|/, sql("SELECT count(*) / extract(epoch FROM max(completed_time) - min(created_time)),
			percentile_disc(0.5) WITHIN GROUP (ORDER BY ms), percentile_disc(0.99) WITHIN GROUP (ORDER BY ms)
		FROM (SELECT *, 1000 * extract(epoch FROM completed_time - created_time) AS ms
				FROM durable_internal.instances WHERE key > $last) i");
	return (rate => $ended, p50 => $p50, p99 => $p99);
}

# Hello with results of a size, and the memory that its workers took.
sub payload
{
	my %count = (1e3 => size('PAYLOAD_1KB', 1000), 1e5 => size('PAYLOAD_100KB', 100), 1e7 => size('PAYLOAD_10MB', 4));
	my %time_of_byte;
	for my $bytes (1e3, 1e5, 1e7)
	{
		my (@rates, $what);
		setup('payload', 'engine');
		for (1 .. $runs)
		{
			checkpoint();
			push @rates, $count{$bytes} / sql("CALL batch('hello_large', $count{$bytes}, to_jsonb($bytes))");
			all_completed();
		}
		$what = {1e3 => '1 KB', 1e5 => '100 KB', 1e7 => '10 MB'}->{$bytes};
		report('payload', "hello, results of $what", 'instances/s', \@rates);
		# shared memory that a process has touched counts too
		report('payload', "largest worker, results of $what", 'MB', [largest_worker() / 1e3]);
		$time_of_byte{$bytes} = 1 / median(@rates) / $bytes;
	}
	report('payload', 'time of a byte, 10 MB to 100 KB', 'times', [$time_of_byte{1e7} / $time_of_byte{1e5}]);
}

# The most memory in KB that a worker has had, without what it shares.
sub largest_worker
{
	my @sizes = (0);
	for my $pid (split /\n/, sql(q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'durable worker')))
	{
		my %status = map { /^(\w+):\s*(\d+) kB/ ? ($1, $2) : () } read_lines("/proc/$pid/status");
		push @sizes, max(0, ($status{VmHWM} // 0) - ($status{RssShmem} // 0));
	}
	return max(@sizes);
}

# A worker and then the whole server are killed while they run hello, whose activities each leave a row.
sub recovery
{
	my $n = size('RECOVERY', 20000);
	setup('recovery', 'engine');
	for my $victim ('a worker', 'the server')
	{
		my (@down, @progress, @wrong);
		for (1 .. $runs)
		{
			sql('TRUNCATE effects');
			checkpoint();
			my $last = sql('SELECT coalesce(max(key), 0) FROM durable_internal.instances');
			sql("SELECT count(durable.start_new('hello_with_effects')) FROM generate_series(1, $n)");
			my $completed = "SELECT count(*) FROM durable_internal.instances WHERE key > $last AND state = 'C'";
			sleep 0.01 until sql($completed) > $n / 4;
			my $begin = time;
			kill_hard($victim);
			my $up = until_up();
			my $before = sql($completed);
			die "all was done before $victim was killed\n" if $before == $n;
			sleep 0.005 until sql($completed) > $before;
			push @progress, time - $up;
			push @down, $up - $begin;
			sql('CALL drain()');
			push @wrong, abs($n - sql($completed)) + sql("SELECT abs(3 * $n - count(*)) + abs(count(*) - count(DISTINCT (instance, step)))
				FROM effects");
		}
		report('recovery', "$victim killed, until connections", 's', \@down);
		report('recovery', "$victim killed, from there to progress", 's', \@progress, 'at most 2');
		report('recovery', "$victim killed, lost or done twice", 'instances', [max(@wrong)], 'at most 0');
	}
}

sub kill_hard
{
	my ($victim) = @_;
	if ($victim eq 'a worker')
	{
		my $pid = sql(q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'durable worker' LIMIT 1)) || die "no worker\n";
		kill 'KILL', $pid;
		return;
	}
	my $directory = sql('SHOW data_directory', 'postgres');
	my ($pid) = read_lines("$directory/postmaster.pid");
	# With its processes, which would go on working until they notice.
	my @children = map { /^(\d+) \(.*\) \S+ (\d+) / && $2 == $pid ? $1 : () } map { (read_lines($_))[0] // '' } glob '/proc/[0-9]*/stat';
	kill 'KILL', $pid + 0, @children;
	$postmaster = undef;
	my $deadline = time + 60;
	my $new = $pid;
	while ($new == $pid or not kill 0, $new + 0)
	{
		die "the server does not start again\n" if time > $deadline;
		system("pg_ctl -D '$directory' -l '$ENV{DURABLE_TMP}/output/server.log' -s -W start >/dev/null 2>&1");
		sleep 0.1;
		$new = (read_lines("$directory/postmaster.pid"))[0] // $pid;
	}
}

# Waits until the server accepts connections: when that was.
sub until_up
{
	my $deadline = time + 60;
	while (1)
	{
		my $ok = system("psql -XAtqc 'SELECT 1' -d $database >/dev/null 2>&1") == 0;
		return time if $ok;
		die "the server does not accept connections\n" if time > $deadline;
		sleep 0.01;
	}
}

# The counts of clients take turns, up in one round and down in the next: what the machine and the growing tables do to
# a rate then meets all of them.
sub clients
{
	my $seconds = size('CLIENTS_SECONDS', 2);
	my @counts = (1, 2, 4, 8, 16, 32, 64);
	my (%rates, %p50, %p99, @medians, $lowest, $best);
	setup('clients', 'engine');
	for my $round (1 .. $runs)
	{
		for my $clients ($round % 2 ? @counts : reverse @counts)
		{
			checkpoint();
			my ($tps, $latencies) = pgbench([[start_and_wait("'hello_sequence'"), 1]],
				'-c', $clients, '-j', min($clients, 2), '-T', $seconds);
			push @{$rates{$clients}}, $tps;
			push @{$p50{$clients}}, percentile(0.5, $latencies);
			push @{$p99{$clients}}, percentile(0.99, $latencies);
			all_completed();
		}
	}
	for my $clients (@counts)
	{
		push @medians, report('clients', "hello, $clients clients", 'instances/s', $rates{$clients});
		report('clients', "hello, $clients clients, p50", 'ms', $p50{$clients});
		report('clients', "hello, $clients clients, p99", 'ms', $p99{$clients});
		push @{$series{'clients, a write each step'}}, [$clients, $medians[-1]];
		# What is left of the best rate that fewer clients have reached.
		$best = max(@medians);
		$lowest = min($lowest // 100, 100 * $medians[-1] / $best);
	}
	report('clients', 'lowest share of the best before it', '%', [$lowest], 'at least 80');
}

sub slow
{
	my $seconds = size('SLOW_SECONDS', 3);
	my $clients = size('SLOW_CLIENTS', 8);
	my (@without, @with, @times);
	setup('slow', 'engine');
	for (1 .. $runs)
	{
		for ([\@without, 'hello_sequence'], [\@with, 'hello_slowly'])
		{
			my ($p50, $other) = @$_;
			checkpoint();
			# One activity of three in three instances of ten
			my ($tps, $latencies) = pgbench([[start_and_wait("'hello_sequence'"), 7], [start_and_wait("'$other'"), 3]],
				'-c', $clients, '-j', 2, '-T', $seconds);
			push @$p50, percentile(0.5, $latencies);
		}
		push @times, $with[-1] / $without[-1];
		all_completed();
	}
	report('slow', "p50 of hello, $clients clients, none slow", 'ms', \@without);
	report('slow', "p50 of hello, $clients clients, 10 % slow", 'ms', \@with);
	report('slow', 'with slow ones to without', 'times', \@times, 'at most 1.5');
}

sub wal
{
	my $n = size('WAL', 10000);
	my (@bytes, @cpu);
	setup('wal', 'engine');
	for (1 .. $runs)
	{
		checkpoint();
		my ($lsn, $used) = (sql('SELECT pg_current_wal_insert_lsn()'), cpu_seconds());
		sql("CALL batch('hello_sequence', $n)");
		push @cpu, 1000 * (cpu_seconds() - $used) / $n;
		push @bytes, sql("SELECT pg_current_wal_insert_lsn() - '$lsn'") / $n;
		all_completed();
	}
	report('wal', 'WAL of one hello, a write each step', 'bytes', \@bytes);
	report('wal', 'CPU of one hello, a write each step', 'ms', \@cpu);
}

# Other engines, each in a database of its own in the same cluster, and hello once more beside each.
sub peers
{
	my $n = size('PEERS_HELLO', 1000);
	my $seconds = size('PEERS_SECONDS', 3);
	my $ours = size('HELLO', 10000);
	for my $peer (qw(dbos openworkflow restate graphile-worker pg-boss))
	{
		eval { peer($peer, $n, $seconds, $ours); 1 } or failure("peers, $peer", $@);
	}
}

sub peer
{
	my ($peer, $n, $seconds, $ours) = @_;
	setup('peers', 'engine');
	my @engine;
	# its steps are committed each, as those of the peers
	sql("CALL batch('hello_steps', 500)");
	for (1 .. $runs)
	{
		checkpoint();
		push @engine, $ours / sql("CALL batch('hello_steps', $ours)");
	}
	engine_in('nowhere');
	sql('CREATE DATABASE bench_peer TEMPLATE template0', 'postgres');
	my $output = eval {
		local @ENV{qw(PGDATABASE SCARF_ANALYTICS NODE_NO_WARNINGS)} = ('bench_peer', 'false', 1);
		output_of('sh', '-c', 'exec "$@" 2>"$DURABLE_TMP/output/peer.log"', 'sh', 'timeout', '-k', 5, 180,
			'node', 'test/bench/peers/main.js', $peer, $runs, $n, $seconds);
	};
	my $error = $@;
	sql('DROP DATABASE bench_peer WITH (FORCE)', 'postgres');
	die $error, read_lines("$ENV{DURABLE_TMP}/output/peer.log") unless defined $output;
	my $result = decode_json($output);
	$peers{$peer} = {settings => $result->{settings}, version => peer_version($peer)};
	my @latencies = @{$result->{latencies}};
	my ($what, $unit) = $result->{queue} ? ('jobs of a bare queue', 'jobs/s') : ('hello', 'instances/s');
	my $each = $result->{queue} ? 3 : 1;
	report($peer, $what, $unit, $result->{rates});
	$series{"latency $peer"} = distribution(@latencies) unless $result->{queue};
	report($peer, $result->{queue} ? 'a job, p50' : 'hello, 1 client, p50', 'ms', [map { percentile(0.5, $_) } @latencies]);
	report($peer, $result->{queue} ? 'a job, p99' : 'hello, 1 client, p99', 'ms', [map { percentile(0.99, $_) } @latencies]);
	report($peer, "durable's hello at the same time, a commit each step", 'instances/s', \@engine);
	report($peer, "durable's activities to its " . ($result->{queue} ? 'jobs' : 'steps'), 'times',
		[map { $engine[$_] * $each / $result->{rates}[$_] } 0 .. $#engine], $peer eq 'dbos' ? 'at least 20' : undef);
}

sub peer_version
{
	my ($peer) = @_;
	my %package = (dbos => '@dbos-inc/dbos-sdk', restate => '@restatedev/restate-server');
	my $file = 'test/bench/peers/node_modules/' . ($package{$peer} // $peer) . '/package.json';
	return decode_json(join '', read_lines($file))->{version};
}

my %workloads = (
	finished => \&finished, xmin => \&xmin, payload => \&payload, recovery => \&recovery, peers => \&peers,
	hello => \&hello, floor => \&floor, noop => \&noop, start => \&start, latency => \&latency, ping => \&ping, fanout => \&fanout,
	sequence => \&sequence, timers => \&timers, clients => \&clients, slow => \&slow, wal => \&wal);
my @ids = @ARGV ? @ARGV : qw(hello floor noop start latency ping fanout sequence timers clients slow wal xmin payload finished recovery);
push @ids, 'peers' if !@ARGV and ($ENV{BENCH_PEERS} // '') eq '1';
for (@ids)
{
	die "no workload '$_'; there are: " . join(' ', sort keys %workloads) . "\n" unless $workloads{$_};
}

sub version_of_durable
{
	setup('version', 'no engine');
	return sql(q(SELECT extversion FROM pg_extension WHERE extname = 'durable'));
}

sub load_average
{
	return +(split ' ', (read_lines('/proc/loadavg'))[0])[0] + 0;
}

my $begin = time;
my ($model) = map { /^model name\s*:\s*(.*)/ ? $1 : () } read_lines('/proc/cpuinfo');
my ($memory) = map { /^MemTotal:\s*(\d+)/ ? $1 * 1024 : () } read_lines('/proc/meminfo');
my %result = (
	date => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime),
	machine => {
		cores => $cores, processor => $model // 'unknown', memory_bytes => $memory,
		kernel => output_of('uname', '-sr'), filesystem => output_of('stat', '-f', '-c', '%T', $ENV{DURABLE_TMP}),
		load_average_before => load_average()
	},
	versions => {
		postgresql => sql('SHOW server_version', 'postgres'),
		durable => version_of_durable()
	},
	settings => decode_json(sql(q(SELECT json_object_agg(name, current_setting(name) ORDER BY name) FROM pg_settings
		WHERE name LIKE 'durable.%' AND name <> 'durable.databases'
		   OR name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'wal_sync_method', 'wal_level', 'shared_buffers',
					   'max_wal_size', 'checkpoint_timeout', 'max_connections', 'max_worker_processes', 'jit', 'autovacuum')), 'postgres')));
printf "PostgreSQL %s, durable %s, %d cores, %.1f GB, %s, load %.1f; fsync %s, synchronous_commit %s; median of %d runs\n\n",
	@{$result{versions}}{qw(postgresql durable)}, $cores, $memory / 1e9, $result{machine}{filesystem},
	$result{machine}{load_average_before}, @{$result{settings}}{qw(fsync synchronous_commit)}, $runs;
printf "%-15s %-43s %11s %-14s %-15s %-7s %s\n", qw(workload measure median unit target), '', 'lowest - highest';
for (@ids)
{
	eval { $workloads{$_}->(); 1 } or failure($_, $@);
}
$result{failed} = \%failures;
$result{peers} = \%peers if %peers;
$result{series} = \%series;
@result{qw(seconds sizes metrics)} = (int(time - $begin), \%sizes, \@metrics);
$result{machine}{load_average_after} = load_average();
printf "\n%d seconds, load after %.1f\n", $result{seconds}, $result{machine}{load_average_after};
if (open my $json, '>&=', 3)
{
	print $json JSON::PP->new->pretty->canonical->encode(\%result);
	close $json or die "cannot write the results: $!\n";
}
exit(%failures ? 1 : 0);
